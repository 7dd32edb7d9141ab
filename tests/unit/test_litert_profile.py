"""LiteRT's operator profiler, and the tables that it and ``benchmark_model`` print."""

from pathlib import Path

import ai_edge_litert
import numpy as np
import pytest
from artifacts import TinyArtifacts, make_crops

from edgepose.errors import DeviceError
from edgepose.runtime import litert, litert_profile
from edgepose.runtime.operator_table import read_run_orders
from edgepose.runtime.registry import profile

RECORDED = Path(__file__).parent / "benchmarks/recorded"
PACKAGE = Path(ai_edge_litert.__file__).parent


def test_the_recorded_table_of_litert() -> None:
    (rows,) = read_run_orders((RECORDED / "litert_profile.txt").read_text())
    assert len(rows) == 43
    assert rows[0].kind == "Delegate/Transpose (ND, X32) Transpose"
    assert rows[1].seconds == pytest.approx(23e-6)
    assert (rows[-2].kind, rows[-2].name) == ("Delegate/Convolution (NHWC, F32) IGEMM", "[Delegate]:41")
    assert rows[-2].seconds == pytest.approx(91e-6)


def test_tables_separated_by_tabs_whatever_their_columns() -> None:
    first, second = read_run_orders((RECORDED / "profile.txt").read_text())
    assert [row.kind for row in first] == ["ModifyGraphWithDelegate", "AllocateTensors"]
    assert [row.kind for row in second] == ["TfLiteNnapiDelegate", "CONV_2D", "CONV_2D", "RESIZE_BILINEAR"]
    # Later versions leave out the column of starts.
    lines = ["==== Run Order ====", "  [node type]   [first]   [avg ms]   [times called]   [Name]", "  ADD   0.100   0.200   1   [sum]:0"]
    ((row,),) = read_run_orders("\n".join(lines))
    assert (row.kind, row.name, row.seconds) == ("ADD", "[sum]:0", pytest.approx(2e-4))
    assert read_run_orders("==== Top by Computation Time ====\n" + "\n".join(lines[1:])) == []


def test_operators_inside_xnnpack_are_reported(artifacts: TinyArtifacts) -> None:
    found = profile(artifacts.path("litert"), make_crops(1), calls=2, device="cpu", threads=2)
    kinds = {operator.kind for operator in found.operators}
    assert "Fully Connected (NC, F32) GEMM" in kinds
    assert "Softmax (NC, F32)" in kinds
    assert {operator.device for operator in found.operators} == {"cpu"}
    assert len({operator.name for operator in found.operators}) == len(found.operators)


def test_what_has_no_profiler_says_so(artifacts: TinyArtifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, levels = artifacts.path("litert"), make_crops(1)
    with pytest.raises(DeviceError, match=r"2\.1\.0 has no profiler .* 2\.3 and later"):
        litert_profile.profile_cpu(path, PACKAGE, "2.1.0", levels, threads=1, calls=1)
    with pytest.raises(DeviceError, match="has no profiler"):
        litert_profile.profile_cpu(path, tmp_path, "9.0", levels, threads=1, calls=1)
    with pytest.raises(DeviceError, match="the device asked for is 'gpu'"):
        profile(path, levels, device="litert:gpu")
    monkeypatch.setattr(litert.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(litert, "find_version", lambda *_, **__: "2.14.0")
    with pytest.raises(DeviceError, match="its successor has one"):
        profile(path, levels, device="litert:cpu")


def test_an_input_of_another_size_is_refused(artifacts: TinyArtifacts) -> None:
    with pytest.raises(DeviceError, match="wants an input of"):
        litert_profile.profile_cpu(artifacts.path("litert"), PACKAGE, "2.3.0", np.zeros(3, np.float32), threads=1, calls=1)
