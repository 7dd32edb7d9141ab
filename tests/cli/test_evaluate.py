"""`edgepose evaluate`, `edgepose card` and `edgepose convert --accept-if` as a user runs them, on tiny models and drawn people."""

import io
import json
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from artifacts import TinyArtifacts
from people import write_coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgepose.cli import main
from edgepose.evaluation.result import load_evaluation


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_coco(tmp_path_factory.mktemp("coco"), count=9)
    document = json.loads(path.read_text())
    for annotation in document["annotations"]:
        annotation |= {"area": 0.5 * annotation["bbox"][2] * annotation["bbox"][3], "num_keypoints": 17}
    path.write_text(json.dumps(document))
    return path


def arguments(people: Path, out: Path, *more: str) -> list[str]:
    return ["--annotations", str(people), "--images", str(people.parent), "--out", str(out), "--threads", "1", *more]


def figures(path: Path) -> dict[str, object]:
    document = json.loads(path.read_text())
    return {name: value for name, value in document.items() if name not in ("work", "date")}


def test_prints_figures_and_writes_results(
    artifacts: TinyArtifacts, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(artifacts.path("onnx"))
    assert main(["evaluate", model, *arguments(people, tmp_path, "--save-results")]) == 0
    printed = capsys.readouterr().out
    assert "| AP50 " in printed
    assert "9 people in 9 pictures, protocol coco" in printed
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.onnx.evaluation.json", "tiny.onnx.results.json"]
    evaluation = load_evaluation(tmp_path / "tiny.onnx.evaluation.json")
    assert evaluation.complete
    assert evaluation.conditions.artifact == "tiny.onnx"
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(people))
        reference = COCOeval(truth, truth.loadRes(str(tmp_path / "tiny.onnx.results.json")), "keypoints")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    assert list(evaluation.metrics.values()) == pytest.approx([None if figure < 0 else figure for figure in reference.stats], abs=1e-9), (
        "what pycocotools says of the same results"
    )


def test_shards_give_the_same_result(artifacts: TinyArtifacts, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(artifacts.path("onnx"))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["evaluate", model, *arguments(people, whole)]) == 0
    for number in (2, 1):
        assert main(["evaluate", model, *arguments(people, parts, "--shard", f"{number}/2")]) == 0
    shards = sorted(map(str, parts.iterdir()))
    assert [Path(path).name for path in shards] == ["tiny.onnx.shard-1-of-2.npz", "tiny.onnx.shard-2-of-2.npz"]
    capsys.readouterr()
    assert main(["evaluate", model, *arguments(people, parts, "--merge", shards[0])]) == 1
    assert "missing: 2/2" in capsys.readouterr().err
    assert main(["evaluate", model, *arguments(people, parts, "--flip", "--merge", *shards)]) == 1
    assert "its flip_test is False, not True" in capsys.readouterr().err
    assert main(["evaluate", model, *arguments(people, parts, "--merge", *shards)]) == 0
    assert figures(parts / "tiny.onnx.evaluation.json") == figures(whole / "tiny.onnx.evaluation.json")


# Says by a file that a picture is being read, and stays there.
_STAYING = """
import sys
import time
from pathlib import Path

import edgepose.evaluation.inference as inference
from edgepose.cli import main


def stay(*_arguments, **_options):
    Path(sys.argv[1]).touch()
    time.sleep(1000)


inference.decode_image = stay
main(sys.argv[2:])
"""


def test_a_killed_shard_leaves_nothing_and_is_run_again(artifacts: TinyArtifacts, people: Path, tmp_path: Path) -> None:
    model, begun, out = str(artifacts.path("onnx")), tmp_path / "begun", tmp_path / "out"
    command = ["evaluate", model, *arguments(people, out, "--shard", "1/2")]
    process = subprocess.Popen([sys.executable, "-c", _STAYING, str(begun), *command], stdout=subprocess.DEVNULL)
    try:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not list(out.glob("*.npz"))
    assert main(command) == 0
    assert main(["evaluate", model, *arguments(people, out, "--shard", "2/2")]) == 0
    assert main(["evaluate", model, *arguments(people, out, "--merge", *map(str, out.glob("*.npz")))]) == 0


