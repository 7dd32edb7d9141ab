import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

from edgepose.errors import DeviceError, EdgePoseError, InputError
from edgepose.runtime.session import MAX_BATCH, Session, SessionInfo
from edgepose.skeleton import get_skeleton
from edgepose.spec import Architecture, InputSpec, ModelSpec, Provenance

SPEC = ModelSpec(
    name="tiny",
    architecture=Architecture(dim=48, depth=1, heads=3, head="simple"),
    skeleton=get_skeleton("coco"),
    provenance=Provenance(source="made-for-tests"),
    input=InputSpec(height=64, width=48),
)


class FakeEngine:
    """Heatmaps that hold, everywhere, the sum of the crop they come from: what belongs to which crop can be seen."""

    def __init__(self, batch=None, shape=SPEC.heatmap_shape):
        self.info = SessionInfo(runtime="fake", version="1", requested="auto", device="nothing", threads=None, batch=batch)
        self.shape = shape
        self.seen = []
        self.closed = 0

    def infer(self, batch):
        assert batch.flags.c_contiguous
        self.seen.append(len(batch))
        return np.broadcast_to(batch.sum((1, 2, 3))[:, None, None, None], (len(batch), *self.shape)).copy()

    def close(self):
        self.closed += 1


def crops(count):
    return np.random.default_rng(count).standard_normal((count, *SPEC.input_shape)).astype(np.float32)


def check(session, batch):
    heatmaps = session.run(batch)
    assert heatmaps.dtype == np.float32
    assert heatmaps.shape == (len(batch), *SPEC.heatmap_shape)
    np.testing.assert_allclose(heatmaps, np.broadcast_to(batch.sum((1, 2, 3))[:, None, None, None], heatmaps.shape), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("compiled", "count", "seen"),
    [
        (None, 1, [1]),
        (None, 5, [5]),
        (None, MAX_BATCH, [MAX_BATCH]),
        (None, MAX_BATCH + 1, [MAX_BATCH, 1]),
        (1, 1, [1]),
        (1, 3, [1, 1, 1]),
        (4, 1, [4]),
        (4, 4, [4]),
        (4, 9, [4, 4, 4]),
        (4, 8, [4, 4]),
    ],
)
def test_batches_are_cut_and_padded_to_what_the_file_takes(compiled, count, seen):
    engine = FakeEngine(batch=compiled)
    check(Session(engine, SPEC), crops(count))
    assert engine.seen == seen


@pytest.mark.parametrize("compiled", [None, 1, 4])
def test_no_crops_give_no_heatmaps(compiled):
    engine = FakeEngine(batch=compiled)
    check(Session(engine, SPEC), crops(0))
    assert engine.seen == []


def test_the_padding_is_no_crop_of_the_caller():
    engine = FakeEngine(batch=4)
    padded = []
    engine.infer = lambda batch: padded.append(batch.copy()) or np.zeros((len(batch), *SPEC.heatmap_shape), np.float32)
    Session(engine, SPEC).run(crops(3))
    assert not padded[0][3].any()


def test_views_are_made_contiguous_and_left_alone():
    image = crops(6).transpose(0, 2, 3, 1).copy()
    view = image.transpose(0, 3, 1, 2)[::2]
    before = view.copy()
    check(Session(FakeEngine(), SPEC), view)
    assert (view == before).all()


def test_a_contiguous_batch_is_not_copied():
    engine = FakeEngine()
    seen = []
    engine.infer = lambda batch: seen.append(batch) or np.zeros((len(batch), *SPEC.heatmap_shape), np.float32)
    batch = crops(2)
    Session(engine, SPEC).run(batch)
    assert seen[0] is batch


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        (np.zeros((1, *SPEC.input_shape)), "float64"),
        (np.zeros((1, *SPEC.input_shape), np.uint8), "uint8"),
        (np.zeros((1, *SPEC.input_shape), ">f4"), ">f4"),
        (np.zeros((1, *SPEC.input_shape), np.float32).tolist(), "list"),
        (None, "NoneType"),
        (np.zeros(SPEC.input_shape, np.float32), r"\(3, 64, 48\)"),
        (np.zeros((1, 64, 48, 3), np.float32), r"\(1, 64, 48, 3\)"),
        (np.zeros((1, 3, 48, 64), np.float32), r"\(1, 3, 48, 64\)"),
        (np.zeros((), np.float32), r"\(\)"),
    ],
)
def test_a_wrong_batch_is_an_input_error_that_says_what_is_expected(batch, told):
    engine = FakeEngine()
    with pytest.raises(InputError, match=told) as caught:
        Session(engine, SPEC).run(batch)
    assert "expected" in str(caught.value)
    assert engine.seen == []


def test_an_engine_that_gives_another_shape_is_noticed():
    with pytest.raises(EdgePoseError, match=r"fake 1 \(nothing\).*\(2, 16, 16, 12\).*\(2, 17, 16, 12\)"):
        Session(FakeEngine(shape=(16, 16, 12)), SPEC).run(crops(2))


