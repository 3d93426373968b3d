"""The slots of one concurrency policy: names and bounds are checked here, what is leased to whom is the store's.

An Acquire without a holder's name is not repeatable: a second run would lease twice. One with a name is, since it finds
its own lease; so are Renew, which never brings an end nearer, and Release, which finds nothing the second time. A late
copy of a named Acquire may lease slots that nobody knows of any more: they come free when the lease ends.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.ratelimit.slots_model import ID_CHARS, NAMED, RANDOM, Verdict, token_of
from sidecar.ratelimit.slots_policy import MIN_LEASE_MS
from sidecar.store import commands
from sidecar.store.base import ScriptCall
from sidecar.store.keys import check_name
from sidecar.store.plans import Plan
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.call import Call
    from sidecar.ratelimit.slots_policy import ConcurrencyPolicy
    from sidecar.store.base import Reply, Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Cell

AnswerT = TypeVar("AnswerT")

_ACQUIRE, _RENEW = load("acquire_slots"), load("renew_slots")
_RELEASE, _PEEK = load("release_slots"), load("peek_slots")

# For this algorithm, in the keys of its states.
_LETTER = b"s"

# As of an idempotency key, which a holder's name is in all but effect.
MAX_HOLDER_BYTES = 128

# 22 letters of base64 hold 128 bits and a little: nobody guesses them, and no two names meet.
_ID_BYTES = 16
_TOKEN = re.compile(rf"[{NAMED}{RANDOM}][A-Za-z0-9_-]{{{ID_CHARS - 1}}}\.[1-9][0-9]{{0,4}}")


class Acquired(NamedTuple):
    """The answer to an Acquire; durations in microseconds."""

    acquired: bool
    token: str
    """What releases and renews the lease; empty if there is none."""
    limit: int
    in_use: int
    """The slots that are leased after this call, the caller's own among them."""
    remaining: int
    expires_after_us: int
    """How long the lease lasts; 0 if there is none."""
    retry_after_us: int
    """How long until enough leases have ended, if none is renewed or released; 0 if acquired."""


