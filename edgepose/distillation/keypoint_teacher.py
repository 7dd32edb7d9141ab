"""A keypoint teacher in an ONNX file: it looks at a person once, while the data is packed, and its points become labels."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.crop import pad_boxes, warp_matrices
from edgepose.distillation.mapping import map_names
from edgepose.distillation.recipe import Adapter
from edgepose.errors import InputError
from edgepose.runtime.packages import import_package
from edgepose.skeleton import Skeleton, get_skeleton
from edgepose.spec import Codec, InputSpec

__all__ = ["KeypointTeacher"]


class KeypointTeacher:
    """Finds the keypoints of one person at a time.

    Args:
        path: the ONNX file.
        adapter: what goes in and comes out.
        skeleton: the student's keypoints.

    Raises:
        InputError: the file can't be used, or lacks keypoints that the student has.
        MissingDependencyError: onnxruntime isn't installed.
    """

    def __init__(self, path: Path, adapter: Adapter, skeleton: Skeleton) -> None:
        onnxruntime = import_package("onnxruntime", extra="distill", purpose="A keypoint teacher")
        own = get_skeleton(adapter.skeleton)
        self._rows = map_names(own, skeleton, who=f"the teacher {path.name}")
        self._adapter = adapter
        self._codec = Codec(kind="udp", padding=adapter.padding)
        self._size = InputSpec(height=adapter.height, width=adapter.width)
        try:
            content = path.read_bytes()
            self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise InputError(f"can't read the teacher {str(path)!r}: {error.strerror or error}") from None
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise InputError(f"the teacher {str(path)!r} isn't a usable ONNX file: {error}") from None
        self.identity = hashlib.sha256(content + repr(adapter).encode()).hexdigest()
        self._expected = (len(own.keypoints), 3)
        self._path = path

    def __call__(self, image: npt.NDArray[np.uint8], box_xyxy: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Return (K, 3) in the student's order: x and y in image pixels, and the teacher's score.

        Raises:
            InputError: the teacher can't run on its declared input, or its output has another shape.
        """
        adapter, size = self._adapter, self._size
        centres, sizes = pad_boxes(box_xyxy[None], size, self._codec)
        matrix = warp_matrices(centres, sizes, size, self._codec)[0]
        crop = np.asarray(cv2.warpAffine(image, matrix, (size.width, size.height), flags=cv2.INTER_LINEAR))
        found = self._infer(crop if adapter.layout == "nhwc" else crop.transpose(2, 0, 1))
        x, y, score = (found[:, adapter.columns.index(name)] for name in ("x", "y", "score"))
        if adapter.unit == "share":
            x, y = x * size.width - 0.5, y * size.height - 0.5
        places = np.column_stack([x, y]) - matrix[:, 2]
        points = np.column_stack([places @ np.linalg.inv(matrix[:, :2]).T, score]).astype(np.float32)
        return points[list(self._rows)]

    def _infer(self, crop: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        adapter = self._adapter
        values: npt.NDArray[np.generic] = np.ascontiguousarray(crop.astype(adapter.dtype))[None]
        if adapter.dtype == "float32":
            spread = (1, 1, 1, 3) if adapter.layout == "nhwc" else (1, 3, 1, 1)
            mean, std = (np.array(each, np.float32).reshape(spread) for each in (adapter.mean, adapter.std))
            values = (values.astype(np.float32) - mean) / std
        try:
            (output, *_) = self._session.run(None, {self._session.get_inputs()[0].name: values})
        except Exception as error:  # as above
            raise InputError(f"the teacher {str(self._path)!r} can't run on {values.dtype} {values.shape}: {error}") from None
        found = np.asarray(output, np.float32)
        if found.size != np.prod(self._expected):
            raise InputError(
                f"the teacher {str(self._path)!r} gives {found.shape}; the adapter's skeleton {adapter.skeleton!r} needs {self._expected}"
            )
        return found.reshape(self._expected)
