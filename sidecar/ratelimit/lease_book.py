"""All that this process has borrowed: bounded, and ended in time.

A timer wakes up when the first lease ends, and a little later where several end together; what they have left goes back
in one batch. A process that is told to stop, or whose policies change, ends all leases. Keys are kept in the order in
which they last borrowed, and those that were only seen once in another, so that a thousand callers who come once push
nobody out who comes often.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from sidecar.ratelimit.lease_returns import Returns
from sidecar.ratelimit.models.lending import Lendable
from sidecar.ratelimit.policy_leases import PolicyLeases, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from sidecar.clock import StoreClock
    from sidecar.ratelimit.lease import Lease, LeasePolicy
    from sidecar.ratelimit.policy import CombinedPolicy, Policy
    from sidecar.store.base import Store
    from sidecar.telemetry.metrics import Metrics

# Some 0.6 kB each: 6 MB at the most. A key that is forgotten asks the store again. `docs/configuration.md` names it.
MOST_LEASES = 10_000

# Leases that end within that time end together: at most 200 batches of returns a second.
_TOGETHER_NS = 5_000_000

_NS_PER_SECOND = 1_000_000_000

# For a store to answer the loans that are under way when the process stops.
_PATIENCE_SECONDS = 1.0


class LeaseBook:
    """The leases of all policies."""

    def __init__(
        self,
        *,
        store: Store,
        clock: StoreClock,
        metrics: Metrics,
        policies: Mapping[str, LeasePolicy],
        live: Callable[[], int | None],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        most: int = MOST_LEASES,
    ) -> None:
        self.store = store
        self.clock = clock
        self.monotonic_ns = monotonic_ns
        self.returns = Returns(store)
        self._policies = policies
        self._live = live
        self._most = most
        self._leases: dict[str, PolicyLeases] = {}
        self._used: OrderedDict[Lease, PolicyLeases] = OrderedDict()
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._due: list[tuple[int, int, Lease, PolicyLeases]] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._tokens = metrics.counter(
            "sidecar_ratelimit_lease_tokens",
            "Tokens of leases by policy and what became of them; what was lost is lent and neither spent nor returned",
            "policy",
            "outcome",
        )
        metrics.gauge(
            "sidecar_ratelimit_lease_size",
            "Tokens that this process has borrowed and not spent yet, of all keys, by policy.",
            lambda: {(name,): leases.unspent for name, leases in list(self._leases.items())},
            "policy",
        )
        metrics.gauge(
            "sidecar_ratelimit_leases",
            "Keys that this process has borrowed tokens of, or may soon, by policy.",
            lambda: {(name,): len(leases) for name, leases in list(self._leases.items())},
            "policy",
        )
        metrics.gauge(
            "sidecar_ratelimit_lease_max_overshoot",
            "The most that leases of all live sidecars may let through above a limit, by policy.",
            lambda: {(name,): leases.overshoot for name, leases in list(self._leases.items())},
            "policy",
        )

    @property
    def lends(self) -> bool:
        """Whether any policy is lent from."""
        return bool(self._policies)

    @property
    def live(self) -> int:
        """How many processes may hold leases, as last known: this one at least."""
        return max(1, self._live() or 1)

    def policy_of(self, policy_name: str) -> LeasePolicy | None:
        """Return how a policy is lent from; None where it is not."""
        return self._policies.get(policy_name)

    def of(self, policy: Policy | CombinedPolicy) -> PolicyLeases | None:
        """Return the leases of a policy; None where it is not lent from."""
        lease = self._policies.get(policy.name)
        if lease is None or not isinstance(policy, Lendable) or not lease.most(policy.limit):
            return None
        leases = self._leases.get(policy.name)
        if leases is None:
            cells = [self._tokens.cell(policy.name, outcome) for outcome in Tokens._fields]
            leases = self._leases[policy.name] = PolicyLeases(self, policy, lease, Tokens(*cells))
        return leases

    def replace(self, policies: Mapping[str, LeasePolicy]) -> None:
        """Lend by these policies from now on; all that is held goes back."""
        self._policies = policies
        self._end_all()
        self._leases = {}
        self.returns.send()

    async def close(self) -> None:
        """End all leases, and see that the store has what is left of them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end_all()
        if self._tasks:
            # What they bring goes back at once, for it is not held any more.
            await asyncio.wait(self._tasks, timeout=_PATIENCE_SECONDS)
        await self.returns.drain()

    # --- for the leases of a policy ---

    def was_seen(self, state_key: bytes, now_ns: int, ttl_ns: int) -> bool:
        """Return whether a key was seen within the last ttl; if not, it is now."""
        seen = self._seen
        if now_ns < seen.pop(state_key, 0):
            return True
        seen[state_key] = now_ns + ttl_ns
        if len(seen) > self._most:
            seen.popitem(last=False)
        return False

    def used(self, leases: PolicyLeases, lease: Lease) -> None:
        """Note that a lease is about to borrow: it is the last to be given up, and the first gives way if need be."""
        used = self._used
        used[lease] = leases
        used.move_to_end(lease)
        if len(used) > self._most:
            first, its_leases = next(iter(used.items()))
            its_leases.drop(first)
            self._wake(self.monotonic_ns())

    def forget(self, lease: Lease) -> None:
        """Keep a lease no longer."""
        self._used.pop(lease, None)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run what must not end with its caller."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def await_end(self, leases: PolicyLeases, lease: Lease) -> None:
        """Have a lease ended in time."""
        if not lease.due:
            lease.due = True
            self._push(lease.ends_ns, lease, leases)
            self._wake(self._due[0][0])

    # --- ends ---

    def sweep(self) -> None:
        """End the leases whose time has come, and send what they have left."""
        now_ns = self.monotonic_ns()
        due = self._due
        while due and due[0][0] <= now_ns:
            _, _, lease, leases = heappop(due)
            again_ns = leases.end_due(lease, now_ns)
            if again_ns is None:
                lease.due = False
            else:
                self._push(again_ns, lease, leases)
        self.returns.send()
        if due:
            self._wake(due[0][0])

    def _push(self, when_ns: int, lease: Lease, leases: PolicyLeases) -> None:
        # A number of their own tells apart those that end at once.
        self._number += 1
        heappush(self._due, (when_ns, self._number, lease, leases))
        if len(self._due) > 2 * self._most:
            # Half of them at least were given up before their time.
            self._due[:] = [entry for entry in self._due if entry[2].held]
            heapify(self._due)

    def _wake(self, when_ns: int) -> None:
        """Have the timer go off by then, or soon after."""
        if self._timer is not None:
            if self._timer_ns <= when_ns + _TOGETHER_NS:
                return
            self._timer.cancel()
        now_ns = self.monotonic_ns()
        self._timer_ns = max(when_ns, now_ns) + _TOGETHER_NS
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later((self._timer_ns - now_ns) / _NS_PER_SECOND, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.sweep()

    def _end_all(self) -> None:
        for leases in self._leases.values():
            leases.drop_all()
        self._due.clear()
        self._seen.clear()
