"""Other limits for single keys, for a time."""

# ruff: noqa: ASYNC109 - a timeout here becomes the call's deadline, which the sidecar sees and keeps too

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar_client.durations import from_duration, to_duration
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb

if TYPE_CHECKING:
    from datetime import timedelta

    from sidecar_client.caller import Caller
    from sidecar_client.durations import Span
    from sidecar_client.gen.sidecar.v1.rate_limit_pb2_grpc import RateLimitServiceAsyncStub


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Other numbers for one limit; what is None stays as it is."""

    limit: int | None = None
    """A bucket's burst, or what a window may hold."""
    rate_tokens: int | None = None
    """What comes back to a bucket in each `rate_period`."""
    rate_period: timedelta | None = None
    name: str = ""
    """The limit's name in a policy of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What holds for one key of a policy: it is `unlimited`, `denied`, or limited by other `numbers`."""

    policy: str
    key: str
    expires_after: timedelta
    unlimited: bool = False
    denied: bool = False
    numbers: tuple[Numbers, ...] = ()


def to_override(
    policy: str, key: str, *, expires_after: Span, unlimited: bool, denied: bool, numbers: tuple[Numbers, ...]
) -> pb.Override:
    """Return the message that asks for an override; raises ValueError unless it says one thing."""
    if unlimited + denied + bool(numbers) != 1:
        raise ValueError("an override is one of unlimited, denied and numbers")
    message = pb.Override(policy=policy, key=key, expires_after=to_duration(expires_after))
    if unlimited:
        message.unlimited = True
    elif denied:
        message.denied = True
    for own in numbers:
        message.numbers.limits.add(
            name=own.name, limit=own.limit, rate_tokens=own.rate_tokens, rate_period=to_duration(own.rate_period)
        )
    return message


async def list_overrides(
    stub: RateLimitServiceAsyncStub, caller: Caller, policy: str, *, timeout: Span | None
) -> tuple[Override, ...]:
    """Return the overrides of a policy, of all if its name is empty; see `SidecarClient.overrides`."""
    request = pb.ListOverridesRequest(policy=policy)
    answer = await caller.call(stub.ListOverrides, request, repeatable=True, timeout=timeout)
    return tuple([override_of(override) for override in answer.overrides])


def override_of(message: pb.Override) -> Override:
    """Return an override that arrived."""
    return Override(
        policy=message.policy,
        key=message.key,
        expires_after=from_duration(message.expires_after),
        unlimited=message.unlimited,
        denied=message.denied,
        numbers=tuple([_numbers_of(limit) for limit in message.numbers.limits]),
    )


def _numbers_of(message: pb.LimitNumbers) -> Numbers:
    return Numbers(
        name=message.name,
        limit=message.limit or None,
        rate_tokens=message.rate_tokens or None,
        rate_period=from_duration(message.rate_period) if message.HasField("rate_period") else None,
    )
