"""A photo: find the people in it and draw their poses.

python examples/photo.py vitpose-s-int8.xml photo.jpg photo-pose.jpg
"""

import sys

import edgepose
from edgepose.image import write_image

model, photo, drawing = sys.argv[1:]
with edgepose.stream(photo, model) as stream:
    for frame in stream:
        write_image(drawing, edgepose.draw_poses(frame.image, frame.poses))
        for person in frame.poses.to_document()["people"]:
            print(person["box_xyxy"], person["score"])
