"""`RateLimitService`: for one named policy, and for several at once."""

# ruff: noqa: ASYNC109 - a timeout here becomes the call's deadline, which the sidecar sees and keeps too

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar_client.durations import from_duration, to_duration
from sidecar_client.errors import BatchError, LeaseLostError, ReservationLostError, from_failure
from sidecar_client.explanation import explanation_of
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar_client.overrides import to_override
from sidecar_client.reports import report_of
from sidecar_client.reservation import Reservation
from sidecar_client.results import (
    Acquired,
    Committed,
    DecidedBy,
    Decision,
    Decisions,
    LimitStatus,
    Reserved,
    enforcement_of,
)
from sidecar_client.slot import Slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from sidecar_client.caller import Caller
    from sidecar_client.durations import Span
    from sidecar_client.explanation import Explanation
    from sidecar_client.gen.sidecar.v1.rate_limit_pb2_grpc import RateLimitServiceAsyncStub
    from sidecar_client.overrides import Numbers
    from sidecar_client.reports import LimitReport


class Limit:
    """A named rate limit policy. Made by `SidecarClient.limit`; it costs nothing and may be kept.

    `check` and `reset` are never repeated by the client: a second `check` may take its cost twice, a second `reset`
    may give back what others took in between. Of a policy whose algorithm is `concurrency`, `slot` holds slots while a
    block runs; it is made of `acquire`, `renew` and `release`. Of one that has `reservations`, `reserve` reserves a
    cost while a block finds out what it is; it is made of `hold`, `commit` and `cancel`.
    """

    def __init__(self, policy: str, stub: RateLimitServiceAsyncStub, caller: Caller) -> None:
        self.policy = policy
        self._stub = stub
        self._caller = caller

    async def check(self, key: str, *, cost: int = 1, tier: str = "", timeout: Span | None = None) -> Decision:
        """Take `cost` from the key's allowance if that much is left. A refusal is an answer and costs nothing.

        `tier` is one of the policy's `tiers`, whose numbers then hold; empty: the policy's own.
        """
        request = pb.CheckRequest(policy=self.policy, key=key, cost=cost, tier=tier)
        answer = await self._caller.call(self._stub.Check, request, repeatable=False, timeout=timeout)
        return decision_of(answer)

    async def peek(self, key: str, *, cost: int = 1, tier: str = "", timeout: Span | None = None) -> Decision:
        """Say what `check` would answer, and take nothing."""
        request = pb.PeekRequest(policy=self.policy, key=key, cost=cost, tier=tier)
        answer = await self._caller.call(self._stub.Peek, request, repeatable=True, timeout=timeout)
        return decision_of(answer)

    async def reset(self, key: str, *, timeout: Span | None = None) -> bool:
        """Give the key its whole allowance back; return whether anything was recorded for it."""
        request = pb.ResetRequest(policy=self.policy, key=key)
        answer = await self._caller.call(self._stub.Reset, request, repeatable=False, timeout=timeout)
        return answer.existed

    async def explain(self, key: str, *, tier: str = "", timeout: Span | None = None) -> Explanation:
        """Say what decides on a key, how its limits stand and what would become of calls; it takes nothing."""
        request = pb.ExplainRequest(policy=self.policy, key=key, tier=tier)
        answer = await self._caller.call(self._stub.Explain, request, repeatable=True, timeout=timeout)
        return explanation_of(answer)

    async def report(self, *, timeout: Span | None = None) -> LimitReport:
        """Say whom the policy refused most of late, and how its candidate does, over all sidecars."""
        request = pb.ReportLimitsRequest(policy=self.policy)
        answer = await self._caller.call(self._stub.ReportLimits, request, repeatable=True, timeout=timeout)
        return report_of(answer)

    async def override(
        self,
        key: str,
        *,
        expires_after: Span,
        unlimited: bool = False,
        denied: bool = False,
        numbers: Sequence[Numbers] = (),
        timeout: Span | None = None,
    ) -> None:
        """Have the key be unlimited, denied, or limited by other numbers for a time, on all sidecars within a second.

        Raises ValueError unless exactly one of the three is given.
        """
        override = to_override(
            self.policy, key, expires_after=expires_after, unlimited=unlimited, denied=denied, numbers=tuple(numbers)
        )
        request = pb.SetOverrideRequest(override=override)
        await self._caller.call(self._stub.SetOverride, request, repeatable=False, timeout=timeout)

    async def delete_override(self, key: str, *, timeout: Span | None = None) -> bool:
        """End the key's override before its time; return whether there was one."""
        request = pb.DeleteOverrideRequest(policy=self.policy, key=key)
        answer = await self._caller.call(self._stub.DeleteOverride, request, repeatable=False, timeout=timeout)
        return answer.existed

    def slot(
        self,
        key: str,
        *,
        slots: int = 1,
        lease: Span | None = None,
        holder: str = "",
        wait: Span = 0,
        timeout: Span | None = None,
    ) -> Slot:
        """Return slots to hold while a block runs, renewed meanwhile and released after it.

            async with sidecar.limit("reports").slot("db:7", wait=5) as slot:
                ...
                slot.raise_if_lost()

        Entering raises NoSlotError when none is free and none becomes free within `wait`, and SidecarError. `lease` is
        the policy's own if None, `holder` a name of one's own for the lease, `timeout` that of each call.
        """
        return Slot(self, key, slots=slots, lease=lease, holder=holder, wait=wait, timeout=timeout)

    async def acquire(
        self,
        key: str,
        *,
        slots: int = 1,
        lease: Span | None = None,
        holder: str = "",
        timeout: Span | None = None,
    ) -> Acquired:
        """Lease slots if so many are free. A refusal is an answer.

        Repeated by the client only with a `holder`, a name for this one lease: acquiring again under it gives the same.
        """
        request = pb.AcquireRequest(policy=self.policy, key=key, holder=holder, slots=slots, lease=to_duration(lease))
        answer = await self._caller.call(self._stub.Acquire, request, repeatable=bool(holder), timeout=timeout)
        return Acquired(
            acquired=answer.acquired,
            token=answer.token,
            limit=answer.limit,
            in_use=answer.in_use,
            remaining=answer.remaining,
            expires_after=from_duration(answer.expires_after),
            retry_after=from_duration(answer.retry_after),
        )

    async def renew(self, key: str, token: str, *, lease: Span | None = None, timeout: Span | None = None) -> timedelta:
        """Let a lease last longer, from now; return how long. Raises LeaseLostError if it has ended."""
        request = pb.RenewRequest(policy=self.policy, key=key, token=token, lease=to_duration(lease))
        answer = await self._caller.call(self._stub.Renew, request, repeatable=True, timeout=timeout)
        return from_duration(answer.expires_after)

    async def release(self, key: str, token: str, *, timeout: Span | None = None) -> bool:
        """Give slots back; return False if the lease had ended, or an attempt before had released it already."""
        request = pb.ReleaseRequest(policy=self.policy, key=key, token=token)
        try:
            await self._caller.call(self._stub.Release, request, repeatable=True, timeout=timeout)
        except LeaseLostError:
            return False
        return True

    def reserve(
        self,
        key: str,
        *,
        cost: int = 1,
        ttl: Span | None = None,
        tier: str = "",
        reservation_id: str = "",
        wait: Span = 0,
        timeout: Span | None = None,
    ) -> Reservation:
        """Return a reservation of `cost` for a block, which commits what it came to; left without, it is cancelled.

            async with sidecar.limit("exports").reserve("clinic:7", cost=5_000) as reservation:
                rows = await export()
                await reservation.commit(len(rows))

        Entering raises NotReservedError when there is no room and none comes within `wait`, and SidecarError. `ttl` is
        the policy's own if None, `tier` one of the policy's `tiers`, `reservation_id` a name of one's own for the
        reservation, `timeout` that of each call.
        """
        return Reservation(
            self, key, cost=cost, ttl=ttl, tier=tier, reservation_id=reservation_id, wait=wait, timeout=timeout
        )

    async def hold(
        self,
        key: str,
        *,
        cost: int = 1,
        ttl: Span | None = None,
        tier: str = "",
        reservation_id: str = "",
        timeout: Span | None = None,
    ) -> Reserved:
        """Reserve a cost if there is room. A refusal is an answer.

        Repeated by the client only with a `reservation_id`, a name for this one: reserving again under it gives the
        same.
        """
        request = pb.ReserveRequest(
            policy=self.policy, key=key, cost=cost, ttl=to_duration(ttl), reservation_id=reservation_id, tier=tier
        )
        repeatable = bool(reservation_id)
        answer = await self._caller.call(self._stub.Reserve, request, repeatable=repeatable, timeout=timeout)
        return Reserved(
            reserved=answer.reserved,
            token=answer.token,
            limit=answer.limit,
            remaining=answer.remaining,
            retry_after=from_duration(answer.retry_after),
            reset_after=from_duration(answer.reset_after),
            expires_after=from_duration(answer.expires_after),
            limits=tuple([_status(status) for status in answer.limits]),
            decided_by=DecidedBy(answer.decided_by),
            shadow_denied=answer.shadow_denied,
        )

    async def commit(
        self, key: str, token: str, cost: int | None = None, *, tier: str = "", timeout: Span | None = None
    ) -> Committed:
        """Charge what a reservation came to, or what was reserved if that is None; never repeated by the client.

        Raises ReservationLostError if it has ended, and nothing is charged then.
        """
        request = pb.CommitRequest(policy=self.policy, key=key, token=token, cost=cost, tier=tier)
        answer = await self._caller.call(self._stub.Commit, request, repeatable=False, timeout=timeout)
        return Committed(
            charged=answer.charged,
            shortfall=answer.shortfall,
            limit=answer.limit,
            remaining=answer.remaining,
            reset_after=from_duration(answer.reset_after),
        )

    async def cancel(self, key: str, token: str, *, timeout: Span | None = None) -> bool:
        """End a reservation and charge nothing; return False if it had ended, or an attempt before had cancelled it."""
        request = pb.CancelRequest(policy=self.policy, key=key, token=token)
        try:
            await self._caller.call(self._stub.Cancel, request, repeatable=True, timeout=timeout)
        except ReservationLostError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Check:
    """One of the checks of `SidecarClient.check_many`."""

    policy: str
    key: str
    cost: int = 1
    tier: str = ""


