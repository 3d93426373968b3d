"""The rate limiter: names and bounds are checked here, the decision is the store's.

Check and Peek are one script, told to take or only to look. A Check is not repeatable: a second run would take the cost
twice. A Reset is not either: a copy left in a hung server's buffer could wipe out what was counted since.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.ratelimit.policy import SlidingWindowPolicy, TokenBucketPolicy
from sidecar.ratelimit.slots import Slots, use_acquire, use_check
from sidecar.ratelimit.slots_policy import ConcurrencyPolicy
from sidecar.store import commands
from sidecar.store.base import ScriptCall
from sidecar.store.keys import check_name
from sidecar.store.plans import Plan, run_alone
from sidecar.store.scripts import Script, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sidecar.call import Call
    from sidecar.ratelimit.policy import Policy
    from sidecar.store.base import Reply, Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Cell, Metrics

    AnyPolicy = Policy | ConcurrencyPolicy

_SCRIPTS: dict[type[Policy], str] = {
    TokenBucketPolicy: "check_token_bucket",
    SlidingWindowPolicy: "check_sliding_window",
}

_TAKE, _LOOK = 1, 0

# Characters. A name that is not configured may be of any length; of a longer one neither the error's metadata, which
# travel in a header, nor the search for the nearest name, which takes quadratic time, see more.
_MAX_NAME_ECHO = 64


class Decision(NamedTuple):
    """The answer to a Check or a Peek; durations in microseconds, at most 2^53-1."""

    allowed: bool
    limit: int
    """The most that can be taken at once."""
    remaining: int
    retry_after_us: int
    """How long until the same cost could be allowed; 0 if it was."""
    reset_after_us: int
    """How long until all of the limit is there again, if nothing more is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    """A policy, made ready for its calls."""

    name: str
    most: int
    script: Script
    constants: tuple[int, ...]
    allowed: Cell
    denied: Cell

    def decision(self, replies: Sequence[Reply]) -> Decision:
        """Read what the script answered."""
        allowed, remaining, retry_after_us, reset_after_us, _ = replies[0]
        return Decision(allowed == 1, self.most, remaining, retry_after_us, reset_after_us)

    def counted(self, replies: Sequence[Reply]) -> Decision:
        """Read the same, and count it."""
        decision = self.decision(replies)
        (self.allowed if decision.allowed else self.denied).value += 1
        return decision


class RateLimiter:
    """All configured policies over one store."""

    def __init__(
        self, *, store: Store, keys: KeySpace, metrics: Metrics, policies: Iterable[AnyPolicy], max_key_bytes: int
    ) -> None:
        self._store = store
        self._keys = keys
        self._max_key_bytes = max_key_bytes
        self._decisions = metrics.counter(
            "sidecar_ratelimit_decisions", "Checks of rate limits by policy and outcome", "policy", "outcome"
        )
        self._limits: dict[str, _Limit] = {}
        self._slots: dict[str, Slots] = {}
        self.replace(policies)

    def replace(self, policies: Iterable[AnyPolicy]) -> None:
        """Limit by these policies from now on; what keys have used stays, as far as `model.py` says."""
        limits: dict[str, _Limit] = {}
        slots: dict[str, Slots] = {}
        for policy in policies:
            allowed = self._decisions.cell(policy.name, "allowed")
            denied = self._decisions.cell(policy.name, "denied")
            if isinstance(policy, ConcurrencyPolicy):
                slots[policy.name] = Slots(
                    policy=policy,
                    store=self._store,
                    keys=self._keys,
                    max_key_bytes=self._max_key_bytes,
                    allowed=allowed,
                    denied=denied,
                )
            else:
                limits[policy.name] = _Limit(
                    name=policy.name,
                    most=policy.limit,
                    script=load(_SCRIPTS[type(policy)]),
                    constants=policy.constants,
                    allowed=allowed,
                    denied=denied,
                )
        self._limits, self._slots = limits, slots

    def slots(self, policy_name: str) -> Slots:
        """Return the slots of a concurrency policy; raises POLICY_UNKNOWN, or WRONG_ALGORITHM for another policy."""
        slots = self._slots.get(policy_name)
        if slots is None:
            self._named(policy_name)
            raise use_check()
        return slots

    async def check(self, policy_name: str, key: str, cost: int, call: Call) -> Decision:
        """Take `cost` from the key's allowance if that much is left; a refused call costs nothing.

        Raises SidecarError: POLICY_UNKNOWN, WRONG_ALGORITHM, KEY_EMPTY, KEY_TOO_LONG, COST_ABOVE_LIMIT, and what the
        store raises.
        """
        return await run_alone(self.plan_check(policy_name, key, cost), self._store, call)

    def plan_check(self, policy_name: str, key: str, cost: int) -> Plan[Decision]:
        """Return the plan of `check`."""
        limit = self._named(policy_name)
        return Plan((self._script(limit, key, cost, _TAKE),), limit.counted)

    async def peek(self, policy_name: str, key: str, cost: int, call: Call) -> Decision:
        """Return what `check` would, and take nothing; raises the same."""
        return await run_alone(self.plan_peek(policy_name, key, cost), self._store, call)

    def plan_peek(self, policy_name: str, key: str, cost: int) -> Plan[Decision]:
        """Return the plan of `peek`."""
        slots = self._slots.get(policy_name)
        if slots is not None:
            return slots.plan_peek(key, cost, Decision)
        limit = self._named(policy_name)
        return Plan((self._script(limit, key, cost, _LOOK),), limit.decision)

    async def reset(self, policy_name: str, key: str, call: Call) -> bool:
        """Give the key its whole allowance back; return whether anything was recorded for it.

        Raises SidecarError: POLICY_UNKNOWN, KEY_EMPTY, KEY_TOO_LONG, and what the store raises.
        """
        return await run_alone(self.plan_reset(policy_name, key), self._store, call)

    def plan_reset(self, policy_name: str, key: str) -> Plan[bool]:
        """Return the plan of `reset`."""
        slots = self._slots.get(policy_name)
        if slots is not None:
            return slots.plan_reset(key)
        return Plan((commands.delete(self._state_key(self._named(policy_name), key)),), _existed)

    def _script(self, limit: _Limit, key: str, cost: int, mode: int) -> ScriptCall:
        state_key = self._state_key(limit, key)
        if cost > limit.most:
            raise InvalidArgumentError(
                Reason.COST_ABOVE_LIMIT,
                f"the cost is above the policy's limit of {limit.most}, so it could never be allowed",
                field="cost",
                metadata={"limit": str(limit.most)},
            )
        words = (*limit.constants, cost, mode)
        return ScriptCall(limit.script, (state_key,), words, mode == _LOOK, mode == _TAKE)

    def _named(self, policy_name: str) -> _Limit:
        limit = self._limits.get(policy_name)
        if limit is None:
            if policy_name in self._slots:
                raise use_acquire()
            raise _unknown(policy_name, {**self._limits, **self._slots})
        return limit

    def _state_key(self, limit: _Limit, key: str) -> bytes:
        return self._keys.limit(limit.name, check_name(key, self._max_key_bytes))


def _existed(replies: Sequence[Reply]) -> bool:
    removed: int = replies[0]
    return removed == 1


def _unknown(policy_name: str, known: Iterable[str]) -> SidecarError:
    metadata = {"policy": policy_name[:_MAX_NAME_ECHO]}
    nearest = get_close_matches(metadata["policy"], known, n=1)
    if nearest:
        metadata["nearest"] = nearest[0]
    return SidecarError(
        Reason.POLICY_UNKNOWN,
        "no rate limit policy of that name is configured",
        field="policy",
        metadata=metadata,
    )
