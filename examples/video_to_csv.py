"""A video: a table of all keypoints of all people, for a spreadsheet or pandas.

python examples/video_to_csv.py vitpose-s-int8.xml walk.mp4 walk.csv
"""

import sys

import edgepose
from edgepose.pipeline.sinks import SinkContext, open_sink

model, video, table = sys.argv[1:]
with edgepose.stream(video, model, track=True) as stream:
    context = SinkContext(info=stream.source.info, skeleton=stream.session.spec.skeleton, looked_for=stream.detector.description)
    sink = open_sink(table, context)
    for frame in stream:
        sink.write(frame)
    sink.close()
print(f"{stream.totals.frames} frames, {stream.totals.people} poses")
