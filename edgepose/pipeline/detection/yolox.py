"""YOLOX as its authors export it: one row for each cell of three grids, neither placed nor suppressed.

Preprocessing after Megvii-BaseDetection/YOLOX (Apache-2.0): BGR, 0…255.
"""

from collections.abc import Sequence

from edgepose.pipeline.detection.spec import DetectorInput, DetectorSpec
from edgepose.runtime.ports import Port
from edgepose.spec import Provenance

__all__ = ["recognise_yolox"]

_BOX_COLUMNS = 5


def recognise_yolox(name: str, inputs: Sequence[Port], outputs: Sequence[Port], provenance: Provenance) -> DetectorSpec | None:
    """Return what a network is by its inputs and outputs, or ``None`` where it isn't this.

    Raises:
        SpecError: it is one, of a size that is none.
    """
    if len(inputs) != 1 or len(outputs) != 1:
        return None
    given, found = inputs[0].shape, outputs[0].shape
    if given is None or found is None or len(given) != 4 or len(found) != 3:
        return None
    height, width, columns = given[2], given[3], found[2]
    if height is None or width is None or columns is None or columns <= _BOX_COLUMNS:
        return None
    spec = DetectorSpec(
        name=name,
        kind="yolox",
        input=DetectorInput(height=height, width=width),
        classes=columns - _BOX_COLUMNS,
        overlap=0.45,
        min_score=0.5,
        provenance=provenance,
    )
    return spec if found[1] in (None, spec.cells) else None
