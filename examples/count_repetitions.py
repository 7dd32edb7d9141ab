"""An exercise: count how often each person bends their knees, from the angles between hip, knee and ankle.

python examples/count_repetitions.py vitpose-s-int8.xml squats.mp4
"""

import sys
from collections import defaultdict

import numpy as np

import edgepose

BENT_DEG, STRAIGHT_DEG = 100, 150


def knee_angle(keypoints, scores, names):
    """The smaller of both knees' angles in degrees, or NaN where no leg is seen."""
    angles = []
    for side in ("left", "right"):
        rows = [names.index(f"{side}_{joint}") for joint in ("hip", "knee", "ankle")]
        if scores[rows].min() > 0.3:
            hip, knee, ankle = keypoints[rows]
            up, down = hip - knee, ankle - knee
            cosine = np.dot(up, down) / max(np.linalg.norm(up) * np.linalg.norm(down), 1e-6)
            angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return min(angles, default=np.nan)


model, video = sys.argv[1:]
bent, counts = defaultdict(bool), defaultdict(int)
for frame in edgepose.stream(video, model, track=True):
    names = frame.poses.skeleton.keypoints
    for number, keypoints, scores in zip(frame.ids.tolist(), frame.poses.keypoints_xy, frame.poses.scores, strict=True):
        angle = knee_angle(keypoints, scores, names)
        if angle < BENT_DEG:
            bent[number] = True
        elif angle > STRAIGHT_DEG and bent[number]:
            bent[number] = False
            counts[number] += 1
            print(f"{frame.time_s:7.2f} s  person {number}: {counts[number]}")
print(dict(counts))
