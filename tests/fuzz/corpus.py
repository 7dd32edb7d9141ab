"""Small valid files of every kind, made on the spot."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

__all__ = ["make_corpus", "write_texts"]

DONE = "corpus.done"


def make_corpus(folder: Path) -> Path:
    """Make the corpus in ``folder`` unless it is there: a network of one block in every format and precision, and documents.

    Returns:
        The folder.
    """
    if (folder / DONE).exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    _write_models(folder)
    write_texts(folder)
    (folder / DONE).write_text("")
    return folder


def _write_models(folder: Path) -> None:
    import torch
    from checkpoints import huggingface_config, huggingface_state, make_spec, random_model, write_huggingface

    from edgepose.models import Checkpoint, save_checkpoint
    from edgepose.quantization import decide_weights, default_recipe
    from edgepose.quantization.saved import decide_from_photos
    from edgepose_converters import convert

    photos = _write_photos(folder / "photos")
    for head in ("simple", "classic"):
        model = random_model(dim=64 if head == "simple" else 32, depth=1, heads=2, head=head, height=64, width=48)
        checkpoint = Checkpoint(model=model, spec=make_spec(model, name=head))
        save_checkpoint(checkpoint, folder / f"{head}.safetensors")
        torch.save(model.state_dict(), folder / f"{head}.pth")
        precisions = ["fp32", "fp16"]
        decisions = []
        crops = None
        if head == "simple":
            write_huggingface(folder / "huggingface", huggingface_state(model), huggingface_config(model))
            decided = decide_from_photos(checkpoint, "int8", photos=[photos], boxes=None, out=folder / "decision")
            decisions = [decided.quantization, *(decide_weights(checkpoint, default_recipe(kind)) for kind in ("int8-dynamic", "int4"))]
            crops = decided.held_out
            precisions += ["int8", "int8-full", "int8-dynamic", "int4"]
        for outcome in convert(checkpoint, targets=None, precisions=precisions, out=folder, crops=crops, quantizations=decisions):
            if outcome.error:
                raise RuntimeError(outcome.error)


def _write_photos(folder: Path) -> Path:
    import cv2

    from edgepose.assets import SAMPLE_IMAGE

    image = cv2.imread(str(SAMPLE_IMAGE))
    generator = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for number in range(24):
        top, left = generator.integers(0, image.shape[0] - 160), generator.integers(0, image.shape[1] - 120)
        cv2.imwrite(str(folder / f"{number:03}.png"), image[top : top + 160, left : left + 120])
    return folder


def write_texts(folder: Path) -> None:
    """Write a document of each kind, and a picture of each format."""
    import cv2
    from unit.benchmarks.sample_results import make_comparison, make_estimate, make_result

    from edgepose.assets import SAMPLE_BOXES, SAMPLE_IMAGE
    from edgepose.distillation.recipe_files import BUILT_IN as RECIPES
    from edgepose.skeleton import BUILT_IN
    from edgepose_benchmarks.result_file import ResultFile

    texts = folder / "texts"
    texts.mkdir(parents=True, exist_ok=True)
    shutil.copy(BUILT_IN / "coco.json", texts / "skeleton.json")
    shutil.copy(SAMPLE_BOXES, texts / "boxes.json")
    keypoints = [value for index in range(17) for value in (10 + index, 20 + index, 2)]
    people = [
        {"id": 1 + number, "image_id": 1, "category_id": 1, "bbox": [5, 6, 70, 80], "area": 5600, "iscrowd": 0, "num_keypoints": 17,
         "keypoints": keypoints}
        for number in range(2)
    ]  # fmt: skip
    names = json.loads((texts / "skeleton.json").read_text())["keypoints"]
    annotations = {
        "images": [{"id": 1, "file_name": "a.png", "width": 160, "height": 120}],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2]]}],
    }
    (texts / "annotations.json").write_text(json.dumps(annotations))
    detections = [{"image_id": 1, "category_id": 1, "bbox": [5, 6, 70, 80], "score": 0.9}]
    (texts / "detections.json").write_text(json.dumps(detections))
    shutil.copy(RECIPES / "default.toml", texts / "recipe.toml")
    (texts / "results.json").write_text(ResultFile(results=(make_result(), make_estimate()), comparisons=(make_comparison(),)).to_json())
    small = cv2.resize(cv2.imread(str(SAMPLE_IMAGE)), (96, 64))
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp"):
        cv2.imwrite(str(texts / f"picture{suffix}"), small)


def scratch(prefix: str = "edgepose-fuzz-") -> Path:
    """Make a folder for a run's files."""
    return Path(tempfile.mkdtemp(prefix=prefix))
