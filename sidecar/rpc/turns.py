"""A call that waits on purpose counts as in flight only while it is not waiting.

A bound on the calls in flight keeps a queue short, and calls that take long tell that there is one
(`sidecar.interceptors.admission`). A call that waits for what another caller does is in no queue, and costs next to
nothing meanwhile. If it counted, those who wait for one slow origin would keep everybody else out, and be taken for a
sign that the sidecar is too slow. So its method is exempt, and lets itself in turn by turn: with each wait a turn ends,
and is judged by the time that it took; whoever has waited goes on without being refused. A batch of a stream is one
turn.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sidecar.call import Call
    from sidecar.clock import Deadline


class Admission(Protocol):
    """The bound on what is in flight, as `sidecar.interceptors.shedding` has it."""

    def enter(self, deadline: Deadline) -> float:
        """Count one more, and return when; raises OVERLOADED or DEADLINE_EXCEEDED."""
        ...

    def resume(self) -> float:
        """Count one again that was let in before, and return when."""
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """Count among those that wait on purpose during a block; raises OVERLOADED where these are too many."""
        ...

    def leave(self, entered: float, deadline: Deadline) -> None:
        """Count one less, which was let in then."""
        ...


class Turns:
    """The turns of a call, or of a batch, as a block; to enter it raises OVERLOADED or DEADLINE_EXCEEDED."""

    def __init__(self, admission: Admission, call: Call) -> None:
        self._admission = admission
        self._call = call
        self._deadline = call.deadline
        self._entered = 0.0

    def __enter__(self) -> Self:
        self._entered = self._admission.enter(self._deadline)
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.leave(self._entered + self._call.waited, self._deadline)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Count for nothing during a block that waits on purpose; raises OVERLOADED where too many wait."""
        with self._admission.waiting():
            self._admission.leave(self._entered, self._deadline)
            try:
                yield
            finally:
                self._entered = self._admission.resume()
