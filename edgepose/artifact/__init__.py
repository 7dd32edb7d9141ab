"""Model files: what a file is, the spec inside it, and whether its bytes are the ones that were verified.

One file per format knows where the spec stands in it; ``seal`` covers every byte of the artifact with one hash; ``opening`` puts them
together.
Nothing here loads a native runtime: a damaged file is found before one sees it.
"""

from edgepose.artifact.opening import Artifact, Sealed, embed_spec, open_artifact, open_sealed

__all__ = ["Artifact", "Sealed", "embed_spec", "open_artifact", "open_sealed"]
