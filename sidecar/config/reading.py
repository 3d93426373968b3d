"""Reading a configuration in a process of its own, which ends with that: `python -m sidecar.config.reading`, by `read`.

What it takes to judge a configuration then is in no process that serves (`plain.py`). The other process has the same
environment, gets the rest as a parcel on standard input, and answers with one: the settings, or all problems with them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sidecar.config.parcel import pack, unpack
from sidecar.config.problems import ConfigError, Problem
from sidecar.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.config.model import Settings

# It takes half a second. A file that lies where nothing answers, or is a pipe, would keep it for ever, and a sidecar
# that is to end waits for it. Its own timer ends it, also where its sidecar was killed.
_MOST_SECONDS: Final = 20.0


def read(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """Return the settings as `loader.load` makes them, or raise `ConfigError` with every problem found.

    Raises `StartupError` if there can be no other process, or it fails or takes too long.
    """
    question = pack((None if path is None else str(path), dict(overrides), _MOST_SECONDS))
    try:
        # `-P` keeps a folder named `sidecar` in the working directory from being taken for the program; Ctrl-C is ours.
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "sidecar.config.reading"],
            input=question,
            stdout=subprocess.PIPE,
            env=dict(environ),
            start_new_session=True,
            check=True,
        )
        answer = unpack(ended.stdout)
    except OSError as error:
        raise _unread(f"no other process can be started by {sys.executable}: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        if error.returncode == -signal.SIGALRM:
            raise _unread(f"the process for it had not ended after {_MOST_SECONDS:g} s") from None
        raise _unread(f"the process for it ended with {error.returncode}") from None
    except ValueError as error:
        raise _unread(f"the process for it answered with {error}") from None
    if isinstance(answer, tuple) and all(isinstance(problem, Problem) for problem in answer):
        raise ConfigError(answer)
    settings: Settings = answer
    return settings


def _unread(why: str) -> StartupError:
    return StartupError(f"the configuration cannot be read: {why}")


def _main() -> int:
    path, overrides, seconds = unpack(sys.stdin.buffer.read())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return _judge(path, overrides)


def _judge(path: str | None, overrides: Mapping[str, Any]) -> int:
    from sidecar.config.loader import load  # noqa: PLC0415 (what this process is for; the others are to do without)

    try:
        answer: object = load(None if path is None else Path(path), os.environ, overrides)
    except ConfigError as error:
        answer = error.problems
    except Exception as error:  # noqa: BLE001 (a defect; a traceback ends with its text, which may quote a secret)
        sys.stderr.write(f"sidecar: reading the configuration failed: {type(error).__qualname__}\n")
        return 1
    sys.stdout.buffer.write(pack(answer))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
