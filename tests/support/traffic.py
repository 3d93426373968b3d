"""Callers that keep a sidecar busy and count what became of their calls."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc
from sidecar_client.gen.sidecar.v1 import cache_pb2

if TYPE_CHECKING:
    from types import TracebackType

    from support.programs import SidecarProgram

_ESTABLISHED, _LISTEN = "01", "0A"  # include/net/tcp_states.h
_PATIENCE_SECONDS = 30.0


@dataclass
class Caller:
    """One caller with a connection of its own, who calls again as soon as it has an answer."""

    answered: int = 0
    failures: list[grpc.StatusCode] = field(default_factory=list)


class Traffic:
    """Increments of one counter, `counts/k`, by several callers at once, while the `with` block runs.

    Calls wait for a connection, so what fails had reached a sidecar, or a connection that it closed. With
    `until_failure` they do not, and the first failure ends a caller.
    """

    def __init__(self, program: SidecarProgram, *, connections: int, until_failure: bool = False) -> None:
        self._program = program
        self._until_failure = until_failure
        self._over = threading.Event()
        self._progress = threading.Condition()
        self.callers = [Caller() for _ in range(connections)]
        self._threads = [threading.Thread(target=self._call, args=(caller,), daemon=True) for caller in self.callers]

    @property
    def answered(self) -> int:
        """How many calls were answered with OK."""
        return sum(caller.answered for caller in self.callers)

    @property
    def codes(self) -> set[grpc.StatusCode]:
        """What the calls that failed were told."""
        return {code for caller in self.callers for code in caller.failures}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)

    def wait_for(self, more: int) -> None:
        """Wait until so many more calls have been answered, from now; raises `TimeoutError` if they are not."""
        wanted = self.answered + more
        with self._progress:
            if not self._progress.wait_for(lambda: self.answered >= wanted, _PATIENCE_SECONDS):
                raise TimeoutError(f"only {self.answered} of {wanted} calls were answered")

    def _call(self, caller: Caller) -> None:
        request = cache_pb2.IncrementRequest(cache="counts", key="k", delta=1)
        api = self._program.api()
        while not self._over.is_set():
            try:
                api.cache.Increment(request, timeout=10, wait_for_ready=not self._until_failure)
            except grpc.RpcError as error:
                call: Any = error  # every error that a stub raises is a grpc.Call too
                caller.failures.append(call.code())
                if self._until_failure:
                    return
            else:
                with self._progress:
                    caller.answered += 1
                    self._progress.notify_all()


def connections_of(process_id: int, port: int, *, listening: bool = False) -> list[str]:
    """Return the sockets of a process at a TCP port of its own, by their inodes: connections, or those that listen."""
    owned = set()
    for descriptor in Path(f"/proc/{process_id}/fd").iterdir():
        try:
            owned.add(str(descriptor.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process_id}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            inode = line.split()[9]
            if (
                int(local.rpartition(":")[2], 16) == port
                and state == (_LISTEN if listening else _ESTABLISHED)
                and f"socket:[{inode}]" in owned
            ):
                found.append(inode)
    return found
