"""Running another program to its end, with one kind of error for all that can go wrong."""

import subprocess
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import IO

from edgepose.errors import DeviceError

__all__ = ["run_command"]


def run_command(
    command: Sequence[str],
    *,
    name: str,
    timeout_s: float,
    stdin: IO[bytes] | None = None,
    reasons: Mapping[int, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Run a command.

    Args:
        command: it, without a shell.
        name: what to call it in errors.
        timeout_s: how long it may take.
        stdin: what it reads; nothing by default.
        reasons: what exit codes of a meaning of their own mean.

    Raises:
        DeviceError: it can't be started, failed, or took too long.
    """
    try:
        done = subprocess.run(  # noqa: S603  commands of the system, or such as the user named
            list(command),
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        raise DeviceError(f"can't start {command[0]!r}: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{name}: no answer within {timeout_s:.0f} s") from None
    if done.returncode:
        reason = reasons.get(done.returncode, f"failed (exit code {done.returncode})")
        lines = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise DeviceError(f"{name}: {reason}: {lines[-1]}")
    return done
