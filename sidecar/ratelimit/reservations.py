"""Reservations: names and bounds are checked here, what is held and charged is the store's (`models.holds`).

A Reserve without a name of the caller's is not repeatable: a second run would hold twice. One with a name is, since it
finds its own hold; so is Cancel, which finds nothing the second time. A Commit is not: the second one finds nothing,
and cannot tell whether the first one was made or the hold has ended.

Where the limits do not decide, or a shadowed policy lets through what they refuse, nothing is held, and the token says
so: committed or cancelled, it comes to nothing without the store. It is no secret worth forging, since whoever has a
hold may as well cancel it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.ratelimit.beside_holds import decisions_of, limit_words
from sidecar.ratelimit.charges import TAKE, cost_above_limit
from sidecar.ratelimit.exceptions import exempt
from sidecar.ratelimit.models.holds import Became
from sidecar.ratelimit.reservations_policy import MIN_TTL_MS
from sidecar.ratelimit.slots_model import ID_CHARS, NAMED, RANDOM, token_of
from sidecar.store.base import ScriptCall
from sidecar.store.keys import HOLDS_SUFFIX
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.ratelimit.decision import Decision
    from sidecar.ratelimit.limits import Limit
    from sidecar.ratelimit.observations import Observations
    from sidecar.ratelimit.policy_book import PolicyBook
    from sidecar.ratelimit.reservations_policy import ReservationsPolicy
    from sidecar.store.base import Arg, Store
    from sidecar.store.scripts import Script
    from sidecar.telemetry.metrics import Cell, Metrics

_RESERVE, _COMMIT = load("reserve_limits"), load("commit_hold")
# A hold is kept as a lease is, and given back as one.
_CANCEL = load("release_slots")

# As of an idempotency key, which a reservation's name is in all but effect.
MAX_ID_BYTES = 128

# What the id of a hold of nothing begins with.
_NOTHING = "n"

# As those of slots; a cost has up to ten digits.
_ID_BYTES = 16
_TOKEN = re.compile(rf"[{NAMED}{RANDOM}{_NOTHING}][A-Za-z0-9_-]{{{ID_CHARS - 1}}}\.[1-9][0-9]{{0,9}}")

# Where what the scripts say of limits begins.
_LIMITS_AT = 3


class Reserved(NamedTuple):
    """The answer to a Reserve."""

    decision: Decision
    """Whether it is reserved, and how the limits stand beside all holds."""
    token: str
    """What commits and cancels it; empty if it was not reserved."""
    expires_after_us: int
    """How long it is held; 0 if nothing is."""


class Committed(NamedTuple):
    """The answer to a Commit."""

    charged: int
    shortfall: int
    """What the work has cost and was not charged."""
    decision: Decision | None
    """How the limits stand after it; None where nothing was held."""


class _Counted(NamedTuple):
    """Where one policy's reservations are counted."""

    reserved: Cell
    committed: Cell
    cancelled: Cell
    shortfall: Cell


class _Counters:
    """Where those of all policies are."""

    def __init__(self, metrics: Metrics) -> None:
        self._outcomes = metrics.counter(
            "sidecar_ratelimit_reservations", "Reservations by policy and what became of them", "policy", "outcome"
        )
        self._shortfall = metrics.counter(
            "sidecar_ratelimit_reservation_shortfall",
            "What commits of reservations could not charge for lack of room, by policy",
            "policy",
        )
        self._by_policy: dict[str, _Counted] = {}

    def of(self, limit: Limit) -> _Counted:
        """Return those of a policy."""
        name = limit.name
        counted = self._by_policy.get(name)
        if counted is None:
            reserved, committed, cancelled = (
                self._outcomes.cell(name, outcome) for outcome in ("reserved", "committed", "cancelled")
            )
            counted = _Counted(reserved, committed, cancelled, self._shortfall.cell(name))
            self._by_policy[name] = counted
        return counted


