"""A program that calls a victim as an honest client does: `python -m support.honest_caller ADDRESS`.

A process of its own, so that no attacker's work delays it. It calls a hundred times a second over one connection; for
each line on its standard input it prints what happened since the last, as JSON. It ends when its standard input does.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import grpc

from support.victim import ECHO

_EVERY_SECONDS = 0.01
_PATIENCE_SECONDS = 5.0


class _Caller:
    def __init__(self, address: str) -> None:
        self._echo: Any = grpc.insecure_channel(address).unary_unary(ECHO)
        self._lock = threading.Lock()
        self._seconds: list[float] = []
        self._failures: list[str] = []
        self._late = 0.0

    def call_on(self) -> None:
        """Call again and again, for as long as the process lives."""
        while True:
            begun = time.perf_counter()
            try:
                self._echo(b"honest", timeout=_PATIENCE_SECONDS)
                failure = None
            except grpc.RpcError as error:
                failure = str(error.code().name)
            due = time.perf_counter() + _EVERY_SECONDS
            time.sleep(_EVERY_SECONDS)
            late = time.perf_counter() - due
            with self._lock:
                self._seconds.append(due - _EVERY_SECONDS - begun)
                self._late = max(self._late, late)
                if failure is not None:
                    self._failures.append(failure)

    def report(self) -> str:
        """Say what happened, and begin anew."""
        with self._lock:
            said = json.dumps({"seconds": self._seconds, "failures": self._failures, "late": self._late})
            self._seconds, self._failures, self._late = [], [], 0.0
        return said


def _main(address: str) -> None:
    caller = _Caller(address)
    threading.Thread(target=caller.call_on, daemon=True).start()
    for _ in sys.stdin:
        print(caller.report(), flush=True)  # noqa: T201 (this is how the test learns it)


if __name__ == "__main__":
    _main(sys.argv[1])
