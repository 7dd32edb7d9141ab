"""On a local Ray of two workers, each a process."""

import logging
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import draw_pictures

from edgepose.errors import EdgePoseError, InputError
from edgepose.evaluation.distributed import Cluster, Model, connect, find_keypoints_on_cluster
from edgepose.evaluation.inference import Pictures, find_keypoints
from edgepose.runtime import load

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.xdist_group("ray")  # one cluster at a time on a small machine
TWO = Cluster(workers=2)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    annotations, people = draw_pictures(folder, [2, 0, 1, 3] * 20)
    (folder / "6.png").write_bytes(b"broken")
    return folder, Pictures(names=annotations.file_names, sizes=annotations.picture_sizes), people


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One for all tests: starting it takes longer than they do."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, object_store_memory=100_000_000)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def model(artifacts):
    return Model(path=artifacts.path("onnx"), options={})


@pytest.fixture(scope="module")
def whole(drawn, model):
    folder, pictures, people = drawn
    found, runtime = find_keypoints_on_cluster(model, pictures, people, folder, TWO)
    return found, runtime


def test_finds_what_one_process_finds(drawn, model, whole):
    folder, pictures, people = drawn
    found, runtime = whole
    with load(model.path, threads=1) as session:
        alone = find_keypoints(session, pictures, people, folder)
        assert runtime == str(session.info)
    np.testing.assert_allclose(found.keypoints, alone.keypoints, atol=2e-4)
    assert list(found.unusable) == [6]
    np.testing.assert_array_equal(found.sizes, alone.sizes)
    assert found.sizes[0].tolist() == [120, 90]
    assert (found.pictures, found.digest) == (alone.pictures, alone.digest)


def test_a_worker_that_dies_changes_nothing(drawn, model, whole):
    folder, pictures, people = drawn
    killed = []
    done = threading.Event()

    def kill_one():
        while not killed and not done.is_set():
            for process in _workers():
                os.kill(process, signal.SIGKILL)
                killed.append(process)
                return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        found, _ = find_keypoints_on_cluster(model, pictures, people, folder, TWO)
    finally:
        done.set()
        killer.join()
    assert killed, "no worker was there to kill"
    np.testing.assert_array_equal(found.keypoints, whole[0].keypoints)
    assert found.digest == whole[0].digest


def _workers():
    """Processes of our actors."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                title = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::") and b"_Finder" in title:
                yield int(folder.name)


def test_errors_are_ours(drawn, model, tmp_path):
    folder, pictures, people = drawn
    with pytest.raises(InputError, match="nobody to look for"):
        find_keypoints_on_cluster(model, pictures, people, folder, TWO, only=np.zeros(80, np.bool_))
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model.path.read_bytes()[:-100])
    with pytest.raises(EdgePoseError, match="damaged.onnx"):
        find_keypoints_on_cluster(Model(path=damaged, options={}), pictures, people, folder, TWO)


def test_a_cluster_that_does_not_answer():
    with pytest.raises(InputError, match="can't reach the Ray cluster at '127.0.0.1:1'"):
        connect(ray, Cluster(workers=1, address="127.0.0.1:1"))