class Reserver:
    """Reserves, commits and cancels, for all policies that have reservations."""

    def __init__(
        self, *, store: Store, clock: StoreClock, metrics: Metrics, policies: PolicyBook, observations: Observations
    ) -> None:
        self._store = store
        self._clock = clock
        self._policies = policies
        self._observations = observations
        self._counters = _Counters(metrics)

    async def reserve(
        self,
        policy_name: str,
        key: str,
        *,
        cost: int,
        ttl_ms: int | None,
        reservation_id: str,
        call: Call,
        tier: str = "",
    ) -> Reserved:
        """Hold a cost if there is room, for the policy's own time if `ttl_ms` is None; `reservation_id` may be empty.

        Raises SidecarError: POLICY_UNKNOWN, WRONG_ALGORITHM, TIER_UNKNOWN, RESERVATIONS_OFF, KEY_EMPTY, KEY_TOO_LONG,
        RESERVATION_COST_ZERO, COST_ABOVE_LIMIT, RESERVATION_TTL_OUT_OF_BOUNDS, RESERVATION_ID_TOO_LONG,
        RESERVATION_ID_REUSED, RESERVATIONS_FULL, and what the store raises.
        """
        limit, state_key, exempted = self._policies.find(policy_name, key, tier)
        settings = _settings(limit)
        if cost < 1:
            raise InvalidArgumentError(
                Reason.RESERVATION_COST_ZERO, "nothing is to be reserved: leave `cost` out for one", field="cost"
            )
        ttl_us = _ttl_us(settings, ttl_ms)
        hold_id = _named_id(reservation_id) if reservation_id else _random_id()
        nothing = token_of(_NOTHING + hold_id[1:], cost)
        if exempted is not None:
            told = limit.told(exempt(exempted.why, limit.most), TAKE)
            return self._reserved(limit, key, Reserved(told, nothing if told.allowed else "", 0))
        if cost > limit.most:
            raise cost_above_limit(limit.most)
        words = (cost, ttl_us, hold_id, settings.max_held)
        script_call = self._script_call(_RESERVE, limit, state_key, words, repeatable=bool(reservation_id))
        reply = await self._store.run(script_call, call)
        became, expires_after_us, *_ = reply
        if became == Became.OTHER_COST:
            raise SidecarError(
                Reason.RESERVATION_ID_REUSED,
                "the name has a hold of another cost; commit or cancel that first, or use another name",
                field="reservation_id",
            )
        if became == Became.TOO_MANY:
            raise SidecarError(
                Reason.RESERVATIONS_FULL,
                f"the key has as many holds as the policy allows, {settings.max_held}",
                metadata={"max_held": str(settings.max_held)},
            )
        told = limit.told(limit.combined(decisions_of(limit.policies, reply[_LIMITS_AT:])), TAKE)
        token = token_of(hold_id, cost) if became == Became.HELD else nothing if told.allowed else ""
        return self._reserved(limit, key, Reserved(told, token, expires_after_us))

    async def commit(
        self, policy_name: str, key: str, token: str, *, cost: int | None, call: Call, tier: str = ""
    ) -> Committed:
        """End a hold, and charge a cost, or what was reserved if that is None, as far as there is room.

        Raises SidecarError: POLICY_UNKNOWN, WRONG_ALGORITHM, TIER_UNKNOWN, RESERVATIONS_OFF, KEY_EMPTY, KEY_TOO_LONG,
        TOKEN_MALFORMED, RESERVATION_UNKNOWN, and what the store raises.
        """
        limit, state_key, _ = self._policies.find(policy_name, key, tier)
        _settings(limit)
        reserved = _checked(token)
        if cost is None:
            cost = reserved
        if token.startswith(_NOTHING):
            self._counters.of(limit).committed.value += 1
            return Committed(0, 0, None)
        script_call = self._script_call(_COMMIT, limit, state_key, (token, cost), repeatable=False)
        reply = await self._store.run(script_call, call)
        committed, charged, *_ = reply
        if not committed:
            raise _unknown()
        counted = self._counters.of(limit)
        counted.committed.value += 1
        counted.shortfall.value += cost - charged
        return Committed(charged, cost - charged, limit.combined(decisions_of(limit.policies, reply[_LIMITS_AT:])))

    async def cancel(self, policy_name: str, key: str, token: str, call: Call) -> int:
        """End a hold, and charge nothing; return how much was held.

        Raises SidecarError: as `commit`, but for TIER_UNKNOWN.
        """
        limit, state_key, _ = self._policies.find(policy_name, key)
        _settings(limit)
        reserved = _checked(token)
        if token.startswith(_NOTHING):
            self._counters.of(limit).cancelled.value += 1
            return 0
        script_call = ScriptCall(_CANCEL, (state_key + HOLDS_SUFFIX,), (token,), repeatable=True)
        cancelled, *_ = await self._store.run(script_call, call)
        if not cancelled:
            raise _unknown()
        self._counters.of(limit).cancelled.value += 1
        return reserved

    def _script_call(
        self, script: Script, limit: Limit, state_key: bytes, words: tuple[Arg, ...], *, repeatable: bool
    ) -> ScriptCall:
        keys = (*[state_key + suffix for suffix in limit.suffixes], state_key + HOLDS_SUFFIX)
        return ScriptCall(script, keys, (*words, *limit_words(limit.policies, self._clock.micros())), repeatable)

    def _reserved(self, limit: Limit, key: str, reserved: Reserved) -> Reserved:
        """Count an answer, and return it."""
        if reserved.token:
            self._counters.of(limit).reserved.value += 1
        self._observations.decided(limit.name, key, reserved.decision)
        return reserved


