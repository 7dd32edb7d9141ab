"""People of the Anny body model: shapes, skinning and COCO keypoints, as plain arrays.

Anny (Apache-2.0 code; its data, derived from MakeHuman, are CC0) is asked for random grown-up shapes in rest pose; posing them is done
here, in numpy. Its optional SMPL-X part isn't used. Axes: x to the person's left, y to the back, z up; metres.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Bodies", "load_bodies"]

Floats = npt.NDArray[np.float64]
KEYPOINTS = 17  # the regressor's first ones are COCO's, in COCO's order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bodies:
    """S shapes of the same mesh of V vertices and skeleton of B bones.

    Attributes:
        vertices: (S, V, 3) in rest pose.
        heads: (S, B, 3) where each bone begins.
        faces: (F, 3) vertex indices.
        parents: (B,) index of each bone's parent; -1 for the root. Parents come before their children.
        bones: (B,) names.
        weights: (V, B) how much each bone moves each vertex; rows sum to 1.
        regressor: (17, V) vertices → COCO keypoints.
    """

    vertices: npt.NDArray[np.float32]
    heads: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int64]
    parents: npt.NDArray[np.int64]
    bones: npt.NDArray[np.str_]
    weights: npt.NDArray[np.float32]
    regressor: npt.NDArray[np.float32]

    def bone(self, name: str) -> int:
        """Index of a bone."""
        return int(np.flatnonzero(self.bones == name)[0])

    def pose(self, shape: int, rotations: Floats) -> Floats:
        """Skin a shape linearly: world rotations (B, 3, 3) of the bones → vertices (V, 3)."""
        rest = self.heads[shape].astype(np.float64)
        heads = rest.copy()
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                heads[bone] = heads[parent] + rotations[parent] @ (rest[bone] - rest[parent])
        moved = np.einsum("bij,vj->vbi", rotations, self.vertices[shape].astype(np.float64))
        moved += heads - np.einsum("bij,bj->bi", rotations, rest)
        return np.einsum("vb,vbi->vi", self.weights, moved)

    def keypoints(self, vertices: Floats) -> Floats:
        """COCO keypoints (17, 3) of posed vertices."""
        return self.regressor.astype(np.float64) @ vertices


def load_bodies(cache: Path, *, shapes: int, seed: int) -> Bodies:
    """Make random shapes with Anny, or read them from the file ``cache``, which the next call then finds."""
    if not cache.is_file():
        arrays = _make(shapes, np.random.default_rng(seed))
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, **arrays)
    with np.load(cache, allow_pickle=False) as file:
        return Bodies(**{name: file[name] for name in file.files})


def _make(shapes: int, random: np.random.Generator) -> dict[str, npt.NDArray[np.generic]]:
    import anny
    import torch

    model = anny.Anny()
    regressor = anny.KeypointsRegressor.coco(model)
    stand = torch.eye(4, dtype=torch.float64).expand(1, model.bone_count, 4, 4)
    vertices, heads = [], []
    for _ in range(shapes):
        traits = {
            "gender": np.clip((random.random() < 0.5) + random.normal() * 0.12, 0, 1),
            "age": np.clip(random.normal(0.62, 0.1), 0.4, 0.95),
            "muscle": np.clip(random.normal(0.55, 0.15), 0.15, 0.95),
            "weight": np.clip(random.normal(0.5, 0.15), 0.1, 0.95),
            "height": np.clip(random.normal(0.5, 0.15), 0.1, 0.9),
            "proportions": np.clip(random.normal(0.6, 0.2), 0.1, 1),
        }
        with torch.no_grad():
            made = model(pose_parameters=stand, phenotype_kwargs={name: torch.tensor([value]).double() for name, value in traits.items()})
        vertices.append(made["rest_vertices"][0].numpy().astype(np.float32))
        heads.append(made["rest_bone_heads"][0].numpy().astype(np.float32))
    weights = np.zeros((len(vertices[0]), model.bone_count), np.float32)
    np.add.at(weights, (np.arange(len(weights))[:, None], model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    return {
        "vertices": np.stack(vertices),
        "heads": np.stack(heads),
        "faces": np.asarray(model.faces),
        "parents": np.array([-1 if parent is None else int(parent) for parent in model.bone_parents]),
        "bones": np.array(model.bone_labels),
        "weights": weights,
        "regressor": regressor.regression_weights.numpy()[:KEYPOINTS].astype(np.float32),
    }
