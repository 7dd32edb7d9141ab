"""The server: answers, limits, and the page in a real browser."""

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from pipeline_fakes import FakeDetector, FakeSession, FakeSource, FakeTracker

from edgepose import PoseEstimator
from edgepose.errors import InputError
from edgepose.pipeline.stream import PoseStream
from edgepose.serving.app import make_app
from edgepose.serving.joining import JoinedSession
from edgepose.serving.limits import RateLimiter, ServingLimits
from edgepose.serving.live import LiveView
from edgepose.serving.service import PoseService

BOX = [10, 5, 30, 35]


def picture(value=90, size=(40, 60)):
    return cv2.imencode(".png", np.full((*size, 3), value, np.uint8))[1].tobytes()


class Server:
    """An application over fakes, and a client of it."""

    def __init__(self, *, session=None, detector=None, view=None, token=None, **limits):
        self.session = session or FakeSession()
        self.joined = JoinedSession(self.session, window_s=0.05)
        self.limits = ServingLimits(**{"per_second": 1000.0, **limits})
        service = PoseService(self.joined, detector or FakeDetector(), self.limits)
        self.app = make_app(service, view, hosts=("testserver", "127.0.0.1", "localhost"), token=token, limits=self.limits)
        self.client = TestClient(self.app)

    def close(self):
        self.joined.close()


@pytest.fixture
def server(request):
    running = Server(**getattr(request, "param", {}))
    yield running
    running.close()


def test_a_picture_is_answered_with_its_poses(server):
    answer = server.client.post("/pose", content=picture())
    assert answer.status_code == 200
    document = answer.json()
    assert (document["width"], document["height"], document["looked_for"]) == (60, 40, "people: fake")
    alone = PoseEstimator(FakeSession())(np.full((40, 60, 3), 90, np.uint8), [BOX])
    (person,) = document["people"]
    assert person["box_xyxy"] == BOX
    np.testing.assert_allclose(next(iter(person["keypoints"].values()))[:2], alone.keypoints_xy[0, 0], atol=1e-3)
    assert set(document["seconds"]) == {"decode", "detect", "pose"}


def test_boxes_and_whole_pictures_by_query_and_by_form(server):
    client, boxes = server.client, json.dumps([[1, 2, 20, 30], [5, 5, 50, 39]])
    by_query = client.post("/pose", params={"boxes": boxes}, content=picture()).json()
    by_form = client.post("/pose", data={"boxes": boxes}, files={"image": ("x.png", picture(), "image/png")}).json()
    assert [person["box_xyxy"] for person in by_query["people"]] == [[1, 2, 20, 30], [5, 5, 50, 39]]
    assert by_form["people"] == by_query["people"]
    assert by_query["looked_for"] == "people: boxes of the request"
    whole = client.post("/pose", params={"whole": "1"}, content=picture()).json()
    assert [person["box_xyxy"] for person in whole["people"]] == [[0, 0, 60, 40]]
    assert client.post("/pose", params={"boxes": "[]"}, content=picture()).json()["people"] == []


def test_requests_at_the_same_time_share_a_call_and_get_what_they_would_alone():
    server = Server(session=FakeSession(seconds=0.01))
    values = list(range(60, 220, 20))
    answers = {}

    def ask(value):
        answers[value] = server.client.post("/pose", content=picture(value)).json()

    threads = [threading.Thread(target=ask, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.joined.calls < len(values)
    estimator = PoseEstimator(FakeSession())
    for value in values:
        alone = estimator(np.full((40, 60, 3), value, np.uint8), [BOX])
        assert answers[value]["people"][0]["score"] == pytest.approx(float(alone.scores.mean()), abs=1e-3)
    server.close()


@pytest.mark.parametrize("server", [{"body_bytes": 3000, "pixels": 5000}], indirect=True)
def test_pictures_that_are_too_much_or_none(server):
    client = server.client
    noise = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))[1].tobytes()
    for content, status, why in (
        (noise, 413, "allowed: 3000"),
        (picture(size=(100, 100)), 400, r"100×100 pixels, .*allowed"),
        (b"hello", 400, "can't read the image"),
        (b"", 400, "there is no picture"),
    ):
        answer = client.post("/pose", content=content)
        assert answer.status_code == status
        assert re.search(why, answer.json()["error"])

    def dripping():
        for _ in range(10):
            yield bytes(1000)

    assert client.post("/pose", content=dripping()).status_code == 413
    for boxes in ("nonsense", "[[1,2]]", "[" * 100_000, json.dumps([[0, 0, 9, 9]] * 101)):
        assert client.post("/pose", data={"boxes": boxes}, files={"image": picture()}).status_code in (400, 413)


def test_a_model_that_fails_is_an_answer(server):
    server.session.fail_on_black = True
    answer = server.client.post("/pose", content=picture(0))
    assert answer.status_code == 400
    assert "must be finite" in answer.json()["error"]
    assert server.client.post("/pose", content=picture(200)).status_code == 200


