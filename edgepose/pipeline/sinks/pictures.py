"""A drawing and a document for each frame."""

import json
from pathlib import Path

from edgepose.errors import InputError
from edgepose.files import check_folder, staged_file
from edgepose.image import write_image
from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.sinks.context import SinkContext, describe_result, draw_result, explain_write_error

__all__ = ["PictureSink"]


class PictureSink:
    """``NAME-pose.jpg`` and ``NAME-pose.json`` for each picture, numbered where two share a name; for frames of a video
    ``NAME-000012-pose.jpg``.

    Attributes:
        drawing: the last drawing that was written.
        document: the last document.
    """  # noqa: D205  # one sentence

    def __init__(self, folder: Path, context: SinkContext) -> None:
        self.drawing: Path | None = None
        self.document: Path | None = None
        self._folder = folder
        self._context = context
        self._taken: dict[str, int] = {}
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{str(folder)!r} is a file; expected a folder to write to")
        check_folder(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_write_error(folder, error) from None

    def write(self, result: FramePoses | Failure) -> None:
        """Write both files; a failure leaves none."""
        if isinstance(result, Failure):
            return
        stem = self._folder / self._name(result)
        self.drawing, self.document = stem.with_name(stem.name + ".jpg"), stem.with_name(stem.name + ".json")
        document = describe_result(result, self._context)
        if self._context.info.kind == "pictures":
            document = {"image": Path(result.name).name} | {key: value for key, value in document.items() if key != "name"}
        write_image(self.drawing, draw_result(result, self._context))
        try:
            with staged_file(self.document) as staged:
                staged.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        except OSError as error:
            raise explain_write_error(self.document, error) from None

    def close(self) -> None:
        """Nothing is open."""

    def _name(self, result: FramePoses) -> str:
        stem = Path(result.name).stem or "frame"
        if self._context.info.kind != "pictures":
            return f"{stem}-{result.index:06d}-pose"
        number = self._taken.get(stem, 0) + 1
        # A picture's own name may end in such a number.
        while (name := stem if number == 1 else f"{stem}-{number}") in self._taken:
            number += 1
        self._taken[stem] = number
        self._taken.setdefault(name, 1)
        return f"{name}-pose"
