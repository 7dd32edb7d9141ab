"""Edgepose's own ``.safetensors``: the model's names, with the spec inside."""

from edgepose.artifact import open_artifact
from edgepose.errors import ArtifactError, CheckpointError, IntegrityError
from edgepose.models.layouts.layout import Reading
from edgepose.models.weights import WeightFile

__all__ = ["EdgePoseLayout"]


class EdgePoseLayout:
    """Files that ``save_checkpoint`` wrote."""

    name = "edgepose"

    def matches(self, file: WeightFile) -> bool:
        """The model's own names, or a spec inside."""
        return file.sealed or "backbone.patch_embed.weight" in file.tensors

    def read(self, file: WeightFile, dataset: str | None) -> Reading:  # noqa: ARG002  one head, no experts
        """Take everything from the spec.

        Raises:
            CheckpointError: there is no spec, or it can't be read.
            IntegrityError: the file has changed since it was written.
        """
        if not file.sealed:
            raise CheckpointError(
                f"{file.where}: has edgepose's tensor names but no spec inside: another tool dropped it, or it was saved without "
                "edgepose.models.save_checkpoint"
            )
        try:
            spec = open_artifact(file.files[0]).spec
        except IntegrityError:
            raise
        except ArtifactError as error:
            raise CheckpointError(str(error)) from None
        return Reading(
            layout=self.name,
            architecture=spec.architecture,
            keypoints=spec.keypoints,
            sources=lambda name: (name,),
            grid=(spec.input.height // 16, spec.input.width // 16),
            spec=spec,
        )
