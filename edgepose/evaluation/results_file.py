"""Keypoints in COCO's results format, for other tools: what ``pycocotools`` reads gives the figures that edgepose states."""

import json
from pathlib import Path

import numpy as np

from edgepose.errors import InputError
from edgepose.evaluation.dataset import select_pictures
from edgepose.evaluation.evaluation import DataSet, Judged
from edgepose.evaluation.nms import select_people
from edgepose.evaluation.protocols.coco import find_sigmas
from edgepose.files import staged_file

__all__ = ["save_results"]


def save_results(data: DataSet, judged: Judged, path: Path) -> None:
    """Write the people that were scored: after rescoring and OKS-NMS.

    A list of objects with ``image_id``, ``category_id``, ``keypoints`` (x, y, score, …) and ``score``.

    Raises:
        InputError: the skeleton has no OKS constants to suppress people by, or the file can't be written.
    """
    annotations, people, keypoints = select_pictures(data.annotations, data.people, judged.keypoints, judged.kept)
    detections = select_people(people, keypoints, judged.spec, find_sigmas(judged.spec.skeleton))
    try:
        with staged_file(path) as staged, staged.open("w", encoding="utf-8") as file:
            for number in range(len(detections)):
                entry = {
                    "image_id": annotations.stated_id(int(detections.pictures[number])),
                    "category_id": annotations.stated_category(int(detections.categories[number])),
                    "keypoints": np.asarray(detections.keypoints[number], np.float64).ravel().tolist(),
                    "score": float(detections.scores[number]),
                }
                file.write(("[\n" if number == 0 else ",\n") + json.dumps(entry, allow_nan=False))
            file.write("\n]\n" if len(detections) else "[]\n")
    except OSError as error:
        raise InputError(f"can't write the results {str(path)!r}: {error.strerror or error}") from None
