"""`dynamic_metadata` of Envoy's answer, in envoyproxy/ratelimit's shape: what was asked, and what applies to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.ratelimit.envoy.rules import Unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.ratelimit.envoy.rules import Value
    from sidecar.rpc.envoy_messages import Descriptor, Override, Request


def dynamic_metadata(request: Request, metadata: Mapping[str, Value]) -> dict[str, Any]:
    """Return what is sent to a request; `metadata` is that of the limits that it is within."""
    fields: dict[str, Any] = {
        "domain": request.domain,
        "descriptors": [_descriptor(descriptor) for descriptor in request.descriptors],
    }
    if request.hits_addend:
        fields["hitsAddend"] = request.hits_addend
    if metadata:
        fields["metadata"] = metadata
    return fields


def _descriptor(descriptor: Descriptor) -> dict[str, Any]:
    fields: dict[str, Any] = {"entries": [f"{entry.key}={entry.value}" for entry in descriptor.entries]}
    if descriptor.HasField("limit"):
        fields["limit"] = _limit(descriptor.limit)
    if descriptor.HasField("hits_addend"):
        fields["hitsAddend"] = descriptor.hits_addend.value
    return fields


def _limit(limit: Override) -> str:
    """Return a limit as protobuf's text format writes it; the unit is one that there is."""
    unit = f"unit:{Unit(limit.unit).name}"
    return f"requests_per_unit:{limit.requests_per_unit} {unit}" if limit.requests_per_unit else unit