@pytest.mark.parametrize("server", [{"per_second": 0.5}], indirect=True)
def test_a_client_that_asks_too_often_is_told_when_to_come_back(server):
    answers = [server.client.post("/pose", content=picture()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert int(answers[1].headers["retry-after"]) >= 1


def test_too_many_at_once_are_refused():
    server = Server(session=FakeSession(seconds=0.5), at_once=1)
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(server.client.post("/pose", content=picture()).status_code)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 503, 503]
    server.close()


def test_only_this_machine_and_its_own_pages_may_ask(server):
    client = server.client
    assert client.get("/health").json() == {"ok": True}
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 403
    assert client.post("/pose", content=picture(), headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/pose", content=picture(), headers={"origin": "http://testserver"}).status_code == 200
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "//" not in re.sub(r"<!doctype.*?>", "", page.text).replace("location.origin", "").replace("://", "")
    assert client.get("/pose").status_code == 405
    assert client.get("/absent").json()["error"].startswith("there is /")
    assert client.get("/video").status_code == 404


@pytest.mark.parametrize("server", [{"token": "secret"}], indirect=True)
def test_a_token_is_asked_for(server):
    client = server.client
    assert client.get("/info").status_code == 401
    assert client.get("/info", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/info", headers={"authorization": "Bearer secret"}).json()["detector"] == "fake"
    assert client.get("/info", params={"token": "secret"}).status_code == 200


def test_limits_are_positive_and_buckets_forget():
    with pytest.raises(InputError, match="viewers is 0"):
        ServingLimits(viewers=0)
    limiter = RateLimiter(1000.0)
    assert [limiter.wait_s(str(client)) for client in range(10_050)] == [0.0] * 10_050
    assert len(limiter._buckets) == 10_000


def live(values, **options):
    stream = PoseStream(FakeSource(values, live=True, gap_s=0.01), FakeSession(), FakeDetector(), tracker=FakeTracker())
    return LiveView(stream, **options)


def test_viewers_get_the_newest_frame_drawn_once_and_only_if_somebody_looks():
    view = live([90] * 300)
    view.start()
    first = view.wait(0, 5)
    assert first.jpeg == b""
    view.viewers = 1
    while not (frame := view.wait(view.newest.number, 5)).jpeg:
        pass
    assert cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (40, 60, 3)
    assert (frame.facts["state"], frame.facts["people"], frame.facts["ids"]) == ("running", 1, [1])
    view.close()
    assert view.wait(view.newest.number, 0.1) is None


@pytest.mark.parametrize(("values", "state"), [([90, 90], "ended"), ([90, InputError("unplugged")], "failed")])
def test_how_a_stream_ends_is_shown(values, state):
    view = live(values)
    view.start()
    while not view.ended:
        time.sleep(0.01)
    server = Server(view=view)
    facts = [json.loads(line[6:]) for line in server.client.get("/events").text.splitlines() if line.startswith("data: ")]
    assert facts[-1]["state"] == state
    assert ("unplugged" in facts[-1]["reason"]) == (state == "failed")
    assert server.client.get("/info").json()["source"]["state"] == state
    # Requests go on.
    assert server.client.post("/pose", content=picture()).status_code == 200
    server.close()
    view.close()


@pytest.fixture
def address():
    """A real server on a free port; its stream begins when somebody looks, and ends."""
    import uvicorn

    def values():
        while not view.viewers and not source.closed.is_set():
            time.sleep(0.01)
        yield from [90] * 60

    source = FakeSource(values(), live=True, gap_s=0.01)
    view = LiveView(PoseStream(source, FakeSession(), FakeDetector(), tracker=FakeTracker()))
    view.start()
    server = Server(view=view)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(server.app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    running.should_exit = True
    view.close()
    thread.join(10)
    server.close()


def test_the_picture_is_a_stream_of_jpegs(address):
    import httpx

    with httpx.stream("GET", f"{address}/video", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("multipart/x-mixed-replace")
        content = b""
        for piece in answer.iter_bytes():
            content += piece
            if content.count(b"\xff\xd8\xff") >= 3:
                break


@pytest.mark.skipif(not (shutil.which("chromium") or shutil.which("google-chrome")), reason="no Chromium on this machine")
def test_the_page_in_a_browser(address, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
        *(f"--user-data-dir={tmp_path}", "--window-size=1000,700", "--timeout=4000", "--virtual-time-budget=2000"),
    ]
    shown = subprocess.run([*command, "--dump-dom", f"{address}/"], capture_output=True, text=True, timeout=60, check=False).stdout
    # The page is looked at when its streams have ended.
    assert re.search(r'<span id="state" class="ended">the source has ended</span>', shown)
    assert re.search(r'<dd id="people">1</dd>', shown)
    assert re.search(r'<img id="video" alt="[^"]*" src="video">', shown)  # no longer hidden
    assert "people by fake" in shown


def test_the_command_says_what_is_wrong_before_it_loads_anything(artifacts, capsys):
    from edgepose.cli import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["serve", str(artifacts.path("onnx")), "--port", port]) == 1
        assert f"can't listen on 127.0.0.1, port {port}" in capsys.readouterr().err
    assert main(["serve", str(artifacts.path("onnx")), "--host", "192.0.2.1", "--port", "0"]) == 1


def test_the_command_answers_and_ends(artifacts, request):
    import httpx

    command = [sys.executable, "-m", "edgepose.cli", "serve", str(artifacts.path("onnx")), "--port", "0", "--whole"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+", child.stdout.readline()).group()
        sample = (request.config.rootpath / "edgepose/assets/sample.jpg").read_bytes()
        deadline = time.monotonic() + 30
        while True:
            try:
                answer = httpx.post(f"{address}/pose", content=sample, timeout=30)
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert len(answer.json()["people"]) == 1
        child.terminate()
        assert child.wait(15) == 1
    finally:
        child.kill()
        child.communicate()
