"""`envoy.service.ratelimit.v3.RateLimitService`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.errors import InvalidArgumentError, Reason
from sidecar.ratelimit.envoy.headers import seconds
from sidecar.ratelimit.envoy.rules import Asked, Limit, Unit
from sidecar.rpc.envoy_messages import OK, OVER_LIMIT, messages
from sidecar.rpc.envoy_metadata import dynamic_metadata

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.ratelimit.envoy.answer import Status
    from sidecar.ratelimit.envoy.limiter import EnvoyLimiter
    from sidecar.rpc.envoy_messages import Descriptor, Request

_UNITS = frozenset(Unit)


class EnvoyServicer:
    """Serves Envoy's rate limit filter."""

    def __init__(self, limiter: EnvoyLimiter) -> None:
        self._limiter = limiter
        self._response = messages().response

    async def should_rate_limit(self, request: Request, call: Call) -> Any:
        """Say whether a request of Envoy's is over any of the limits that apply to its descriptors."""
        asked = [_asked(place, descriptor, request.hits_addend) for place, descriptor in enumerate(request.descriptors)]
        answer, headers, metadata = await self._limiter.should_rate_limit(request.domain, asked, call)
        response = self._response(overall_code=OVER_LIMIT if answer.over else OK)
        for status in answer.statuses:
            _fill(response.statuses.add(), status)
        for name, value in headers:
            response.response_headers_to_add.add(key=name, value=value)
        if metadata is not None:
            response.dynamic_metadata.update(dynamic_metadata(request, metadata))
        return response


def _asked(place: int, descriptor: Descriptor, hits_of_all: int) -> Asked:
    """Return a descriptor as the domain takes it; its own hits go before the request's, where 0 is none said."""
    own = descriptor.HasField("hits_addend")
    return Asked(
        tuple([(entry.key, entry.value) for entry in descriptor.entries]),
        descriptor.hits_addend.value if own else max(1, hits_of_all),
        _limit(place, descriptor) if descriptor.HasField("limit") else None,
    )


def _limit(place: int, descriptor: Descriptor) -> Limit:
    override = descriptor.limit
    if override.unit not in _UNITS:
        raise InvalidArgumentError(
            Reason.FIELD_VALUE, "the limit's unit is none that there is", field=f"descriptors[{place}].limit.unit"
        )
    return Limit(override.requests_per_unit, Unit(override.unit))


def _fill(message: Any, status: Status) -> None:
    """Say how one limit stands."""
    message.code = OVER_LIMIT if status.over else OK
    message.limit_remaining = min(status.remaining, 2**32 - 1)
    if status.limit is not None:
        current = message.current_limit
        current.requests_per_unit, current.unit, current.name = status.limit
        message.duration_until_reset.seconds = seconds(status.reset_after_us)
