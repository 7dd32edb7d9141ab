"""Run every model file of ``demo/models`` on the sample photo: leaves drawings and a table in ``demo``. ``make demo`` calls this.

The sample photo is rendered, so the true keypoints are known and the table can say how far off the model is.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

import edgepose
from edgepose.artifact import open_artifact
from edgepose.assets import SAMPLE_BOXES, SAMPLE_IMAGE
from edgepose.boxes import load_boxes
from edgepose.cli.table import format_bytes, format_table
from edgepose.image import write_image

SUFFIXES = (".xml", ".onnx", ".tflite", ".mlpackage")


def main(folder: Path) -> None:
    """Draw poses with each file and write the table."""
    image = edgepose.read_image(SAMPLE_IMAGE)
    boxes = load_boxes(SAMPLE_BOXES).for_image(SAMPLE_IMAGE.name)
    people = json.loads(SAMPLE_BOXES.read_text())["people"]
    truth = np.array([person["keypoints_xy"] for person in people])
    visible = np.array([person["visible"] for person in people], bool)
    rows = []
    for path in sorted(file for file in (folder / "models").iterdir() if file.suffix in SUFFIXES):
        with edgepose.load(path) as session:
            estimator = edgepose.PoseEstimator(session)
            estimator(image, boxes)
            start = time.perf_counter()
            poses = estimator(image, boxes)
            seconds = time.perf_counter() - start
            drawing = folder / f"{path.name}.jpg"
            write_image(drawing, edgepose.draw_poses(image, poses))
            off = np.median(np.linalg.norm(poses.keypoints_xy - truth, axis=-1)[visible])
            size = format_bytes(open_artifact(path).size_bytes)
            rows.append([path.name, size, str(session.info), f"{seconds * 1e3:.0f} ms", f"{off:.1f} px", drawing.name])
    headers = ["file", "size", "runtime", f"{len(boxes)} people", "median error", "drawing"]
    table = format_table(headers, rows, right=(1, 3, 4))
    (folder / "table.md").write_text(table + "\n", "utf-8")
    print(f"\n{table}\n\nDrawings and this table are in {folder}/.")
    print("Times are single calls, not a benchmark; `mil` is a reference evaluator, not a fast one.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
