"""A camera: the people in front of it, with numbers, until Ctrl-C.

python examples/webcam.py vitpose-s-int8.xml [0 | rtsp://… | video.mp4]
"""

import sys

import edgepose

model, source = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "0"
with edgepose.stream(source, model, track=True) as stream:
    for frame in stream:
        noses = [
            (int(number), *keypoints[0].round().astype(int)) for number, keypoints in zip(frame.ids, frame.poses.keypoints_xy, strict=True)
        ]
        print(f"{frame.time_s:8.2f} s  {frame.latency_s * 1e3:5.0f} ms  {frame.dropped} dropped  noses {noses}")
