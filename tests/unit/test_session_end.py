"""Real runtimes in real processes that end, or fork, while models run: nothing aborts and nothing hangs."""

import os
import subprocess
import sys

import pytest

# A call takes long enough that the process's end finds each thread in native code.
SETUP = """
import os, signal, sys, threading, time
import numpy as np
import edgepose

sessions = [edgepose.load(path, device) for path, device in zip(sys.argv[1::2], sys.argv[2::2])]
batch = np.zeros((16, *sessions[0].spec.input_shape), np.float32)
"""

WORK = """
began = [threading.Event() for _ in sessions]

def work(session, event):
    try:
        while True:
            session.run(batch)
            event.set()
    except edgepose.EdgePoseError as error:
        assert "the process is ending" in str(error) or "while it ran" in str(error), error

for session, event in zip(sessions, began):
    threading.Thread(target=work, args=(session, event), daemon=True).start()
for event in began:
    assert event.wait(60)
"""

LOAD = """
def load():
    for _ in range(1000):
        try:
            edgepose.load(sys.argv[1], sys.argv[2])
        except edgepose.EdgePoseError as error:
            assert "the process is ending" in str(error), error
            return

threading.Thread(target=load, daemon=True).start()
"""

# A shell's background jobs, and so perhaps these tests, begin with SIGINT ignored.
CTRL_C = """
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.raise_signal(signal.SIGINT)
"""

FORK = """
child = os.fork()
if child == 0:
    signal.alarm(60)
    for session in sessions:
        try:
            session.run(batch)
        except edgepose.EdgePoseError as error:
            assert "only the parent can use it" in str(error), error
        else:
            os._exit(1)
        session.close()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
for session in sessions:
    assert np.isfinite(session.run(batch)).all()
"""


@pytest.fixture(scope="module")
def models(artifacts):
    return [
        argument
        for kind, device in (
            ("openvino", "openvino:cpu"),
            ("onnx", "onnxruntime:cpu"),
            ("litert", "litert:cpu"),
            ("coreml", "mil:auto"),
            ("safetensors", "torch:cpu"),
        )
        for argument in (str(artifacts.path(kind)), device)
    ]


def run(script, models):
    return subprocess.run([sys.executable, "-c", SETUP + script, *models], capture_output=True, text=True, timeout=120, check=False)


# PyTorch takes seconds to import: once is enough.
@pytest.mark.parametrize(("end", "code", "count"), [("sys.exit(3)", 3, 5), (CTRL_C, -2, 3)])
def test_a_process_that_ends_while_models_run_and_load(end, code, count, models):
    result = run(WORK + LOAD + end, models[: 2 * count])
    assert result.returncode == code, result.stderr
    # The only words are Python's own about Ctrl-C.
    assert "terminate" not in result.stderr
    assert "Error:" not in result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
def test_a_fork_refuses_and_the_parent_goes_on(models):
    result = run(FORK, models[:8])
    assert result.returncode == 0, result.stderr
