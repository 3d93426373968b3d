"""A candidate: another limit that is tried beside a policy's own, and refuses nobody.

Whoever wants to change a limit wants to know first whom the new one would refuse. Shadow mode answers that for a policy
that does not limit yet; a candidate answers it beside one that does. Each Check that the policy's own numbers decide on
is put to the candidate too, which has a state of its own under a key of its own in the same slot, and takes from that
what it would take if it were the live one. Both go to the store together and come back together.

**What is seen.** Each call is one of four: both allowed it, both refused it, only the candidate would have refused it,
only the live rule did. They are counted for each policy, and of those whom the candidate alone would have refused a
bounded sample is kept (`reservoir.py`), with times. Counts begin anew when the candidate changes.

**What it does not see.** Keys on which an override, a list or a tier decides, since those are no matter of the policy's
own numbers; what is answered without the store; CheckMany all or nothing, whose charges hang together. Where the live
rule would be another, the calls would be others too: who is refused asks again, or less. So the counts say what would
have become of these calls, and not what would become of the next ones.

**How it fails.** By itself: a candidate that the store does not answer, or answers with an error, is counted as
unanswered, and the live decision stands. What the store has not decided at all is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from sidecar.errors import SidecarError
from sidecar.ratelimit.charges import TAKE, Charge, Together, script_of_one
from sidecar.ratelimit.policy import CombinedPolicy
from sidecar.ratelimit.reservoir import Reservoir
from sidecar.ratelimit.terms import LETTERS, parts_of, terms_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.clock import StoreClock
    from sidecar.ratelimit.decision import Decision
    from sidecar.ratelimit.policy import Policy
    from sidecar.store.base import Reply, ScriptCall
    from sidecar.store.keys import KeySpace
    from sidecar.store.plans import Plan
    from sidecar.telemetry.metrics import Cell

# Before the letter of the candidate's algorithm, in the keys of its states; m is a policy of several limits.
_LETTER, _SEVERAL = b"c", b"m"


@dataclass(slots=True)
class Outcomes:
    """How often the live rule and its candidate decided alike, and how not."""

    both_allowed: int = 0
    both_refused: int = 0
    only_candidate_refused: int = 0
    only_live_refused: int = 0
    unanswered: int = 0
    """The candidate was asked, and did not decide."""


# Also the values of the metric's label.
OUTCOMES = tuple(field.name for field in fields(Outcomes))


class Trial:
    """The trial of one candidate in this process."""

    def __init__(
        self,
        policy: Policy | CombinedPolicy,
        *,
        version: str,
        keys: KeySpace,
        clock: StoreClock,
        cells: dict[str, Cell],
    ) -> None:
        self.version = version
        self.since_us = clock.micros()
        self.outcomes = Outcomes()
        self.sample = Reservoir()
        """Of those whom the candidate alone would have refused."""
        self._name = policy.name
        self._most = policy.limit
        self._policies, self._suffixes = parts_of(policy)
        several = isinstance(policy, CombinedPolicy)
        self._letter = _LETTER + (_SEVERAL if several else LETTERS[type(self._policies[0])])
        self._terms = None if several else terms_of(self._policies[0])
        self._keys = keys
        self._clock = clock
        self._cells = cells

    def beside(self, plan: Plan[Decision], key: str, cost: int) -> Plan[Decision]:
        """Return the plan of a Check with the candidate tried beside it."""
        live = len(plan.requests)
        if cost > self._most:
            # It could never allow that, and its script need not say so.
            return plan._replace(read=lambda replies: self._seen(plan.read(replies), key, allows=False))
        together, script_call = self._asked(key, cost)

        def read(replies: Sequence[Reply]) -> Decision:
            decision = plan.read(replies[:live])
            reply = replies[live]
            if isinstance(reply, SidecarError):
                self._count("unanswered")
                return decision
            allows = reply[0] == 1 if together is None else all(one.allowed for one in together.decisions(reply))
            return self._seen(decision, key, allows=allows)

        return plan._replace(requests=(*plan.requests, script_call), read=read, beside=1)

    def state_keys(self, key: str) -> list[bytes]:
        """Return the keys of what the candidate keeps of a key."""
        state_key = self._keys.limit(self._letter, self._name, key.encode())
        return [state_key + suffix for suffix in self._suffixes]

    def _asked(self, key: str, cost: int) -> tuple[Together | None, ScriptCall]:
        """Return what the candidate is asked by, with what reads the answer where it has several limits."""
        state_keys = self.state_keys(key)
        if self._terms is not None:
            return None, script_of_one(self._terms, state_keys[0], cost, TAKE, self._clock)
        charges = [
            Charge(policy, state_key, cost) for policy, state_key in zip(self._policies, state_keys, strict=True)
        ]
        together = Together(charges, TAKE, self._clock.micros())
        return together, together.script_call

    def _seen(self, decision: Decision, key: str, *, allows: bool) -> Decision:
        """Count what the live rule and the candidate made of a call; return the live decision."""
        # In shadow mode what is refused is allowed.
        live_allows = decision.allowed and not decision.shadow_denied
        if allows:
            self._count("both_allowed" if live_allows else "only_live_refused")
        elif live_allows:
            self._count("only_candidate_refused")
            self.sample.offer(key, self._clock.micros())
        else:
            self._count("both_refused")
        return decision

    def _count(self, outcome: str) -> None:
        setattr(self.outcomes, outcome, getattr(self.outcomes, outcome) + 1)
        self._cells[outcome].value += 1
