"""A folder of photos: COCO keypoint results, which pycocotools evaluates.

python examples/folder_to_coco.py vitpose-s-int8.xml val2017/ results.json
"""

import sys

import edgepose
from edgepose.pipeline.frame import Failure
from edgepose.pipeline.sinks import SinkContext, open_sink

model, folder, results = sys.argv[1:]
with edgepose.stream(folder, model, streams=None) as stream:
    context = SinkContext(info=stream.source.info, skeleton=stream.session.spec.skeleton, looked_for=stream.detector.description)
    sink = open_sink(results, context)
    for result in stream.results():
        if isinstance(result, Failure):
            print(f"left out: {result.reason}")
        sink.write(result)
    sink.close()
print(f"{stream.totals.people} people in {stream.totals.frames} photos")
