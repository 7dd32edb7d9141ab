"""Who is in a picture: detectors, box files, or the picture as a whole."""

from edgepose.pipeline.detection.choosing import choose_detector
from edgepose.pipeline.detection.finders import BoxFileDetector, CallableDetector, WholePictureDetector
from edgepose.pipeline.detection.opening import DETECTORS, open_detector

__all__ = ["DETECTORS", "BoxFileDetector", "CallableDetector", "WholePictureDetector", "choose_detector", "open_detector"]
