"""Charges the store with what local shares have let through, once it is back.

Of each key that was counted here, what still counts of it now is taken from the store's state, limit by limit: not what
was let through in all, since an hour's outage of a limit per minute leaves a minute's worth. The local state is dropped
with it. If the store has less left, because others have taken it or it was in use before, that is taken instead, and
the rest is lost: it was let through above the limit (`max_overshoot` has told so).

**It is best effort**, behind the callers' backs and a few keys at a time, so that a store that has just come back has
its callers served first. Lost is what a process had counted that ended before; what was forgotten since there were too
many keys; what a charge would have taken that was sent and never answered, for a second attempt might take it twice.
If the store goes again meanwhile, what was not sent stays counted here. Keys are gone through when the store's probe
says that it serves, and every few seconds after, for a call may have missed a store that the probe did not.

A key may be charged in the store while it is counted here, since some connections come back before others. Both then
count: that errs on the side of refusing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError, StoreError
from sidecar.lasting import lasting
from sidecar.ratelimit.charges import TAKE, Charge, decision_of_one, script_of_one
from sidecar.ratelimit.local_share import used_of
from sidecar.ratelimit.terms import terms_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.decision import Decision
    from sidecar.ratelimit.shares import Kept, ShareStates
    from sidecar.store.base import Store
    from sidecar.telemetry.metrics import Metrics

# Enough that ten thousand keys take well under a second, few enough that no caller waits behind them.
_KEYS_AT_ONCE = 64

# A store that is back answers sooner, or is not back.
_REPLY_SECONDS = 1.0

# Between two looks for what the probe has missed.
_INTERVAL_SECONDS = 5.0

# After these nothing was taken, and later it may be.
_UNSENT = frozenset({Reason.STORE_UNAVAILABLE, Reason.OVERLOADED})


class Due(NamedTuple):
    """What is to be charged for one key."""

    key: bytes
    kept: Kept
    charges: list[Charge]


def due_of(key: bytes, kept: Kept, now_us: int) -> Due:
    """Return what still counts of a key's local states, as charges of its limits in the store."""
    used = used_of(kept.shares, kept.states, now_us)
    charges = [
        Charge(policy, key + suffix, min(cost, policy.limit))
        for policy, suffix, cost in zip(kept.policies, kept.suffixes, used, strict=True)
        if cost > 0
    ]
    return Due(key, kept, charges)


class Reconciler:
    """Empties the states of local shares into the store."""

    def __init__(self, *, store: Store, states: ShareStates, metrics: Metrics) -> None:
        self._store = store
        self._states = states
        self._amounts = metrics.counter(
            "sidecar_ratelimit_reconciled",
            "What local shares had let through when the store was back, by policy and whether it could be charged",
            "policy",
            "outcome",
        )
        self._serving = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def on_serving(self, serving: bool) -> None:  # noqa: FBT001 (a listener of the store's probe)
        """Take in whether the store serves."""
        self._serving = serving
        if serving:
            self._wake.set()

    def start(self) -> None:
        """Begin to wait for the store."""
        self._task = asyncio.create_task(lasting(self._run, "the reconciling of limits"), name="reconciler")

    async def stop(self) -> None:
        """Stop; what has not been charged is lost."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if self._serving:
                await self.reconcile()

    async def reconcile(self) -> None:
        """Charge all that there is, until the store fails."""
        left = len(self._states)
        while left > 0:
            some = self._states.take(min(left, _KEYS_AT_ONCE))
            left -= len(some)
            now_us = self._states.clock.micros()
            if not some or not await self._charge([due_of(key, kept, now_us) for key, kept in some]):
                return

    async def _charge(self, some: Sequence[Due]) -> bool:
        """Charge some keys; return whether the store takes charges."""
        charges = [charge for due in some for charge in due.charges]
        decided = await self._decide(charges)
        again = [
            charge._replace(cost=decision.remaining)
            for charge, decision in zip(charges, decided, strict=True)
            if not isinstance(decision, SidecarError) and not decision.allowed and decision.remaining
        ]
        taken = iter(await self._decide(again))
        outcomes = iter(zip(charges, decided, strict=True))
        unsent = False
        for due in some:
            ended = [next(outcomes) for _ in due.charges]
            if ended and all(isinstance(end, SidecarError) and end.reason in _UNSENT for _, end in ended):
                self._states.put_back(due.key, due.kept)
                unsent = True
                continue
            for charge, end in ended:
                charged = 0
                if not isinstance(end, SidecarError):
                    charged = charge.cost if end.allowed else 0
                    if not end.allowed and end.remaining:
                        second = next(taken)
                        charged = end.remaining if not isinstance(second, SidecarError) and second.allowed else 0
                self._amounts.cell(due.kept.name, "charged").value += charged
                self._amounts.cell(due.kept.name, "lost").value += charge.cost - charged
        return not unsent

    async def _decide(self, charges: Sequence[Charge]) -> list[Decision | SidecarError]:
        if not charges:
            return []
        all_terms = [terms_of(charge.policy) for charge in charges]
        scripts = [
            script_of_one(terms, charge.key, charge.cost, TAKE, self._states.clock)
            for terms, charge in zip(all_terms, charges, strict=True)
        ]
        try:
            replies = await self._store.call_many(
                scripts, Call("ratelimit.reconcile", deadline=after(_REPLY_SECONDS))
            )  # fmt: skip
        except SidecarError as error:
            return [error] * len(charges)
        return [
            reply if isinstance(reply, StoreError) else decision_of_one(terms, reply)
            for terms, reply in zip(all_terms, replies, strict=True)
        ]
