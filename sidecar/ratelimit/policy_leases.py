"""The leases of one policy: what a Check does with them.

`sidecar.ratelimit.lease` says how much is borrowed and for how long, `sidecar.ratelimit.lease_book` keeps the leases of
all policies and ends them. Here is what every call of a leased key goes through, so it does nothing that it need not.

While a lease is being refilled, and while there is none, calls ask the store, each for itself as without leases: that
is exact, and nobody waits for another caller's answer. Only one call at a time borrows for a key. It is made by a task
of its own, so that a caller who gives up takes no loan along; those of a batch, which goes to the store as a whole,
have the lease refilled beside it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from sidecar.call import Call
from sidecar.clock import Deadline, after
from sidecar.errors import SidecarError
from sidecar.ratelimit.charges import check_cost
from sidecar.ratelimit.decision import Decision, Enforcement
from sidecar.ratelimit.lease import Lease
from sidecar.ratelimit.policy import FixedWindowPolicy
from sidecar.ratelimit.terms import terms_of
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.lease import LeasePolicy
    from sidecar.ratelimit.lease_book import LeaseBook
    from sidecar.ratelimit.models.lending import Lendable
    from sidecar.store.base import Reply
    from sidecar.telemetry.metrics import Cell

_NS_PER_US = 1_000
_BY_LEASE = Enforcement.LEASE

# A loan is taken in also if it comes after its caller has given up; a store that takes longer is not there.
_LOAN_SECONDS = 1.0


class Tokens(NamedTuple):
    """Where a policy's tokens are counted."""

    lent: Cell
    spent: Cell
    returned: Cell


class Borrowed(NamedTuple):
    """What the store answered a Check that borrowed."""

    decision: Decision
    store_us: int
    """When it decided, by its clock."""


