"""Small data sets of drawn people for the trainer's tests: a coloured dot at each keypoint, so that a tiny network can learn them."""

import json
from pathlib import Path

import cv2
import numpy as np

from edgepose.skeleton import get_skeleton

NAMES = get_skeleton("coco").keypoints
HEIGHT, WIDTH = 120, 90
# A standing figure in shares of the box: x and y of the 17 keypoints.
_FIGURE = np.array(
    [
        *((0.50, 0.08), (0.55, 0.05), (0.45, 0.05), (0.62, 0.07), (0.38, 0.07)),
        *((0.70, 0.25), (0.30, 0.25), (0.85, 0.40), (0.15, 0.40), (0.90, 0.55), (0.10, 0.55)),
        *((0.62, 0.55), (0.38, 0.55), (0.65, 0.75), (0.35, 0.75), (0.67, 0.95), (0.33, 0.95)),
    ]
)


def draw_person(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a picture (120, 90, 3) RGB, keypoints (17, 2), and a box (4,) xyxy."""
    image = np.full((HEIGHT, WIDTH, 3), random.integers(0, 60, 3), np.uint8)
    low = np.array([12.0, 10.0]) + random.uniform(-4, 4, 2)
    side = np.array([62.0, 98.0]) + random.uniform(-6, 6, 2)
    points = low + side * (_FIGURE + random.normal(0, 0.02, _FIGURE.shape))
    for index, point in enumerate(points):
        hue = np.uint8([[[index * 10, 255, 255]]])
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
        cv2.circle(image, tuple(round(value) for value in point), 4, colour, -1)
    return image, points, np.concatenate([low, low + side])


def write_coco(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """Write a COCO data set of drawn people; return the annotation file."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(count):
        picture, points, box = draw_person(random)
        name = f"{number:03d}.png"
        cv2.imwrite(str(folder / name), picture[:, :, ::-1])
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        annotations.append(annotation(number, points, box))
    return write_annotations(folder / "people.json", images, annotations)


def annotation(image: int, points: np.ndarray, box: np.ndarray) -> dict[str, object]:
    """One person in COCO's form."""
    return {
        "id": image,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [*map(float, box[:2]), *map(float, box[2:] - box[:2])],
        "keypoints": [value for x, y in points for value in (float(x), float(y), 2)],
    }


def write_annotations(path: Path, images: list[object], annotations: list[object], names: tuple[str, ...] = NAMES) -> Path:
    """Write a COCO file."""
    categories = [{"id": 1, "name": "person", "keypoints": list(names)}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}), "utf-8")
    return path


RECIPE = """
name = "tiny"
[student]
model = "vitpose-24x2x3-simple"
[validation]
source = "people"
count = 3
every = 24
near_duplicate = 1.0
[[data]]
name = "people"
path = "people.json"
[optimizer]
ema_half_life = 20
[[phases]]
name = "coarse"
images = 48
height = 64
width = 48
batch = 8
learning_rate = 2e-3
cross_entropy = 1.0
mse = 0.5
[[phases]]
name = "fine"
images = 24
height = 96
width = 64
batch = 4
learning_rate = 1e-3
final_learning_rate = 1e-4
"""


def write_recipe(path: Path, text: str = RECIPE) -> Path:
    """Write a recipe for a run of seconds."""
    path.write_text(text, "utf-8")
    return path
