"""An origin in this process: it counts what it is asked, and can be held up or made to fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sidecar.cache.origin import OriginValue
from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.origin import Change
    from sidecar.call import Call


def gone() -> SidecarError:
    """Return the error of an origin that cannot be reached."""
    return SidecarError(Reason.ORIGIN_UNAVAILABLE, "gone")


class CountingOrigin:
    """Values by key."""

    name = "counting"
    stores = True

    def __init__(self, **values: bytes) -> None:
        self.values: dict[str, bytes | OriginValue] = dict(values)
        self.loads: list[list[str]] = []
        """The keys of each question."""
        self.changes: list[Change] = []
        """What was to be changed."""
        self.failure: SidecarError | None = None
        """What each question ends with."""
        self.lost = False
        """Whether changes are made, and their answers lost."""
        self.asked = asyncio.Event()
        """Set with each question."""
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        """Let no question be answered; what was read is what there was before."""
        self.asked.clear()
        self._open.clear()

    def let_go(self) -> None:
        """Let all be answered."""
        self._open.set()

    async def load(self, keys: Sequence[str], call: Call) -> Sequence[OriginValue | SidecarError | None]:  # noqa: ARG002
        """Return what there is, as of when it was asked."""
        self.loads.append(list(keys))
        found = [self._found(key) for key in keys]
        self.asked.set()
        await self._open.wait()
        return found

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:  # noqa: ARG002
        """Make changes, when it is let."""
        self.changes += changes
        self.asked.set()
        await self._open.wait()
        if self.failure is not None:
            return [self.failure for _ in changes]
        for change in changes:
            if change.value is None:
                self.values.pop(change.key, None)
            else:
                self.values[change.key] = change.value
        lost = SidecarError(Reason.ORIGIN_OUTCOME_UNKNOWN, "lost")
        return [lost if self.lost else None for _ in changes]

    def _found(self, key: str) -> OriginValue | SidecarError | None:
        if self.failure is not None:
            return self.failure
        value = self.values.get(key)
        return OriginValue(value) if isinstance(value, bytes) else value
