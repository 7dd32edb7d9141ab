"""A Raspberry Pi with LiteRT: a small file, two threads, detection every ten frames.

pip install 'edgepose[litert,video]' edgepose-weights onnxruntime
python examples/raspberry_pi.py vitpose-s-int8.tflite [0 | video.mp4]
"""

import sys

import edgepose

model, source = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "0"
with edgepose.stream(source, model, device="litert:cpu", threads=2, detector_threads=1, track=True, detect_every=10) as stream:
    for frame in stream:
        print(f"{frame.index:6d}  people {frame.ids.tolist()}  {frame.dropped} dropped")
print(stream.totals)
