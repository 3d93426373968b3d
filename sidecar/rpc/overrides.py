"""The part of `sidecar.v1.RateLimitService` that has other limits hold for single keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar.ratelimit.overrides import Effect, Numbers, Override, check_lasting
from sidecar.rpc.convert import ms_from_duration, set_us

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.limiter import RateLimiter
    from sidecar.ratelimit.override_book import OverrideBook


class OverridesServicer:
    """Serves overrides."""

    def __init__(self, limiter: RateLimiter, book: OverrideBook) -> None:
        self._limiter = limiter
        self._book = book

    async def set_override(self, request: pb.SetOverrideRequest, call: Call) -> pb.SetOverrideResponse:
        """Set one."""
        try:
            override, lasts_ms = self._read(request.override)
        except SidecarError as error:
            raise SidecarError(
                error.reason, error.message, field=f"override.{error.field}", metadata=error.metadata
            ) from None
        await self._book.put(override, lasts_ms, call)
        return pb.SetOverrideResponse()

    def _read(self, asked: pb.Override) -> tuple[Override, int]:
        self._limiter.policies.limit(asked.policy)
        numbers = tuple(map(_numbers_of, asked.numbers.limits))
        override = Override(policy=asked.policy, key=asked.key, effect=_effect_of(asked), numbers=numbers)
        self._limiter.policies.check_override(override)
        lasts_ms = ms_from_duration(asked.expires_after) if asked.HasField("expires_after") else None
        return override, check_lasting(lasts_ms)

    async def delete_override(self, request: pb.DeleteOverrideRequest, call: Call) -> pb.DeleteOverrideResponse:
        """End one."""
        self._limiter.policies.check_key(request.key)
        return pb.DeleteOverrideResponse(existed=await self._book.remove(request.policy, request.key, call))

    async def list_overrides(self, request: pb.ListOverridesRequest, _call: Call) -> pb.ListOverridesResponse:
        """List them."""
        response = pb.ListOverridesResponse()
        for override, left_us in self._limiter.policies.overrides:
            if request.policy in ("", override.policy):
                fill_override(response.overrides.add(), override, left_us)
        return response


def _effect_of(asked: pb.Override) -> Effect:
    kind = asked.WhichOneof("effect")
    if kind == "numbers":
        return Effect.NUMBERS
    if kind is None or not getattr(asked, kind):
        raise InvalidArgumentError(Reason.OVERRIDE_INVALID, "the override says nothing", field="effect")
    return Effect(kind)


def _numbers_of(message: pb.LimitNumbers) -> Numbers:
    period_us = message.rate_period.ToMicroseconds() if message.HasField("rate_period") else 0
    return Numbers(message.name, message.limit, message.rate_tokens, period_us)


def fill_override(message: pb.Override, override: Override, left_us: int) -> None:
    """Say what an override says, and for how long it still holds."""
    message.policy = override.policy
    message.key = override.key
    set_us(message.expires_after, left_us)
    if override.effect is Effect.NUMBERS:
        for numbers in override.numbers:
            part = message.numbers.limits.add(name=numbers.name, limit=numbers.limit, rate_tokens=numbers.rate_tokens)
            if numbers.rate_period_us:
                set_us(part.rate_period, numbers.rate_period_us)
    else:
        setattr(message, override.effect.value, True)
