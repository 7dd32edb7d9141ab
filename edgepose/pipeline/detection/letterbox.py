"""Pictures of any size → a network's input, without changing their proportions."""

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.pipeline.detection.spec import DetectorInput

__all__ = ["letterbox", "prepare"]


def letterbox(image: npt.NDArray[np.uint8], height: int, width: int, *, pad: int = 114) -> tuple[npt.NDArray[np.uint8], float]:
    """Scale an image into the upper left of a grey one, as mmdetection and YOLOX do.

    Args:
        image: (H, W, 3) uint8.
        height: of the result in pixels.
        width: of the result in pixels.
        pad: the grey beside the picture, 0 to 255.

    Returns:
        (height, width, 3) uint8, channels in the order in which they came, and the factor by which the image was scaled.
    """
    scale = min(height / image.shape[0], width / image.shape[1])
    size = max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale))
    canvas = np.full((height, width, 3), pad, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return canvas, scale


def prepare(image: npt.NDArray[np.uint8], spec: DetectorInput) -> tuple[npt.NDArray[np.float32], float]:
    """Make a network's input of a picture.

    Args:
        image: (H, W, 3) uint8, RGB.
        spec: what the network takes.

    Returns:
        (1, 3, height, width) float32, C-contiguous, and the factor by which the picture was scaled.
    """
    canvas, scale = letterbox(image, spec.height, spec.width, pad=spec.pad)
    if spec.channels == "bgr":
        canvas = canvas[..., ::-1]
    planes = np.empty((1, 3, spec.height, spec.width), np.float32)
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        planes[0, channel] = canvas[..., channel]
        if (mean, std) != (0, 1):
            planes[0, channel] -= np.float32(mean)
            planes[0, channel] /= np.float32(std)
    return planes, scale