def _settings(limit: Limit) -> ReservationsPolicy:
    if limit.reservations is None:
        raise SidecarError(
            Reason.RESERVATIONS_OFF,
            "the policy has no `reservations` in the configuration; use Check for costs that are known",
            field="policy",
        )
    return limit.reservations


def _ttl_us(settings: ReservationsPolicy, ttl_ms: int | None) -> int:
    if ttl_ms is None:
        return settings.ttl_ms * 1_000
    if not MIN_TTL_MS <= ttl_ms <= settings.max_ttl_ms:
        raise InvalidArgumentError(
            Reason.RESERVATION_TTL_OUT_OF_BOUNDS,
            f"a hold is from {MIN_TTL_MS} ms to the policy's max_ttl of {settings.max_ttl_ms} ms",
            field="ttl",
            metadata={"min_ttl_ms": str(MIN_TTL_MS), "max_ttl_ms": str(settings.max_ttl_ms)},
        )
    return ttl_ms * 1_000


def _random_id() -> str:
    return RANDOM + secrets.token_urlsafe(_ID_BYTES)


def _named_id(name: str) -> str:
    encoded = name.encode()
    if len(encoded) > MAX_ID_BYTES:
        raise InvalidArgumentError(
            Reason.RESERVATION_ID_TOO_LONG,
            f"the reservation's name has {len(encoded)} bytes; at most {MAX_ID_BYTES} are allowed",
            field="reservation_id",
            metadata={"max_bytes": str(MAX_ID_BYTES), "actual_bytes": str(len(encoded))},
        )
    digest = hashlib.sha256(encoded).digest()[:_ID_BYTES]
    return NAMED + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _checked(token: str) -> int:
    """Return what a token was given for; raises TOKEN_MALFORMED."""
    if _TOKEN.fullmatch(token) is None:
        raise InvalidArgumentError(Reason.TOKEN_MALFORMED, "the token is none that Reserve gives", field="token")
    return int(token.rpartition(".")[2])


def _unknown() -> SidecarError:
    return SidecarError(
        Reason.RESERVATION_UNKNOWN,
        "the key has no hold of that token: it has ended, was committed, cancelled or reset, or is another key's",
        field="token",
    )