class PolicyLeases:
    """What this process holds of one policy's keys."""

    def __init__(self, book: LeaseBook, policy: Lendable, lease: LeasePolicy, tokens: Tokens) -> None:
        self.policy = policy
        self._book = book
        self._terms = terms_of(policy)
        self._script = load("lend_tokens")
        self._has_windows = isinstance(policy, FixedWindowPolicy)
        self._limit = policy.limit
        self._most = lease.most(policy.limit)
        self._ttl_us = lease.ttl_us
        self._ttl_ns = lease.ttl_us * _NS_PER_US
        self._tokens = tokens
        self._spent = tokens.spent
        self._now_ns = book.monotonic_ns
        self._by_key: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def unspent(self) -> int:
        """What is held now, of all keys."""
        return sum([lease.left for lease in list(self._by_key.values())])

    @property
    def overshoot(self) -> int:
        """What leases may let through above the limit, over all processes that are known to be alive."""
        return 0 if self._has_windows else self._book.live * self._most

    # --- calls ---

    def spend(self, key: str, cost: int) -> Decision | None:
        """Decide on a Check by what is held of its key; None where that does not suffice."""
        lease = self._by_key.get(key)
        if lease is None or cost > lease.left:
            return None
        now_ns = self._now_ns()
        if now_ns >= lease.ends_ns:
            return None
        left = lease.left = lease.left - cost
        self._spent.value += cost
        resets_ns = lease.resets_ns
        return Decision(
            True,
            self._limit,
            lease.remaining + left,
            0,
            (resets_ns - now_ns) // _NS_PER_US if resets_ns > now_ns else 0,
            (),
            0,
            False,
            _BY_LEASE,
            lease.overshoot,
        )

    def borrower(self, key: str, state_key: bytes, cost: int) -> Lease | None:
        """Return the lease that a Check is to borrow for; None where it asks as ever, since its key is not hot."""
        if not cost:
            return None
        now_ns = self._now_ns()
        lease = self._by_key.get(key)
        if lease is not None and not lease.borrowing and now_ns >= lease.ends_ns:
            self.end(lease)
            if lease.is_cold or now_ns >= lease.ends_ns + self._ttl_ns:
                self.drop(lease)
                lease = None
        if lease is None:
            if not self._book.was_seen(state_key, now_ns, self._ttl_ns):
                return None
            lease = self._by_key[key] = Lease(key, state_key, self._most, now_ns + self._ttl_ns)
        if lease.borrowing or now_ns < lease.rests_ns or lease.left >= lease.most:
            return None
        self._book.used(self, lease)
        return lease

    async def borrow(self, lease: Lease, cost: int, call: Call) -> Borrowed:
        """Make a Check that borrows; raises COST_ABOVE_LIMIT, and what the store raises."""
        check_cost(self._terms, cost)
        answer = await asyncio.shield(self._start(lease, cost, call))
        if isinstance(answer, SidecarError):
            raise answer
        return answer

    def refill(self, lease: Lease) -> None:
        """Have the store asked for more, for calls that come later."""
        self._start(lease, 0, Call("ratelimit.lend"))

    # --- ends ---

    def end(self, lease: Lease) -> None:
        """Have what is left go back."""
        left = lease.end()
        if left:
            self._give_back(lease, left)

    def drop(self, lease: Lease) -> None:
        """Hold nothing of a key any more; what is left goes back, and so does what is being lent."""
        self._by_key.pop(lease.key, None)
        lease.held = False
        self._book.forget(lease)
        self.end(lease)

    def drop_key(self, key: str) -> None:
        """Do that, if there is anything: something else holds for the key from now on, or will."""
        lease = self._by_key.get(key)
        if lease is not None:
            self.drop(lease)
            self._book.returns.send()

    def drop_all(self) -> None:
        """Do that with all keys."""
        for lease in list(self._by_key.values()):
            self.drop(lease)

    def void_key(self, key: str) -> None:
        """Forget what is held of a key that is reset: its whole allowance is there again without that."""
        lease = self._by_key.pop(key, None)
        if lease is not None:
            lease.held, lease.void = False, True
            lease.end()
            self._book.forget(lease)

    def end_due(self, lease: Lease, now_ns: int) -> int | None:
        """End a lease whose time has come; return when to look again, None where it is not kept any more."""
        if not lease.held:
            return None
        if now_ns < lease.ends_ns:
            return lease.ends_ns
        if lease.borrowing:
            return now_ns + self._ttl_ns
        self.end(lease)
        idle_ns = lease.ends_ns + self._ttl_ns
        if lease.is_cold or now_ns >= idle_ns:
            self.drop(lease)
            return None
        return idle_ns

    # --- inside ---

    def _start(self, lease: Lease, cost: int, call: Call) -> asyncio.Task[Borrowed | SidecarError]:
        lease.borrowing = True
        return self._book.start(self._lend(lease, cost, lease.wanted(), call))

    async def _lend(self, lease: Lease, cost: int, wanted: int, call: Call) -> Borrowed | SidecarError:
        own = Call(call.method, deadline=Deadline(max(call.deadline, after(_LOAN_SECONDS))))
        own.span = call.span
        terms = self._terms
        words = (terms.number, cost, wanted, *terms.constants_at(self._book.clock.micros()))
        # The lease begins before the store can have lent.
        sent_ns = self._now_ns()
        try:
            reply = await self._book.store.run(ScriptCall(self._script, (lease.state_key,), words, False), own)
        except SidecarError as error:
            if lease.held:
                self._book.await_end(self, lease)
            return error
        finally:
            lease.borrowing = False
        return self._taken_in(lease, wanted, sent_ns, reply)

    def _taken_in(self, lease: Lease, wanted: int, sent_ns: int, reply: Sequence[Reply]) -> Borrowed:
        allowed, remaining, retry_after_us, reset_after_us, store_us, lent = reply
        self._tokens.lent.value += lent
        if not lease.void:
            until_us = store_us + reset_after_us if self._has_windows and reset_after_us else 0
            lease.take_in(lent, wanted, sent_ns, self._ttl_us, until_us=until_us, reset_after_us=reset_after_us)
            lease.remaining, lease.overshoot = remaining, self.overshoot
            if not lease.held:
                self.end(lease)
                self._book.returns.send()
            else:
                self._book.await_end(self, lease)
        decision = Decision(allowed == 1, self._limit, remaining + lease.left, retry_after_us, reset_after_us)
        return Borrowed(decision, store_us)

    def _give_back(self, lease: Lease, amount: int) -> None:
        constants = (0, 0, 0, 0) if self._has_windows else self._terms.constants
        words = (self._terms.number, amount, lease.until_us, *constants)
        self._book.returns.add(lease.state_key, words, self._tokens.returned)
