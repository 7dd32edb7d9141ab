"""Fixtures that several test files share."""

import os

# Two workers on two cores: more threads each only stand in each other's way. Read when torch and numpy are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    """Tiny model files in every format; see ``artifacts.TinyArtifacts``."""
    # Imported here: it brings torch, which most tests don't need.
    from artifacts import TinyArtifacts, session_folder

    return TinyArtifacts(session_folder(tmp_path_factory.getbasetemp()))
