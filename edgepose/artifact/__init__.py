"""Model files: what a file is, the spec inside it, and whether its bytes are the ones that were verified.

One file per format knows where the spec stands in it; ``seal`` covers every byte of the artifact with one hash; ``opening`` puts them
together.
Nothing here loads a native runtime: a damaged file is found before one sees it.
"""

from edgepose.artifact.opening import Artifact, embed_spec, open_artifact

__all__ = ["Artifact", "embed_spec", "open_artifact"]
