"""Run any artifact on any runtime, through one ``Session``.

``load`` opens a file by what it is; ``list_runtimes`` says what this machine has. A new runtime is one file here, plus its line in
``registry``.
"""

from edgepose.runtime.registry import list_runtimes, load
from edgepose.runtime.session import Session, SessionInfo
from edgepose.runtime.untrusted import UntrustedLimits

__all__ = ["Session", "SessionInfo", "UntrustedLimits", "list_runtimes", "load"]
