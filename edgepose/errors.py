"""Everything edgepose raises on purpose.

EdgePoseError
├── ArtifactError           a model file is missing, damaged, foreign, or made by another version
│   └── IntegrityError      its bytes are not the ones that were verified when it was written
├── CheckpointError         training weights that can't be read or don't make a ViTPose
├── ConversionError         a target can't hold what was asked, or its converter failed
│   └── VerificationError   the converted file doesn't compute what the model computes
├── DeviceError             a runtime or device that isn't on this machine
│   └── MissingDependencyError   a package is missing; names the extra that brings it
├── InputError              an image, box, batch or option that can't be used
├── SpecError               a ModelSpec, skeleton or other JSON document with wrong content
└── TrainingError           a training run that can't start, go on, or end well

Each message says what was wrong, the value, what is allowed and, where one exists, the way to mend it.
"""

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "ConversionError",
    "DeviceError",
    "EdgePoseError",
    "InputError",
    "IntegrityError",
    "MissingDependencyError",
    "SpecError",
    "TrainingError",
    "VerificationError",
]


class EdgePoseError(Exception):
    """Base of all errors that edgepose raises on purpose."""


class ArtifactError(EdgePoseError):
    """A model file is missing, damaged, foreign, or made by another version."""


class IntegrityError(ArtifactError):
    """The bytes of an artifact are not the ones that were verified when it was written."""


class CheckpointError(EdgePoseError):
    """Training weights can't be read, or don't make a ViTPose."""


class ConversionError(EdgePoseError):
    """A target can't hold what was asked of it, or its converter failed."""


class VerificationError(ConversionError):
    """A converted file doesn't compute what the model computes."""


class DeviceError(EdgePoseError):
    """A runtime or device that was asked for isn't on this machine."""


class MissingDependencyError(DeviceError):
    """A Python package is missing.

    Args:
        package: what failed to import.
        extra: the edgepose extra that brings it.
        purpose: what it is needed for.
    """

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}, which isn't installed. Try: pip install 'edgepose[{extra}]'")
        self.package = package
        self.extra = extra


class InputError(EdgePoseError):
    """An image, box, batch or option that can't be used."""


class SpecError(EdgePoseError):
    """A ModelSpec, skeleton or other JSON document has wrong content."""


class TrainingError(EdgePoseError):
    """A training run can't start, go on, or end well."""
