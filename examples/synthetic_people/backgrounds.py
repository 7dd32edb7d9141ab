"""Backgrounds that show no people: gradients, noise and shapes."""

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["paint_background"]

SCALES = (4, 8, 16, 32, 80)


def paint_background(random: np.random.Generator, width: int, height: int) -> npt.NDArray[np.float32]:
    """Return (height, width, 3) in 0…1."""
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    picture = np.broadcast_to(_colour(random) * (1 - ramp) + _colour(random) * ramp, (height, width, 3)).astype(np.float32)
    if random.random() < 0.6:
        horizon = int(random.uniform(0.2, 0.95) * height)
        picture[horizon:] = _colour(random) * np.linspace(1, random.uniform(0.6, 1), height - horizon)[:, None, None]
    picture += _noise(random, width, height)[..., None]
    for _ in range(random.integers(0, 14)):
        layer = picture.copy()
        _draw_shape(layer, random)
        picture = cv2.addWeighted(layer, share := float(random.uniform(0.5, 1)), picture, 1 - share, 0)
    picture += 0.5 * _noise(random, width, height)[..., None]
    blur = float(random.choice([0, 1, 2.5, 5], p=[0.3, 0.3, 0.25, 0.15]))
    if blur:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    return np.clip(picture, 0, 1)


def _colour(random: np.random.Generator) -> npt.NDArray[np.float64]:
    if random.random() < 0.5:
        return np.clip(random.uniform(0.05, 0.95) + 0.06 * random.standard_normal(3), 0, 1)
    return random.uniform(0.05, 0.95, 3)


def _noise(random: np.random.Generator, width: int, height: int) -> npt.NDArray[np.float32]:
    total = np.zeros((height, width), np.float32)
    for cells in SCALES:
        coarse = random.standard_normal((max(2, height * cells // 320), max(2, width * cells // 320))).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * (6 / cells) ** 0.5
    return total * np.float32(random.uniform(0.02, 0.1))


def _draw_shape(picture: npt.NDArray[np.float32], random: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    colour = _colour(random).tolist()
    x, y = int(random.integers(-20, width + 20)), int(random.integers(-20, height + 20))
    across, down = int(random.exponential(50)) + 4, int(random.exponential(70)) + 4
    match int(random.integers(4)):
        case 0:
            cv2.rectangle(picture, (x, y), (x + across, y + down), colour, -1)
        case 1:
            cv2.ellipse(picture, (x, y), (across, down), float(random.uniform(0, 180)), 0, 360, colour, -1)
        case 2:
            end = (int(random.integers(-20, width + 20)), int(random.integers(-20, height + 20)))
            cv2.line(picture, (x, y), end, colour, int(random.integers(1, 14)))
        case _:
            corners = random.uniform([0, 0], [width, height], (int(random.integers(3, 7)), 2))
            cv2.fillPoly(picture, [corners.astype(np.int32)], colour)