class Released(NamedTuple):
    """The answer to a Release."""

    slots: int
    """How many came free."""
    in_use: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """What can be asked of one concurrency policy."""

    policy: ConcurrencyPolicy
    store: Store
    keys: KeySpace
    max_key_bytes: int
    allowed: Cell
    denied: Cell
    refused: Callable[[str], None]
    """Is told of each key that an Acquire of is refused."""

    async def acquire(self, key: str, *, slots: int, lease_ms: int | None, holder: str, call: Call) -> Acquired:
        """Lease slots if so many are free, for the policy's own time if `lease_ms` is None; `holder` may be empty.

        Raises SidecarError: KEY_EMPTY, KEY_TOO_LONG, SLOTS_ZERO, COST_ABOVE_LIMIT, LEASE_OUT_OF_BOUNDS,
        HOLDER_TOO_LONG, HOLDER_REUSED, and what the store raises.
        """
        state_key = self._state_key(key)
        self._check_slots(slots)
        lease_us = self._lease_us(lease_ms)
        lease_id = _named_id(holder) if holder else _random_id()
        limit = self.policy.limit
        words = (limit, slots, lease_us, lease_id)
        script_call = ScriptCall(_ACQUIRE, (state_key,), words, repeatable=bool(holder))
        verdict, in_use, expires_after_us, retry_after_us, _ = await self.store.run(script_call, call)
        if verdict == Verdict.OTHER_SIZE:
            raise SidecarError(
                Reason.HOLDER_REUSED,
                "the holder has a lease of another number of slots; release that first, or use another name",
                field="holder",
            )
        acquired = verdict == Verdict.LEASED
        (self.allowed if acquired else self.denied).value += 1
        if not acquired:
            self.refused(key)
        token = token_of(lease_id, slots) if acquired else ""
        return Acquired(acquired, token, limit, in_use, max(0, limit - in_use), expires_after_us, retry_after_us)

    async def renew(self, key: str, token: str, *, lease_ms: int | None, call: Call) -> int:
        """Let a lease last for `lease_ms` from now, if it has not ended; return for how many microseconds it does.

        Raises SidecarError: KEY_EMPTY, KEY_TOO_LONG, TOKEN_MALFORMED, LEASE_OUT_OF_BOUNDS, LEASE_UNKNOWN, and what the
        store raises.
        """
        state_key = self._state_key(key)
        words = (_checked(token), self._lease_us(lease_ms))
        renewed, expires_after_us, _ = await self.store.run(ScriptCall(_RENEW, (state_key,), words, True), call)
        if not renewed:
            raise _lease_unknown()
        lasts_us: int = expires_after_us
        return lasts_us

    async def release(self, key: str, token: str, call: Call) -> Released:
        """Give a lease's slots back, if it has not ended.

        Raises SidecarError: KEY_EMPTY, KEY_TOO_LONG, TOKEN_MALFORMED, LEASE_UNKNOWN, and what the store raises.
        """
        state_key = self._state_key(key)
        words = (_checked(token),)
        released, in_use, _ = await self.store.run(ScriptCall(_RELEASE, (state_key,), words, True), call)
        if not released:
            raise _lease_unknown()
        return Released(int(token.rpartition(".")[2]), in_use, max(0, self.policy.limit - in_use))

    def plan_peek(self, key: str, slots: int, answer: Callable[[bool, int, int, int, int], AnswerT]) -> Plan[AnswerT]:
        """Return the plan that says whether `slots` are free, and makes `answer` of what it hears.

        That is: whether they are, the limit, how many are free, and in how many microseconds those asked for will be,
        and all, if no lease is renewed or released. Raises SidecarError: KEY_EMPTY, KEY_TOO_LONG, COST_ABOVE_LIMIT.
        """
        limit = self.policy.limit
        state_key = self._state_key(key)
        self._check_possible(slots, "cost")

        def read(replies: Sequence[Reply]) -> AnswerT:
            free_now, free, retry_after_us, reset_after_us, _ = replies[0]
            return answer(free_now == 1, limit, free, retry_after_us, reset_after_us)

        return Plan((ScriptCall(_PEEK, (state_key,), (limit, slots), repeatable=True, writes=False),), read)

    def plan_reset(self, key: str) -> Plan[bool]:
        """Return the plan that ends all leases, and says whether there was any; raises KEY_EMPTY, KEY_TOO_LONG."""
        return Plan((commands.delete(self._state_key(key)),), _existed)

    def _state_key(self, key: str) -> bytes:
        return self.keys.limit(_LETTER, self.policy.name, check_name(key, self.max_key_bytes))

    def _check_slots(self, slots: int) -> None:
        if slots < 1:
            raise InvalidArgumentError(
                Reason.SLOTS_ZERO, "no slot is asked for: leave `slots` out for one", field="slots"
            )
        self._check_possible(slots, "slots")

    def _check_possible(self, slots: int, field: str) -> None:
        limit = self.policy.limit
        if slots > limit:
            raise InvalidArgumentError(
                Reason.COST_ABOVE_LIMIT,
                f"the policy has {limit} slots, so that many could never be free",
                field=field,
                metadata={"limit": str(limit)},
            )

    def _lease_us(self, lease_ms: int | None) -> int:
        policy = self.policy
        if lease_ms is None:
            return policy.lease_ms * 1_000
        if not MIN_LEASE_MS <= lease_ms <= policy.max_lease_ms:
            raise InvalidArgumentError(
                Reason.LEASE_OUT_OF_BOUNDS,
                f"a lease is from {MIN_LEASE_MS} ms to the policy's max_lease of {policy.max_lease_ms} ms",
                field="lease",
                metadata={"min_lease_ms": str(MIN_LEASE_MS), "max_lease_ms": str(policy.max_lease_ms)},
            )
        return lease_ms * 1_000


def use_acquire() -> SidecarError:
    """Return the error for a Check of a concurrency policy."""
    return _wrong_algorithm("the policy's algorithm is concurrency, which leases slots: use Acquire", "Acquire")


def use_check() -> SidecarError:
    """Return the error for an Acquire, Renew or Release of any other policy."""
    return _wrong_algorithm("the policy's algorithm counts calls and has no slots to lease: use Check", "Check")


def _wrong_algorithm(message: str, method: str) -> SidecarError:
    return InvalidArgumentError(Reason.WRONG_ALGORITHM, message, field="policy", metadata={"use": method})


def _lease_unknown() -> SidecarError:
    return SidecarError(
        Reason.LEASE_UNKNOWN,
        "the key has no lease of that token: it has ended, was released or reset, or is another key's",
        field="token",
    )


def _random_id() -> str:
    return RANDOM + secrets.token_urlsafe(_ID_BYTES)


def _named_id(holder: str) -> str:
    encoded = holder.encode()
    if len(encoded) > MAX_HOLDER_BYTES:
        raise InvalidArgumentError(
            Reason.HOLDER_TOO_LONG,
            f"the holder's name has {len(encoded)} bytes; at most {MAX_HOLDER_BYTES} are allowed",
            field="holder",
            metadata={"max_bytes": str(MAX_HOLDER_BYTES), "actual_bytes": str(len(encoded))},
        )
    digest = hashlib.sha256(encoded).digest()[:_ID_BYTES]
    return NAMED + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _checked(token: str) -> str:
    if _TOKEN.fullmatch(token) is None:
        raise InvalidArgumentError(Reason.TOKEN_MALFORMED, "the token is none that Acquire gives", field="token")
    return token


def _existed(replies: Sequence[Reply]) -> bool:
    removed: int = replies[0]
    return removed == 1