def test_baseline_and_card(artifacts: TinyArtifacts, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, baseline = artifacts.path("onnx"), artifacts.path("openvino")
    assert main(["evaluate", str(model), *arguments(people, tmp_path, "--baseline", str(baseline))]) == 0
    assert "AP lost against the baseline" in capsys.readouterr().out
    result = tmp_path / "tiny.onnx.evaluation.json"
    evaluation = load_evaluation(result)
    assert evaluation.comparison is not None
    assert evaluation.comparison.baseline.artifact == "tiny.xml"
    assert evaluation.comparison.shift_px < 0.05
    assert "<figure>" in (tmp_path / "tiny.onnx.comparison.html").read_text()
    card = tmp_path / "card.md"
    assert main(["card", str(model), "--evaluation", str(result), "--out", str(card)]) == 0
    text = card.read_text()
    assert text.startswith("---\nlicense: ")
    assert "pipeline_tag: keypoint-detection" in text
    assert f"| {100 * evaluation.metrics['AP']:.1f} |" in text
    assert "Against `tiny.xml` it loses" in text
    capsys.readouterr()
    assert main(["card", str(baseline), "--evaluation", str(result)]) == 1
    assert "is of another file than tiny.xml" in capsys.readouterr().err


def test_what_is_odd_stands_everywhere(artifacts: TinyArtifacts, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(people.read_text())
    names = document["categories"][0]["keypoints"]
    document["categories"][0]["keypoints"] = [f"点 {number}" for number in range(len(names))]
    for number, image in enumerate(document["images"]):
        image["id"] = document["annotations"][number]["image_id"] = f"<b>{image['id']}</b>"
    document["annotations"][0]["keypoints"][:2] = [float("nan")] * 2
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps(document))
    model, out = str(artifacts.path("onnx")), tmp_path / "out"
    command = ["evaluate", model, "--annotations", str(odd), "--images", str(people.parent), "--out", str(out), "--threads", "1"]
    capsys.readouterr()
    assert main(command) == 1
    assert "can't be compared with those of the model's skeleton 'coco'" in capsys.readouterr().err
    assert main([*command, "--keypoints-as-listed", "--save-results", "--baseline", str(artifacts.path("openvino"))]) == 0
    captured = capsys.readouterr()
    lost = "warning: 1 labelled keypoints whose place isn't a number, such as annotation 0: keypoint 0: counted as unlabelled"
    trusted = "warning: 17 keypoint names that aren't the model's, such as keypoint 0: 点 0 for nose"
    text_ids = "note: 9 image ids that aren't 64-bit whole numbers, such as image 0: '<b>0</b>': taken as they are"
    for line in (lost, trusted, text_ids):
        assert line in captured.out
        assert f"edgepose evaluate: {line}" in captured.err
    evaluation = load_evaluation(out / "tiny.onnx.evaluation.json")
    assert [warning.code for warning in evaluation.warnings] == ["labelled-not-finite", "keypoints-as-listed"]
    assert [note.code for note in evaluation.notes] == ["image-id-not-integer"]
    assert evaluation.conditions.keypoints_as_listed
    page = (out / "tiny.onnx.comparison.html").read_text()
    assert '<p class="warning">Warning: 1 labelled keypoints whose place' in page
    assert "<b>" not in page
    assert json.loads((out / "tiny.onnx.results.json").read_text())[0]["image_id"].startswith("<b>")
    assert main(["card", model, "--evaluation", str(out / "tiny.onnx.evaluation.json")]) == 0
    assert "**Warning**: 17 keypoint names" in capsys.readouterr().out


def test_detections(artifacts: TinyArtifacts, people: Path, tmp_path: Path) -> None:
    boxes = [
        {"image_id": annotation["image_id"], "category_id": 1, "bbox": annotation["bbox"], "score": score}
        for annotation in json.loads(people.read_text())["annotations"]
        for score in (0.9, 0.05)
    ]
    detections = tmp_path / "detections.json"
    detections.write_text(json.dumps([*boxes, boxes[0] | {"image_id": 999}]))
    out = tmp_path / "out"
    command = ["evaluate", str(artifacts.path("onnx")), *arguments(people, out, "--detections", str(detections), "--min-box-score", "0.1")]
    assert main(command) == 0
    evaluation = load_evaluation(out / "tiny.onnx.evaluation.json")
    assert evaluation.people == 9
    assert evaluation.conditions.detections == "detections.json"
    assert sum(evaluation.left_out.values()) == 10


def test_pictures_that_are_missing_or_broken(
    artifacts: TinyArtifacts, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for picture in people.parent.glob("*.png"):
        (folder / picture.name).write_bytes(picture.read_bytes())
    (folder / "003.png").unlink()
    command = [
        "evaluate",
        str(artifacts.path("onnx")),
        "--annotations",
        str(people),
        "--images",
        str(folder),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 1
    assert "1 of the 9 pictures" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command, "--skip-missing"]) == 0
    printed = capsys.readouterr().out
    assert "left out: 1 missing pictures" in printed
    assert "a part of the data set" in printed
    (folder / "005.png").write_bytes(b"not a picture")
    assert main([*command, "--skip-missing"]) == 1, "nobody agreed to leave that one out"
    captured = capsys.readouterr()
    assert "005.png" in captured.err
    assert "| AP " in captured.out, "the rest has been measured"
    evaluation = load_evaluation(tmp_path / "out" / "tiny.onnx.evaluation.json")
    assert (evaluation.people, evaluation.complete) == (7, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--images", "nowhere"], "no folder 'nowhere'"),
        (["--annotations", "nowhere.json"], "nowhere.json"),
        (["--protocol", "voc"], "no protocol is called 'voc'"),
        (["--protocol", "wholebody"], "wholebody"),
        (["--detections", "nowhere.json"], "nowhere.json"),
    ],
)
def test_wrong_options(
    artifacts: TinyArtifacts, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    model = str(artifacts.path("onnx"))
    capsys.readouterr()
    assert main(["evaluate", model, *arguments(people, tmp_path), *change]) == 1
    captured = capsys.readouterr().err
    assert message in captured
    assert len(captured.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [["--shard", "3/2"], ["--shard", "0/2"], ["--shard", "1"], ["--shard", "1/2", "--merge", "a.npz"]])
def test_wrong_usage(artifacts: TinyArtifacts, people: Path, tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(artifacts.path("onnx")), *arguments(people, tmp_path), *options])
    assert stopped.value.code == 2