async def check_many(
    stub: RateLimitServiceAsyncStub,
    caller: Caller,
    checks: Iterable[Check],
    *,
    all_or_nothing: bool,
    timeout: Span | None,
) -> Decisions:
    """Make several checks; see `SidecarClient.check_many`."""
    request = pb.CheckManyRequest(
        checks=[
            pb.CheckRequest(policy=check.policy, key=check.key, cost=check.cost, tier=check.tier) for check in checks
        ],
        mode=pb.CHECK_MODE_ALL_OR_NOTHING if all_or_nothing else pb.CHECK_MODE_EACH,
    )
    answer = await caller.call(stub.CheckMany, request, repeatable=False, timeout=timeout)
    failures = {
        str(place): from_failure(result.failure)
        for place, result in enumerate(answer.results)
        if result.WhichOneof("result") == "failure"
    }
    if failures:
        done = {
            str(place): decision_of(result.decision)
            for place, result in enumerate(answer.results)
            if str(place) not in failures
        }
        raise BatchError(done, failures)
    return Decisions(allowed=answer.allowed, each=tuple([decision_of(result.decision) for result in answer.results]))


def decision_of(answer: pb.CheckResponse | pb.PeekResponse) -> Decision:
    """Return an answer that arrived."""
    return Decision(
        allowed=answer.allowed,
        limit=answer.limit,
        remaining=answer.remaining,
        retry_after=from_duration(answer.retry_after),
        reset_after=from_duration(answer.reset_after),
        limits=tuple([_status(status) for status in answer.limits]) if answer.limits else (),
        decided_by=DecidedBy(answer.decided_by),
        shadow_denied=answer.shadow_denied,
        enforcement=enforcement_of(answer.enforcement),
        max_overshoot=answer.max_overshoot,
    )


def _status(status: pb.LimitStatus) -> LimitStatus:
    return LimitStatus(
        name=status.name,
        allowed=status.allowed,
        limit=status.limit,
        remaining=status.remaining,
        retry_after=from_duration(status.retry_after),
        reset_after=from_duration(status.reset_after),
    )
