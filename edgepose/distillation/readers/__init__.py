"""Data sets as streams of people: one file per format."""

from edgepose.distillation.readers.person import Faults, People, Person
from edgepose.distillation.readers.table import find_format, read_people

__all__ = ["Faults", "People", "Person", "find_format", "read_people"]