def test_convert_keeps_what_is_accurate_enough(
    artifacts: TinyArtifacts, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--annotations", str(people), "--images", str(people.parent)]
    command = ["convert", str(artifacts.path("safetensors")), "--to", "openvino", "--precision", "fp32", "--out", str(tmp_path), *data]
    assert main([*command, "--accept-if", "ap_drop<-1"]) == 1
    assert "isn't accepted: ap_drop is" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main([*command, "--accept-if", "ap_drop<=1,shift_px<0.1"]) == 0
    capsys.readouterr()
    assert main(["info", str(tmp_path / "tiny-64x48-fp32.xml")]) == 0
    assert "accepted ap_drop is" in capsys.readouterr().out
    for wrong in (["--accept-if", "speed<1"], ["--accept-if", "ap_drop<1", "--annotations", "nowhere.json"], []):
        assert main([*command, *wrong]) == 1


def test_latency_meets_accuracy(artifacts: TinyArtifacts, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(artifacts.path("onnx"))
    assert main(["evaluate", model, *arguments(people, tmp_path / "evaluation", "--protocol", "pck")]) == 0
    quick = ["--processes", "1", "--seconds", "0.05", "--time", "0.1", "--threads", "1"]
    assert main(["benchmark", model, "--out", str(tmp_path / "results"), *quick]) == 0
    result = tmp_path / "evaluation" / "tiny.onnx.evaluation.json"
    document = json.loads(result.read_text())
    document["metrics"]["PCK@0.2"] = 0.625  # an untrained model finds nothing
    result.write_text(json.dumps(document))
    capsys.readouterr()
    assert main(["report", str(tmp_path / "results"), "--accuracy", str(result), "--out", str(tmp_path / "report.csv")]) == 0
    assert ",62.5," in (tmp_path / "report.csv").read_text()
    capsys.readouterr()
    assert main(["card", model, "--evaluation", str(result), "--benchmark", str(tmp_path / "results")]) == 0
    card = capsys.readouterr().out
    assert "Not measured." not in card
    assert "| tiny.onnx" in card
    assert "| 62.5 |" in card
    assert main(["card", str(artifacts.path("openvino")), "--benchmark", str(tmp_path / "results")]) == 1
    assert "none of the benchmark results is of tiny.xml" in capsys.readouterr().err
