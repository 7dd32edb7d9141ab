"""Every example runs as its first lines say, on a tiny model and a short video of the sample photo."""

import json
import re
import subprocess
import sys

import av
import pytest

from edgepose import read_image

EXAMPLES = ("photo", "webcam", "video_to_csv", "folder_to_coco", "count_repetitions", "raspberry_pi", "intel_npu", "http_client")


@pytest.fixture(scope="module")
def sample(request):
    return request.config.rootpath / "edgepose/assets/sample.jpg"


@pytest.fixture(scope="module")
def video(tmp_path_factory, sample):
    path = tmp_path_factory.mktemp("examples") / "walk.mp4"
    image = read_image(sample)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = image.shape[1], image.shape[0]
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def run(request, name, *arguments):
    script = request.config.rootpath / "examples" / f"{name}.py"
    result = subprocess.run([sys.executable, str(script), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_each_example_is_run_here(request):
    scripts = {script.stem for script in (request.config.rootpath / "examples").glob("*.py")}
    assert scripts - {"demo"} == set(EXAMPLES)


def test_photo(request, artifacts, sample, tmp_path):
    output = run(request, "photo", artifacts.path("onnx"), sample, tmp_path / "drawn.jpg")
    assert len(output.splitlines()) == 4
    assert read_image(tmp_path / "drawn.jpg").shape == read_image(sample).shape


def test_webcam(request, artifacts, video):
    assert len(run(request, "webcam", artifacts.path("onnx"), video).splitlines()) == 6


def test_video_to_csv(request, artifacts, video, tmp_path):
    assert run(request, "video_to_csv", artifacts.path("onnx"), video, tmp_path / "x.csv").startswith("6 frames")
    assert (tmp_path / "x.csv").read_text().startswith("frame,time_s,name,id,left")


def test_folder_to_coco(request, artifacts, sample, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "000000000139.jpg").write_bytes(sample.read_bytes())
    (tmp_path / "photos" / "torn.jpg").write_bytes(sample.read_bytes()[:5000])
    output = run(request, "folder_to_coco", artifacts.path("openvino"), tmp_path / "photos", tmp_path / "x.json")
    assert "left out:" in output
    assert "4 people in 1 photos" in output
    assert {entry["image_id"] for entry in json.loads((tmp_path / "x.json").read_text())} == {139}


def test_count_repetitions(request, artifacts, video):
    # A model with random weights may bend anybody's knees.
    assert re.fullmatch(r"\{(\d+: \d+(, )?)*\}", run(request, "count_repetitions", artifacts.path("onnx"), video).splitlines()[-1])


def test_raspberry_pi(request, artifacts, video):
    assert "frames=6" in run(request, "raspberry_pi", artifacts.path("litert"), video)


def test_intel_npu(request, artifacts, video):
    assert "with poses on openvino" in run(request, "intel_npu", artifacts.path("openvino"), video, "cpu")


def test_http_client(request, artifacts, sample):
    command = [sys.executable, "-m", "edgepose.cli", "serve", str(artifacts.path("onnx")), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline()).group()
        output = run(request, "http_client", address, sample)
    finally:
        server.terminate()
        server.wait(20)
    assert output.startswith("people: yolox-nano")
    assert len(output.splitlines()) == 5
