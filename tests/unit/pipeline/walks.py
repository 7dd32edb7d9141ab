"""Synthetic walks: people, a detector that misses, and what a pose model says of boxes."""

import numpy as np

from edgepose.estimator import Poses
from edgepose.pipeline.frame import Detections, Frame
from edgepose.pipeline.tracking import open_tracker
from edgepose.skeleton import get_skeleton

COCO = get_skeleton("coco")
BODY = np.random.default_rng(3).uniform(0.1, 0.9, (17, 2))  # of a person, in shares of the box
IMAGE = np.zeros((4, 4, 3), np.uint8)


def frame(index, rate_hz=30.0):
    return Frame(image=IMAGE, index=index, time_s=None if rate_hz is None else index / rate_hz, name="walk")


def poses(boxes, people, score=0.9):
    """What a pose model says of boxes: the keypoints of the person who fills most of each, or nothing clear."""
    boxes, people = np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(people, np.float32).reshape(-1, 4)
    keypoints = np.zeros((len(boxes), 17, 2), np.float32)
    scores = np.full((len(boxes), 17), 0.05, np.float32)
    if len(people):
        away = (boxes[:, None, :2] + boxes[:, None, 2:] - people[None, :, :2] - people[None, :, 2:]) / 2
        distances = np.linalg.norm(away, axis=2) / (people[:, 3] - people[:, 1])
        nearest = people[distances.argmin(axis=1)]
        near = distances.min(axis=1) < 0.35
        keypoints[near] = (nearest[:, None, :2] + BODY * (nearest[:, None, 2:] - nearest[:, None, :2]))[near]
        scores[near] = score
    return Poses(keypoints_xy=keypoints, scores=scores, boxes_xyxy=boxes, skeleton=COCO)


def follow(walk, frames, *, tracker=None, every=5, rate_hz=30.0, seen=lambda _index, _person: True, noise=0.0, score=0.9, seed=0):
    """Run a tracker over people whose boxes ``walk`` gives for each time; returns for each frame {id: box}."""
    tracker, random, log = tracker or open_tracker(), np.random.default_rng(seed), []
    for index in range(frames):
        people = [np.asarray(person, float) for person in walk(index / (rate_hz or 30.0))]
        here = frame(index, rate_hz)
        if index % every == 0:
            found = [person + random.normal(0, noise, 4) for number, person in enumerate(people) if seen(index, number)]
            boxes = np.array(found, np.float32).reshape(-1, 4)
            looked = tracker.match(here, Detections(boxes_xyxy=boxes, scores=np.full(len(boxes), score, np.float32)))
        else:
            looked = tracker.carry(here)
        kept, ids = tracker.update(here, poses(looked.boxes_xyxy, people))
        assert len(kept) == len(ids) == len(set(ids.tolist()))
        log.append({int(number): box for number, box in zip(ids, kept.boxes_xyxy, strict=True)})
    return log


def box(x, y, scale=1.0):
    return [(x - 20) * scale, (y - 60) * scale, (x + 20) * scale, (y + 60) * scale]


def passing(time_s):
    """Two people who walk past each other, one a little nearer."""
    return [box(100 + 60 * time_s, 200), box(400 - 60 * time_s, 214)]
