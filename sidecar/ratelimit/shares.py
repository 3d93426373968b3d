"""The states of local shares: bounded, and forgotten in the order in which they were last used.

`sidecar.ratelimit.local_share` says what a share is and what it decides. What is kept here is kept in the terms of the
store's clock, as this process estimates it by its monotonic one, so a step of the wall clock moves nothing.

A state that is forgotten while it still counts gives its key a fresh share. How much is let through above the limit has
then no bound that could be told, and as long as one of these would have counted the answers say so.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.ratelimit.decision import UNBOUNDED, Decision, Enforcement, combined
from sidecar.ratelimit.local_share import check_shares, overshoot_of, share_of
from sidecar.ratelimit.policy import CombinedPolicy
from sidecar.ratelimit.terms import parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.clock import StoreClock
    from sidecar.ratelimit.local_share import Share
    from sidecar.ratelimit.policy import Policy
    from sidecar.telemetry.metrics import Cell

# The state of one limit takes 0.6 to 2 kB with its key: 20 MB at the most, more where a policy has several limits.
# `proto/sidecar/v1/rate_limit.proto` names the number too.
MOST_KEYS = 10_000


class Kept(NamedTuple):
    """The states of one policy's key."""

    name: str
    """The policy's."""
    policies: Sequence[Policy]
    """The limits that the shares are of."""
    shares: Sequence[Share]
    suffixes: Sequence[bytes]
    """What follows the key in the store of each limit."""
    states: Sequence[Any]
    expires_us: int


class ShareStates:
    """The states of this process, by the policies' keys in the store."""

    def __init__(self, clock: StoreClock, forgotten: Cell, *, most: int = MOST_KEYS) -> None:
        self.clock = clock
        self._forgotten = forgotten
        self._most = most
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._exceeded_until_us = 0

    def __len__(self) -> int:
        return len(self._kept)

    def exceeded(self, now_us: int) -> bool:
        """Return whether a state was forgotten that would still count."""
        return now_us < self._exceeded_until_us

    def get(self, state_key: bytes) -> Kept | None:
        """Return what is kept of a key, which is then the last to be forgotten."""
        kept = self._kept.get(state_key)
        if kept is not None:
            self._kept.move_to_end(state_key)
        return kept

    def put(self, state_key: bytes, kept: Kept, now_us: int) -> None:
        """Keep the states of a key, and forget what is too much."""
        self._kept[state_key] = kept
        self._kept.move_to_end(state_key)
        self._bound(now_us)

    def drop(self, state_key: bytes) -> None:
        """Forget a key: its whole allowance is back."""
        self._kept.pop(state_key, None)

    def take(self, most: int) -> list[tuple[bytes, Kept]]:
        """Return so many keys with their states, those first that were used longest ago, and keep them no more."""
        return [self._kept.popitem(last=False) for _ in range(min(most, len(self._kept)))]

    def put_back(self, state_key: bytes, kept: Kept) -> None:
        """Keep a key that was taken; what has been counted of it since goes before."""
        if state_key not in self._kept:
            self._kept[state_key] = kept
            self._bound(self.clock.micros())

    def _bound(self, now_us: int) -> None:
        while len(self._kept) > self._most:
            _, lost = self._kept.popitem(last=False)
            if lost.expires_us > now_us:
                self._forgotten.value += 1
                self._exceeded_until_us = max(self._exceeded_until_us, lost.expires_us)


class PolicyShare:
    """This process's share of one policy."""

    def __init__(
        self, policy: Policy | CombinedPolicy, states: ShareStates, live: Callable[[], int | None]
    ) -> None:  # fmt: skip
        self._name = policy.name
        self._policies, self._suffixes = parts_of(policy)
        self._several = isinstance(policy, CombinedPolicy)
        self._states = states
        self._live = live
        self._known = 0
        self._shares: Sequence[Share] = ()
        self._overshoot = 0

    def forget(self, state_key: bytes) -> None:
        """Give a key its whole share back."""
        self._states.drop(state_key)

    def decide(self, state_key: bytes, cost: int, *, take: bool) -> Decision | None:
        """Decide on one call; None where this process does not know what its share is."""
        live = self._live()
        if live is None:
            return None
        if live != self._known:
            self._known = live
            self._shares = [share_of(policy, live) for policy in self._policies]
            self._overshoot = max(overshoot_of(policy, live) for policy in self._policies)
        now_us = self._states.clock.micros()
        kept = self._states.get(state_key)
        # After a reload the policy may have other limits.
        known = {} if kept is None else dict(zip(kept.suffixes, kept.states, strict=True))
        states = [known.get(suffix) for suffix in self._suffixes]
        steps, expires_us = check_shares(self._shares, states, now_us, cost, commit=take)
        if expires_us is not None:
            self._states.put(
                state_key,
                Kept(
                    self._name,
                    self._policies,
                    self._shares,
                    self._suffixes,
                    [step.state for step in steps],
                    expires_us,
                ),
                now_us,
            )
        overshoot = UNBOUNDED if self._states.exceeded(now_us) else self._overshoot
        decisions = [
            Decision(
                verdict.allowed,
                share.limit,
                *verdict[1:],
                enforcement=Enforcement.LOCAL_SHARE,
                max_overshoot=overshoot,
            )
            for share, (verdict, _, _) in zip(self._shares, steps, strict=True)
        ]
        if not self._several:
            return decisions[0]
        together = combined([policy.name for policy in self._policies], decisions)
        return together._replace(enforcement=Enforcement.LOCAL_SHARE, max_overshoot=overshoot)
