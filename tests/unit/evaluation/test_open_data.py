"""What is looked at before a model runs."""

from pathlib import Path

import pytest
from coco_like import make_document, make_spec, write

from edgepose.errors import InputError
from edgepose.evaluation.evaluation import Request, open_data
from edgepose.skeleton import Skeleton


def test_the_flip_test_needs_flip_pairs(tmp_path: Path) -> None:
    request = Request(annotations=write(tmp_path, make_document()), images=tmp_path, flip_test=True)
    with pytest.raises(InputError, match="the skeleton 'unnamed-17' has no flip pairs"):
        open_data(request, make_spec(Skeleton.unnamed(17)))
