"""``edgepose.stream``: a stream out of names."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepose.assets import DEFAULT_MODEL
from edgepose.errors import DeviceError, MissingDependencyError
from edgepose.pipeline.detection import choose_detector
from edgepose.pipeline.options import StreamOptions
from edgepose.pipeline.protocols import Detector, Source
from edgepose.pipeline.smoothing import OneEuroSmoother
from edgepose.pipeline.sources import SourceOptions, open_source
from edgepose.pipeline.stream import PoseStream
from edgepose.pipeline.tracking import open_tracker
from edgepose.runtime import Session, load

__all__ = ["DETECT_EVERY", "stream"]

DETECT_EVERY = 5


def stream(
    source: Any,
    model: "str | Path | Session | None" = None,
    *,
    detector: "str | Path | Detector | Callable[[npt.NDArray[np.uint8]], npt.ArrayLike]" = "auto",
    boxes: str | Path | None = None,
    whole: bool = False,
    track: bool | str = False,
    smooth: bool | None = None,
    detect_every: int | None = None,
    max_people: int = 100,
    min_box_score: float | None = None,
    min_pose_score: float = 0.0,
    flip_test: bool = False,
    device: str = "auto",
    threads: int | None = None,
    streams: int | None = 1,
    options: Mapping[str, str] | None = None,
    detector_device: str = "auto",
    detector_threads: int | None = None,
    source_options: SourceOptions | None = None,
) -> PoseStream:
    """Find the poses of the people in whatever gives frames.

        for frame in edgepose.stream("walk.mp4", "vitpose-s-fp16.xml", track=True):
            print(frame.index, frame.time_s, frame.ids, frame.poses.keypoints_xy)

    Frames are read and looked at ahead, in threads, with bounded memory. Leaving the loop, ``close`` or a ``with`` block end it. Frames
    that can't be used are logged; ``results()`` yields them, too.

    Args:
        source: a picture, folder, pattern, video, camera number, address, ``"-"``, or an iterable of images: see ``open_source``.
        model: a model file, or a loaded model, which stays open. By default the checkpoint in the package, which needs PyTorch and isn't
            meant for devices: give them a file that ``edgepose convert`` wrote.
        detector: who is in a frame: ``auto``, a name, a file (see ``open_detector``), a function from image to rows, or a ``Detector``,
            which stays open.
        boxes: a file of boxes instead of a detector; see ``edgepose.boxes.load_boxes``.
        whole: each frame is one person, as large as the picture.
        track: people keep their number: ``True``, or a tracker's name.
        smooth: keypoints without jitter; by default where people are tracked in something that moves.
        detect_every: frames from one detection to the next; in between boxes are carried on by the poses. By default 5 with a tracker, 1
            without.
        max_people: of one frame.
        min_box_score: the detector's, 0 to 1; by default as the detector needs.
        min_pose_score: mean score of the keypoints below which a detected person is nobody.
        flip_test: average with the mirrored crops.
        device: of the model, as ``edgepose.load`` takes it.
        threads: CPU threads of the model.
        streams: calls of the model at the same time.
        options: settings of the model's runtime.
        detector_device: as ``device``.
        detector_threads: as ``threads``.
        source_options: see ``open_source``.

    Raises:
        InputError: the source or detector isn't there, or options don't fit together.
        ArtifactError: the model can't be used.
        DeviceError: a runtime or device isn't on this machine.
    """
    tracker = open_tracker("pose" if track is True else track, max_people=max_people) if track else None
    if detect_every is None:
        detect_every = DETECT_EVERY if tracker is not None else 1
    stream_options = StreamOptions(detect_every=detect_every, max_people=max_people, min_pose_score=min_pose_score, flip_test=flip_test)
    with contextlib.ExitStack() as stack:
        opened = open_source(source, source_options)
        stack.callback(opened.close)
        finder = choose_detector(
            detector,
            boxes=boxes,
            whole=whole,
            min_score=min_box_score,
            device=detector_device,
            threads=detector_threads,
            moving=_moves(opened),
        )
        if finder is not detector:
            stack.callback(finder.close)
        session = model if isinstance(model, Session) else _load(model, device, threads, options, streams)
        if session is not model:
            stack.callback(session.close)
        smoother = OneEuroSmoother() if (smooth if smooth is not None else _moves(opened) and tracker is not None) else None
        running = PoseStream(opened, session, finder, tracker=tracker, smoother=smoother, options=stream_options)
        running.close_also(stack.pop_all().close)
    return running


def _load(model: str | Path | None, device: str, threads: int | None, options: Mapping[str, str] | None, streams: int | None) -> Session:
    if model is not None:
        return load(model, device, threads, options, streams)
    try:
        return load(DEFAULT_MODEL, device, threads, options, streams)
    except MissingDependencyError as error:
        raise DeviceError(f"no model was given, so that the checkpoint in the package runs. {error}; or give a model file") from None


def _moves(source: Source) -> bool:
    return source.info.kind != "pictures"