def test_what_a_runtime_raises_becomes_an_edgepose_error():
    class OddError(Exception):
        pass

    def fail(batch):
        raise OddError("out of memory on the device")

    engine = FakeEngine()
    engine.infer = fail
    with pytest.raises(EdgePoseError, match=r"fake 1 \(nothing\) failed on a batch of shape \(2, 3, 64, 48\): out of memory") as caught:
        Session(engine, SPEC).run(crops(2))
    assert isinstance(caught.value.__cause__, OddError)


def test_an_engines_own_error_passes_unchanged():
    def fail(batch):
        raise DeviceError("the device has gone")

    engine = FakeEngine()
    engine.infer = fail
    with pytest.raises(DeviceError, match=r"^the device has gone$"):
        Session(engine, SPEC).run(crops(1))


def test_a_closed_session_refuses_and_closes_its_engine_once():
    engine = FakeEngine()
    session = Session(engine, SPEC)
    session.close()
    session.close()
    assert engine.closed == 1
    with pytest.raises(InputError, match="closed"):
        session.run(crops(1))


def test_leaving_the_context_closes():
    engine = FakeEngine()
    with Session(engine, SPEC) as session:
        check(session, crops(1))
    assert engine.closed == 1


def test_closing_under_a_running_call_is_told_as_such():
    engine = FakeEngine()
    session = Session(engine, SPEC)

    def fail(batch):
        session.close()
        raise RuntimeError("null pointer")

    engine.infer = fail
    with pytest.raises(InputError, match="closed while it ran"):
        session.run(crops(1))


def test_closing_within_a_running_call_frees_when_that_ends():
    engine = FakeEngine()
    session = Session(engine, SPEC)
    infer = engine.infer

    def close_first(batch):
        session.close()
        assert engine.closed == 0
        return infer(batch)

    engine.infer = close_first
    check(session, crops(1))
    assert engine.closed == 1


class SlowEngine(FakeEngine):
    """Stays in its first call until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.began, self.go_on = threading.Event(), threading.Event()

    def infer(self, batch):
        self.began.set()
        assert self.go_on.wait(30)
        assert not self.closed
        return super().infer(batch)


@pytest.fixture
def running():
    """A session with a call running in another thread, and that thread."""
    session = Session(SlowEngine(), SPEC)
    engine, failures = session._engine, []

    def run():
        try:
            check(session, crops(2))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert engine.began.wait(30)
    yield session, engine, thread
    engine.go_on.set()
    thread.join()
    assert failures == []


def test_closing_waits_for_running_calls_and_refuses_new_ones(running):
    session, engine, call = running
    closing = threading.Thread(target=session.close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    assert engine.closed == 0
    with pytest.raises(InputError, match="closed"):
        session.run(crops(1))
    engine.go_on.set()
    closing.join()
    call.join()
    assert engine.closed == 1


def test_an_interrupted_close_frees_when_the_call_ends(running, monkeypatch):
    session, engine, call = running

    def interrupt(timeout):
        raise KeyboardInterrupt

    monkeypatch.setattr(session._idle, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.close()
    assert engine.closed == 0
    engine.go_on.set()
    call.join()
    assert engine.closed == 1


def test_a_session_nobody_names_any_more_lives_while_it_runs():
    engine = SlowEngine()
    session = Session(engine, SPEC)
    seen = weakref.ref(session)
    thread = threading.Thread(target=session.run, args=(crops(1),))
    thread.start()
    engine.began.wait()
    del session
    gc.collect()
    assert seen() is not None
    engine.go_on.set()
    thread.join()
    del thread
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_call_is_over(error):
    engine = FakeEngine()
    session = Session(engine, SPEC)

    def fail(batch):
        raise error

    engine.infer, infer = fail, engine.infer
    with pytest.raises(error):
        session.run(crops(1))
    engine.infer = infer
    check(session, crops(1))
    closing = threading.Thread(target=session.close)
    closing.start()
    closing.join(30)
    assert engine.closed == 1


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_session_stays_in_its_process(take):
    with pytest.raises(InputError, match="can't be pickled or copied.*Pass the file's path"):
        take(Session(FakeEngine(), SPEC))


def test_many_threads_close_an_engine_once():
    engine = FakeEngine()
    session = Session(engine, SPEC)
    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=lambda: (barrier.wait(), session.close())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.closed == 1


def test_info_names_runtime_version_and_device():
    session = Session(FakeEngine(batch=4), SPEC)
    assert str(session.info) == "fake 1 (nothing)"
    assert session.info.batch == 4
    assert session.spec is SPEC


def test_limits_and_defaults():
    assert MAX_BATCH == 64
    assert SessionInfo(runtime="a", version="1", requested="cpu", device="CPU", threads=None, batch=None).streams == 1
