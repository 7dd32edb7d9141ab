"""What comes with the package: a small trained model and a photo to try it on."""

from pathlib import Path

__all__ = ["DEFAULT_MODEL", "SAMPLE_BOXES", "SAMPLE_IMAGE"]

_FOLDER = Path(__file__).parent

DEFAULT_MODEL = _FOLDER / "vitpose-ti.safetensors"
"""The model that ``edgepose convert`` takes when none is named; ``edgepose info`` shows what it is."""

SAMPLE_IMAGE = _FOLDER / "sample.jpg"
"""A rendered scene with four people (CC0)."""

SAMPLE_BOXES = _FOLDER / "sample.json"
"""The boxes and true keypoints of the people in it."""
