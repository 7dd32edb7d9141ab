"""A reference evaluator of Core ML packages: the bytes on disk, operator by operator, in numpy.

``package`` reads the folder (``message``: protobuf; ``weights``: the weight file; ``elements``: number types), ``program`` runs it with the
functions in ``operators``, and ``engine`` makes a runtime of it.
"""

from edgepose.runtime.mil.engine import RUNTIME, MilEngine
from edgepose.runtime.mil.program import MilProgram, TensorInfo

__all__ = ["RUNTIME", "MilEngine", "MilProgram", "TensorInfo"]
