"""Tells the other processes what this one has seen of each policy, and reads what they tell.

Each process that takes calls writes its report of a policy every few seconds, if there is anything to say, under a key
of its own that expires (`reports.py` says what is in it). Who reports is in a sorted set beside it, kept by the script
that counts the live sidecars too: those that are silent drop out. A report that is asked for reads them all, after this
process has told its own; so it is complete but for the last few seconds of the others.

What a process had counted is gone when it ends. Metrics count for longer; this is for what metrics cannot hold.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import SidecarError
from sidecar.lasting import lasting
from sidecar.ratelimit.description import version_of
from sidecar.ratelimit.heartbeats import PASSING
from sidecar.ratelimit.members import EXPIRY_US, INTERVAL_SECONDS
from sidecar.ratelimit.reports import from_stored, hidden, report_of, stored, together
from sidecar.store import commands
from sidecar.store.base import Command, ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.clock import StoreClock
    from sidecar.errors import Reason
    from sidecar.ratelimit.observations import Observations
    from sidecar.ratelimit.policy import CombinedPolicy, Policy
    from sidecar.ratelimit.reports import Report, Together
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace

_log = logging.getLogger("sidecar.ratelimit")

_COUNT = load("count_members")

# As a heartbeat's: a report that takes longer has missed its time.
_REPLY_SECONDS = 1.0

# Bytes: of some thousand processes no two have the same id.
_ID_BYTES = 8

# Policies at a time, each of which takes up to half a millisecond: few enough that no caller waits behind them.
_AT_ONCE = 4


class Reporter:
    """Writes this process's reports, and reads all."""

    def __init__(
        self, *, store: Store, keys: KeySpace, clock: StoreClock, tenant: str, observations: Observations
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._tenant = tenant
        self._observations = observations
        self._id = secrets.token_hex(_ID_BYTES).encode()
        self._task: asyncio.Task[None] | None = None
        self._problem: Reason | None = None

    def start(self) -> None:
        """Begin to tell."""
        self._task = asyncio.create_task(lasting(self._run, "the reports of limits"), name="reporter")

    async def stop(self) -> None:
        """Stop; what was told last expires by itself."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def report(self, policy: str, candidate: Policy | CombinedPolicy | None, call: Call) -> tuple[Together, int]:
        """Return what all processes say of a policy, and of a trial of that candidate, and how old that is.

        The age is that of the oldest report, in microseconds. Raises what the store raises.
        """
        _raise_first(await self._store.call_many(self._telling(policy), call))
        processes = await self._store.call(commands.sorted_set(self._keys.reporters(policy)), call)
        replies = await self._store.get_many([self._keys.report(policy, process) for process in processes], call)
        _raise_first(replies)
        told = [from_stored(text) for text in replies if isinstance(text, bytes)]
        # Its own is gone if the store has lost all that it had in between.
        reports = [report for report in told if report is not None] or [self._own(policy)]
        # One process may know before the others that a policy's keys are personal.
        if self._observations.is_personal(policy) or any(report.hashed for report in reports):
            reports = [hidden(report, self._tenant) for report in reports]
        said = together(reports, None if candidate is None else version_of(candidate))
        return said, max(0, self._clock.micros() - said.oldest_us)

    def _own(self, policy: str) -> Report:
        report = report_of(self._observations.of(policy), self._clock.micros())
        return hidden(report, self._tenant) if self._observations.is_personal(policy) else report

    def _telling(self, policy: str) -> list[Command | ScriptCall]:
        reporters = self._keys.reporters(policy)
        own = self._keys.report(policy, self._id)
        return [
            ScriptCall(_COUNT, (reporters,), (self._id, EXPIRY_US), True),
            commands.set_for(own, stored(self._own(policy)), EXPIRY_US // 1_000),
        ]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self.tell()

    async def tell(self) -> None:
        """Write a report of each policy of which there is anything to say."""
        names = list(self._observations.names())
        for start in range(0, len(names), _AT_ONCE):
            told = [command for name in names[start : start + _AT_ONCE] for command in self._telling(name)]
            call = Call("ratelimit.report", deadline=after(_REPLY_SECONDS))
            try:
                _raise_first(await self._store.call_many(told, call))
            except SidecarError as error:
                self._failed(error)
                return
        self._problem = None

    def _failed(self, error: SidecarError) -> None:
        """Say so once, if it is more than that the store is gone."""
        if error.reason not in PASSING and error.reason is not self._problem:
            self._problem = error.reason
            _log.warning("what the limits refuse cannot be reported: %s", error.message)


def _raise_first(replies: Sequence[object]) -> None:
    for reply in replies:
        if isinstance(reply, SidecarError):
            raise reply
