"""Render people with exact COCO keypoints: JPEGs and one annotation file, in the form that ``edgepose distill`` reads.

    pip install anny
    python examples/synthetic_people/render.py --count 7400 --out data/synthetic

Bodies are Anny's; poses, clothes and backgrounds are random; the renderer is a painter's algorithm in numpy and OpenCV. Each picture is a
function of the seed and its number alone, so any number of processes renders the same ones. What it renders is free to use (CC0).
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from backgrounds import paint_background
from bodies import Bodies, Floats, load_bodies
from clothes import dress
from poses import draw_pose, rotate, solve

from edgepose.files import staged_file
from edgepose.image import write_image
from edgepose.skeleton import get_skeleton

WIDTH, HEIGHT = 240, 320
FINER = 2  # pictures are rendered this much larger, then averaged
CONTEXT = 1.5625  # of the person's box: what a crop with padding 1.25 and some more shows
SHAPES = 160
# How far below the skin a keypoint lies at most, in metres: nearer surfaces than that hide it.
DEPTHS = np.array([0.05] * 5 + [0.12] * 6 + [0.22] * 2 + [0.12] * 4)
FACE = 5


def main() -> None:
    """Read the command line and render."""
    parser = argparse.ArgumentParser(description="Render people with exact COCO keypoints.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--count", type=int, default=7400, metavar="N", help="number of pictures (default: 7400)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    options = parser.parse_args()
    cache = options.out / "bodies.npz"
    load_bodies(cache, shapes=SHAPES, seed=options.seed)
    images, annotations = [], []
    with ProcessPoolExecutor(options.workers) as pool:
        for number, people in enumerate(pool.map(partial(_make, options.out, cache, options.seed), range(options.count), chunksize=16)):
            images.append({"id": number, "file_name": f"{number:06d}.jpg", "width": WIDTH, "height": HEIGHT, "license": 1})
            annotations.append(people)
            print(f"\r{number + 1}/{options.count}", end="", flush=True)
    print()
    document = {
        "info": {"description": "People rendered by edgepose from the Anny body model"},
        "licenses": [{"id": 1, "name": "CC0-1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": list(get_skeleton("coco").keypoints)}],
    }
    with staged_file(options.out / "annotations.json") as staged:
        staged.write_text(json.dumps(document), "utf-8")


def _make(out: Path, cache: Path, seed: int, number: int) -> dict[str, object]:
    """Render picture ``number``; return its annotation."""
    cv2.setNumThreads(1)
    random = np.random.default_rng([seed, number])
    bodies = load_bodies(cache, shapes=SHAPES, seed=seed)
    while True:
        vertices, colours = _draw_body(bodies, random)
        camera = _camera(random)
        if (seen := _photograph(bodies, vertices, camera, random)) is not None:
            break
    points, depths, keypoints, keypoint_depths, box = seen
    person, mask = _paint(bodies, points, depths, _shade(bodies, vertices, colours, random))
    picture = person + paint_background(random, WIDTH, HEIGHT) * (1 - mask[..., None])
    picture = _finish(picture, random)
    write_image(out / f"{number:06d}.jpg", (picture * 255).astype(np.uint8))
    hidden = _hidden(bodies, points, depths, keypoints, keypoint_depths)
    inside = ((keypoints >= 0) & (keypoints < (WIDTH - 1, HEIGHT - 1))).all(axis=1)
    # A limb that hides behind the body can be guessed; a face that looks away can't.
    visibility = np.where(~inside | (hidden & (np.arange(len(hidden)) < FACE)), 0, np.where(hidden, 1, 2))
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [round(float(value), 2) for value in (*box[:2], *(box[2:] - box[:2]))],
        "area": round(float(mask.sum()), 1),
        "num_keypoints": int((visibility > 0).sum()),
        "keypoints": [
            value for (x, y), v in zip(keypoints, visibility, strict=True) for value in (round(float(x), 2), round(float(y), 2), int(v))
        ],
    }


def _draw_body(bodies: Bodies, random: np.random.Generator) -> tuple[Floats, Floats]:
    """A posed and dressed body: vertices (V, 3) with the keypoints (17, 3) behind them, and vertex colours."""
    shape = int(random.integers(len(bodies.vertices)))
    colours, offsets = dress(bodies, shape, random)
    rotations = solve(bodies, shape, draw_pose(random))
    vertices = bodies.pose(shape, rotations)
    keypoints = bodies.keypoints(vertices)
    clothed = vertices + _normals(bodies, vertices) * offsets[:, None]
    return np.concatenate([clothed, keypoints]), colours


def _camera(random: np.random.Generator) -> Floats:
    """World → camera: x right, y down, z away. Mostly from the front, a little from above, sometimes upside down."""
    yaw = random.normal(0, 55) if random.random() < 0.65 else random.uniform(0, 360)
    roll = random.uniform(-180, 180) if random.random() < 0.06 else random.normal(0, 3)
    front = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return rotate("z", roll) @ rotate("x", float(np.clip(random.normal(6, 10), -15, 45))) @ front @ rotate("z", yaw)


def _photograph(
    bodies: Bodies, vertices: Floats, camera: Floats, random: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats, Floats] | None:
    """Project in perspective so that the person's box, with its context, fills the picture.

    Returns:
        Vertices (V, 2) in pixels and their depths (V,), keypoints (17, 2) and theirs, and the box (4,); ``None``: too near.
    """
    count = bodies.vertices.shape[1]
    seen = (vertices - vertices[:count].mean(axis=0)) @ camera.T
    depths = seen[:, 2] + random.uniform(2.6, 9)
    if depths.min() < 0.3:
        return None
    flat = seen[:, :2] / depths[:, None]
    outline = np.concatenate([flat[:count].min(axis=0), flat[:count].max(axis=0)])
    joints = np.concatenate([flat[count:].min(axis=0), flat[count:].max(axis=0)])
    # Between the outline and the joints alone, as labelled boxes are.
    box = joints + (outline - joints) * random.random()
    sides = box[2:] - box[:2]
    scale = HEIGHT / (CONTEXT * max(sides[1], sides[0] * HEIGHT / WIDTH))
    shift = np.array([WIDTH, HEIGHT]) / 2 - (box[:2] + box[2:]) / 2 * scale
    # The middle of the first pixel is 0.
    pixels = flat * scale + shift - 0.5
    return pixels[:count], depths[:count], pixels[count:], depths[count:], (box.reshape(2, 2) * scale + shift).reshape(4)


def _normals(bodies: Bodies, vertices: Floats) -> Floats:
    """Area-weighted vertex normals (V, 3)."""
    corners = vertices[bodies.faces]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack([np.bincount(bodies.faces.ravel(), np.repeat(faces[:, axis], 3), len(vertices)) for axis in range(3)], axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _shade(bodies: Bodies, vertices: Floats, colours: Floats, random: np.random.Generator) -> Floats:
    """Light from one side and from the sky: colours (V, 3) in 0…1."""
    normals = _normals(bodies, vertices[: len(colours)])
    light = random.normal(size=3) * (1.2, 1.2, 0.6) + (0, 0, 0.8)
    light /= np.linalg.norm(light)
    ambient = random.uniform(0.3, 0.75)
    sky = 0.775 + 0.225 * normals[:, 2]
    direct = np.clip((normals @ light + 0.3) / 1.3, 0, 1)
    return np.clip(colours * (ambient * sky + (1 - ambient) * 1.12 * direct)[:, None], 0, 1)


def _paint(bodies: Bodies, points: Floats, depths: Floats, colours: Floats) -> tuple[Floats, Floats]:
    """Paint triangles from the furthest to the nearest: the person on black (H, W, 3), and the share of each pixel that it covers."""
    corners = ((points + 0.5) * FINER - 0.5)[bodies.faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # y points down in the picture, so triangles that face the camera turn the other way round.
    facing = np.flatnonzero(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0)
    order = facing[np.argsort(-depths[bodies.faces[facing]].mean(axis=1))]
    shift = 4  # OpenCV's fixed-point fraction bits
    polygons = np.round(corners[order] * 2**shift).astype(np.int32)
    shades = np.column_stack([colours[bodies.faces[order]].mean(axis=1) * 255, np.full(len(order), 255)])
    canvas = np.zeros((HEIGHT * FINER, WIDTH * FINER, 4), np.uint8)
    for polygon, shade in zip(polygons, shades.tolist(), strict=True):
        cv2.fillConvexPoly(canvas, polygon, shade, cv2.LINE_8, shift)
    small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float64) / 255
    return small[..., :3], small[..., 3]


def _hidden(bodies: Bodies, points: Floats, depths: Floats, keypoints: Floats, keypoint_depths: Floats) -> np.ndarray:
    """Whether a surface lies further in front of each keypoint than its own skin can."""
    a, b, c = (points[bodies.faces[:, corner]] for corner in range(3))
    area = _cross(b - a, c - a)
    hidden = np.zeros(len(keypoints), bool)
    for index, (point, depth) in enumerate(zip(keypoints, keypoint_depths, strict=True)):
        shares = (
            np.stack([_cross(c - b, point - b), _cross(a - c, point - c), _cross(b - a, point - a)], axis=1)
            / np.where(area == 0, np.nan, area)[:, None]
        )
        covering = (shares >= 0).all(axis=1)
        surface = (shares[covering] * depths[bodies.faces[covering]]).sum(axis=1)
        hidden[index] = (surface < depth - DEPTHS[index]).any()
    return hidden


def _cross(first: Floats, second: Floats) -> Floats:
    """The third component of the cross product of vectors (N, 2) in the plane."""
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _finish(picture: Floats, random: np.random.Generator) -> Floats:
    """Something in front, now and then; and what a camera does: blur, exposure, grain."""
    if random.random() < 0.15:
        x, y = int(random.integers(WIDTH)), int(random.integers(HEIGHT))
        across, down = int(random.integers(15, 80)), int(random.integers(15, 110))
        picture[y : y + down, x : x + across] = paint_background(random, WIDTH, HEIGHT)[y : y + down, x : x + across]
    if random.random() < 0.35:
        picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.4, 1.5))
    return np.clip(picture * random.uniform(0.8, 1.15) + random.normal(size=picture.shape) * random.uniform(0, 0.03), 0, 1)


if __name__ == "__main__":
    main()
