"""Checks of policies that are lent from, where what is held does not suffice: whether to borrow, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import SidecarError
from sidecar.ratelimit.charges import TAKE
from sidecar.store.plans import UNANSWERED

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.decision import Decision
    from sidecar.ratelimit.lease import Lease
    from sidecar.ratelimit.limits import Limit
    from sidecar.ratelimit.policy_book import PolicyBook
    from sidecar.ratelimit.policy_leases import PolicyLeases


class LeasedChecks:
    """Makes Checks that borrow."""

    def __init__(self, policies: PolicyBook) -> None:
        self._policies = policies

    def borrower(self, limit: Limit, leases: PolicyLeases, key: str, cost: int) -> Lease | None:
        """Return the lease that a Check is to borrow for; None where it asks as ever. Raises KEY_EMPTY, KEY_TOO_LONG.

        It does where something else than the policy's own limit decides on the key.
        """
        held, state_key, exempted = self._policies.ruling(limit, key)
        if exempted is not None or held is not limit or cost > limit.most:
            return None
        return leases.borrower(key, state_key, cost)

    async def borrow(self, limit: Limit, leases: PolicyLeases, lease: Lease, cost: int, call: Call) -> Decision:
        """Make a Check that borrows; raises what the store raises."""
        note = limit.noting(lease.state_key, cost, TAKE)
        try:
            decision, store_us = await leases.borrow(lease, cost, call)
        except SidecarError as error:
            instead = limit.instead(lease.state_key, cost, TAKE)
            if instead is None or error.reason not in UNANSWERED:
                raise
            return instead()
        if note is not None:
            note(decision, store_us)
        return limit.told(decision, TAKE)
