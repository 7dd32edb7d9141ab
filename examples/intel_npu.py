"""An Intel NPU with OpenVINO: poses on the NPU, detection on the CPU.

python examples/intel_npu.py vitpose-s-int8.xml video.mp4 [npu | gpu | cpu]
"""

import sys

import edgepose

model, source = sys.argv[1:3]
device = sys.argv[3] if len(sys.argv) > 3 else "npu"
with edgepose.stream(source, model, device=f"openvino:{device}", detector_device="openvino:cpu", track=True) as stream:
    for _ in stream:
        pass
totals = stream.totals
print(f"{totals.frames / totals.seconds:.1f} frames/s with poses on {stream.session.info}")
