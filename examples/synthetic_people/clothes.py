"""Skin, hair and clothes as one colour for each vertex, and how far cloth stands off the body."""

import cv2
import numpy as np
from bodies import Bodies, Floats

__all__ = ["dress"]

SKINS = np.array([[255, 224, 196], [241, 194, 160], [224, 172, 130], [198, 134, 94], [161, 102, 66], [120, 75, 48], [84, 52, 36]]) / 255
HAIRS = np.array([[20, 16, 14], [52, 34, 22], [90, 58, 34], [150, 104, 56], [205, 170, 105], [120, 50, 25], [150, 150, 150]]) / 255
PARTS = {
    "foot": ("foot", "toe"),
    "shin": ("lowerleg",),
    "thigh": ("upperleg",),
    "hip": ("pelvis", "root", "spine05"),
    "chest": ("spine", "clavicle", "shoulder"),
    "upper_arm": ("upperarm",),
    "fore_arm": ("lowerarm",),
    "hand": ("wrist", "finger", "metacarpal"),
    "neck": ("neck",),
    "eye": ("eye",),
}


def dress(bodies: Bodies, shape: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Return colours (V, 3) in 0…1 and offsets (V,) in metres along the normals, for a body in rest pose."""
    vertices = bodies.vertices[shape].astype(np.float64)
    parts = _parts(bodies)
    height = vertices[:, 2]
    skin = _between(SKINS, random) * random.uniform(0.9, 1.05)
    colours = np.tile(skin, (len(vertices), 1))
    offsets = np.zeros(len(vertices))

    def level(bone: str) -> float:
        return float(bodies.heads[shape, bodies.bone(bone), 2])

    def cover(mask: np.ndarray, colour: Floats, thickness: float) -> None:
        colours[mask] = colour
        offsets[mask] = np.maximum(offsets[mask], thickness)

    waist = level("spine04") + random.uniform(-0.04, 0.05)
    if random.random() < 0.88:
        cover(parts["foot"] & (height < level("foot.L") + 0.03), _cloth(random), 0.008)
    hem = level("upperleg01.L") + (level("foot.L") - level("upperleg01.L")) * random.choice(
        [0.15, 0.3, 0.5, 0.75, 1.02], p=[0.1, 0.2, 0.1, 0.1, 0.5]
    )
    legs = parts["thigh"] | parts["shin"] | parts["hip"] | parts["chest"]
    cover(legs & (height > hem) & (height < waist), _cloth(random), random.uniform(0.004, 0.02))
    if random.random() < 0.95:
        shirt = (parts["chest"] | parts["hip"]) & (height > waist - random.choice([0, 0.06, 0.13]))
        shirt &= height < level("neck01") + 0.015
        reach = random.choice([0.0, 0.45, 0.7, 1.9], p=[0.14, 0.42, 0.04, 0.4])
        shirt |= (parts["upper_arm"] | parts["fore_arm"]) & (_along_arm(bodies, shape, vertices) < reach)
        cover(shirt, _cloth(random), random.uniform(0.005, 0.02))
        if random.random() < 0.35:
            axis = vertices[:, int(random.choice([0, 2]))]
            cover(shirt & (np.floor(axis / random.uniform(0.04, 0.12)) % 2 == 0), _cloth(random), 0.0)
    _hair(bodies, shape, parts, colours, offsets, random)
    colours[parts["eye"]] = 0.9
    return np.clip(colours, 0, 1), offsets


def _parts(bodies: Bodies) -> dict[str, np.ndarray]:
    """Which part of the body each vertex belongs to, by the bone that moves it most."""
    owners = bodies.bones[bodies.weights.argmax(axis=1)]
    masks: dict[str, np.ndarray] = {}
    free = np.ones(len(owners), bool)
    for part, beginnings in PARTS.items():
        masks[part] = free & np.array([str(owner).startswith(beginnings) for owner in owners])
        free &= ~masks[part]
    return masks | {"head": free}


def _along_arm(bodies: Bodies, shape: int, vertices: Floats) -> Floats:
    """Distance from the shoulder: 1 at the elbow, 2 at the wrist."""
    mirrored = np.abs(vertices * [1, 0, 0]) + vertices * [0, 1, 1]
    shoulder, elbow, wrist = (bodies.heads[shape, bodies.bone(f"{bone}.L")] for bone in ("upperarm01", "lowerarm01", "wrist"))
    axis = elbow - shoulder
    along = (mirrored - shoulder) @ axis / (axis @ axis)
    forearm = wrist - elbow
    beyond = (mirrored - elbow) @ forearm / (forearm @ forearm)
    return np.where(along < 1, along, 1 + np.maximum(beyond, 0))


def _hair(bodies: Bodies, shape: int, parts: dict[str, np.ndarray], colours: Floats, offsets: Floats, random: np.random.Generator) -> None:
    """Cover the skull, further down towards the back."""
    if random.random() < 0.08:
        return
    vertices = bodies.vertices[shape].astype(np.float64)
    head = parts["head"]
    eyes = bodies.heads[shape, bodies.bone("eye.L")]
    top = vertices[head, 2].max()
    backwards = (vertices[:, 1] - eyes[1]) / (vertices[head, 1].max() - eyes[1])
    ends = np.interp(backwards, [0, 0.25, 0.5, 1], random.choice([[0.7, 0.5, 0.1, -0.5], [0.6, 0.4, -0.4, -0.8], [0.55, 0.2, -0.9, -1.5]]))
    mask = head & (vertices[:, 2] > eyes[2] + (top - eyes[2]) * ends)
    shade = _between(HAIRS, random) * random.uniform(0.8, 1.2)
    colours[mask] = shade * (1 + 0.06 * random.standard_normal((int(mask.sum()), 1)))
    offsets[mask] = random.uniform(0.008, 0.025)


def _between(palette: Floats, random: np.random.Generator) -> Floats:
    first, second = palette[random.integers(len(palette), size=2)]
    return first + (second - first) * random.random() * 0.4


def _cloth(random: np.random.Generator) -> Floats:
    kind = random.random()
    if kind < 0.3:
        colour = random.uniform(0.06, 0.95) + 0.03 * random.standard_normal(3)
    elif kind < 0.5:
        colour = np.array([0.15, 0.22, 0.42]) * random.uniform(0.5, 1.8)
    else:
        hue = np.array([[[random.random() * 360, random.uniform(0.3, 0.95), random.uniform(0.25, 0.95)]]], np.float32)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)
    return np.clip(colour, 0.03, 0.97)
