"""What results of evaluations are of, for tests."""

import dataclasses

from edgepose.evaluation.result import Conditions, Work


def conditions(**changes):
    """The conditions of an evaluation of ``tiny.onnx``."""
    made = Conditions(
        model="tiny",
        artifact="tiny.onnx",
        artifact_sha256="a" * 64,
        annotations="people.json",
        annotations_sha256="b" * 64,
        detections=None,
        detections_sha256=None,
        min_score=0.0,
        protocol="coco",
        flip_test=False,
        procedure="published",
        edgepose="0",
    )
    return dataclasses.replace(made, **changes)


def work():
    """A run of two seconds."""
    return Work(runtime="test", threads=1, streams=1, batch=8, machine="test", seconds=2.0, device_seconds=1.0)
