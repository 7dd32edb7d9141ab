"""Option values: each command refuses what an option can't take, with exit code 2 and a line that says what it can."""

import argparse
import importlib
from collections.abc import Iterator

import pytest

from edgepose.cli import COMMANDS, main
from edgepose.cli.options import MAX_SEED, MAX_THREADS, input_size
from edgepose.errors import InputError

NEVER = ("", " ", "nan", "inf", "1e400", "-1", "x", "1_0", "٣", "0x10", "1,5", "9" * 5000)
ABOVE_ZERO = (*NEVER, "0")
NUMBERS = tuple(value for value in (*ABOVE_ZERO, "1.5", "+1", "1e2", "1,0", "1,x") if value != "1,5")
COUNT = (*ABOVE_ZERO, "1.5", "+1", "1e2")
SHARE = (*NEVER, "1.01", "7")
SIZE = ("", "0x0", "192X256", "192x", "x192", "256", "256x192x3", "250x192", "16x16", "8192x192", "٢٥٦x192", "-256x192", "256 x 192", "nan")

DEVICE = {"--threads": (*COUNT, "1025")}
RUN = DEVICE | {
    "--batch": (*COUNT, "4097"),
    "--streams": (*COUNT, "1025"),
    "--workers": (*COUNT, "1025"),
    "--ray": (*COUNT, "10001"),
    "--max-pixels": COUNT,
}
DATA = {"--min-box-score": SHARE}
CHECKPOINT = {"--input-size": SIZE, "--trained-size": SIZE}
STREAM = DEVICE | {
    "--min-score": SHARE,
    "--box-score": SHARE,
    "--pose-score": SHARE,
    "--max-people": (*COUNT, "10001"),
    "--detect-every": COUNT,
    "--detector-threads": (*COUNT, "1025"),
    "--size": ("", "640", "0x480", "640x0", "640x40000", "-1x5", "640X480", "1e2x480"),
    "--rate": (*ABOVE_ZERO, "1e6"),
    "--timeout": (*ABOVE_ZERO, "86401"),
    "--reconnect": (*NEVER, "1.5"),
    "--max-pixels": COUNT,
    "--reader": ("", "cv2"),
}

WRONG: dict[str, dict[str, tuple[str, ...]]] = {
    "convert": CHECKPOINT | DATA | {"--batch": (*COUNT, "4097", "Dynamic"), "--max-drop": ABOVE_ZERO, "--max-drop-oks": (*SHARE, "0")},
    "quantize": CHECKPOINT
    | {
        "--steps": (*COUNT, "1000001"),
        "--lr": (*ABOVE_ZERO, "0.2"),
        "--batch": (*COUNT, "1025"),
        "--seed": (*NEVER, "1.5", str(2**31)),
        "--save-every": NEVER,
    },
    "distill": {"--workers": (*NEVER, "1.5"), "--save-every": NEVER, "--log-every": COUNT},
    "predict": STREAM,
    "serve": STREAM
    | {
        "--port": (*NEVER, "1.5", "65536"),
        "--max-body": (*COUNT, "1073741825"),
        "--at-once": (*COUNT, "10001"),
        "--per-second": (*ABOVE_ZERO, "1e7"),
        "--viewers": (*COUNT, "1001"),
    },
    "check": {"--input-size": SIZE, "--max-pixels": COUNT, "--keypoints": ("", "nonsense", "COCO")},
    "evaluate": RUN | DATA | {"--shard": (*COUNT, "0/2", "3/2", "1/", "/2", "1/nan", "-1/2")},
    "label": RUN | {"--min-score": SHARE},
    "info": {},
    "verify": CHECKPOINT,
    "benchmark": {
        "--threads": NUMBERS,
        "--batch": NUMBERS,
        "--streams": NUMBERS,
        "--people": (*COUNT, "65"),
        "--bound": (*ABOVE_ZERO, "4e6"),
        "--processes": (*COUNT, "101"),
        "--seconds": (*ABOVE_ZERO, "3601"),
        "--interval": (*ABOVE_ZERO, "101"),
        "--time": (*ABOVE_ZERO, "86401"),
        "--timeout": (*ABOVE_ZERO, "0.5", "86401"),
    },
    "report": {},
    "card": {},
    "devices": {},
    "models": {},
}

