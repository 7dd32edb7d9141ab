"""Pictures of any size → a network's input, without changing their proportions."""

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["PAD", "letterbox"]

PAD = 114  # the grey that both detectors were trained with beside a picture


def letterbox(image: npt.NDArray[np.uint8], height: int, width: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Scale an image into the upper left of a grey one, as mmdetection and YOLOX do.

    Args:
        image: (H, W, 3) uint8.
        height: of the result in pixels.
        width: of the result in pixels.

    Returns:
        (height, width, 3) uint8, channels in the order in which they came, and the factor by which the image was scaled.
    """
    scale = min(height / image.shape[0], width / image.shape[1])
    size = max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale))
    canvas = np.full((height, width, 3), PAD, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return canvas, scale