REQUIRED = {
    "convert": [],
    "quantize": [],
    "distill": ["--out", "out"],
    "predict": ["model.onnx", "photo.jpg"],
    "serve": [],
    "check": ["labels.json"],
    "evaluate": ["model.onnx", "--annotations", "a.json", "--images", "images"],
    "label": ["model.onnx", "--images", "images", "--boxes", "boxes.json"],
    "verify": ["model.onnx"],
    "benchmark": ["model.onnx"],
}


def parser_of(command: str) -> argparse.ArgumentParser:
    commands = argparse.ArgumentParser().add_subparsers()
    parser: argparse.ArgumentParser = importlib.import_module(f"edgepose.cli.{command}").add_parser(commands)
    return parser


def cases() -> Iterator[tuple[str, str]]:
    for command, options in WRONG.items():
        for option in options:
            yield command, option


@pytest.mark.parametrize(("command", "option"), cases())
def test_what_an_option_cannot_take_is_refused(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for value in WRONG[command][option]:
        with pytest.raises(SystemExit) as ended:
            main([command, *REQUIRED[command], f"{option}={value}"])
        assert ended.value.code == 2, value
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"edgepose {command}: error: argument {option}: "), value
        assert len(last) < 200 + len(value)
        assert repr(value)[1:-1].rpartition(",")[2] in last or "comma-separated" in last, value


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_is_read_by_int_or_float(command: str) -> None:
    for action in parser_of(command)._actions:
        name = (action.option_strings or [action.dest])[-1]
        assert action.type not in (int, float, complex), f"{command} {name}: use the readers of edgepose.cli.options"
        # Whoever adds an option with a reader of its own adds its wrong values above.
        reader = getattr(action.type, "__qualname__", "")
        if "<locals>" in reader or reader in ("batch_size", "input_size", "_shard"):
            assert name in WRONG[command], f"{command} {name}: add wrong values to WRONG"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("predict", ["--min-score=0", "--threads=1", "--max-pixels=1"]),
        ("predict", ["--min-score=1.0", "--threads=1024", "--min-score=.5", "--min-score=1e-3"]),
        ("convert", ["--batch=dynamic", "--batch=4096", "--input-size=32x4096", "--max-drop=0.5"]),
        ("quantize", ["--seed=0", f"--seed={MAX_SEED}", "--save-every=0", "--lr=3e-6"]),
        ("distill", ["--workers=0", "--save-every=0"]),
        ("benchmark", ["--threads=1,2,auto", "--batch=1,4", "--interval=0.01", "--people=64"]),
        ("evaluate", ["--shard=2/2", "--ray=1", "--min-box-score=1"]),
    ],
)
def test_what_it_can_take_is_not(command: str, arguments: list[str]) -> None:
    assert parser_of(command).parse_args([*REQUIRED[command], *arguments])


def test_sizes_are_height_by_width() -> None:
    assert input_size("256x192") == (256, 192)


def test_the_limits_are_those_of_the_library() -> None:
    from edgepose.image import MAX_PIXELS
    from edgepose.runtime import request

    assert request.MAX_THREADS == MAX_THREADS
    assert parser_of("predict").parse_args(REQUIRED["predict"]).max_pixels == MAX_PIXELS
    for wrong in (0, -1, 1025, 2.5, True, "4", float("nan")):
        with pytest.raises(InputError, match="threads is .*; allowed: 1 to 1024"):
            request.DeviceRequest.parse("cpu", threads=wrong)  # type: ignore[arg-type]  # what isn't typed comes here, too
        with pytest.raises(InputError, match="streams is .*; allowed: 1 to 1024"):
            request.DeviceRequest.parse("cpu", streams=wrong)  # type: ignore[arg-type]  # as above
