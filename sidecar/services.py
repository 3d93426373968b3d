"""What a sidecar serves: its services, and what stands around each of their calls.

The order of the interceptors, outermost first, is:

1. telemetry  sees every call, also those that are refused, and how long each took from the first byte decoded;
2. errors     turns whatever comes from further in into a status, so that telemetry sees one kind of failure;
3. shedding   refuses what is too much or too late before anything is decoded or sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2

from sidecar.call import MethodTable
from sidecar.errors import Reason, SidecarError
from sidecar.gen.sidecar.v1 import (
    cache_admin_pb2,
    cache_pb2,
    invalidation_pb2,
    pipeline_pb2,
    rate_limit_pb2,
    record_pb2,
)
from sidecar.interceptors.chain import build_endpoint
from sidecar.interceptors.errors import ErrorInterceptor
from sidecar.interceptors.shedding import SheddingInterceptor
from sidecar.interceptors.telemetry import TelemetryInterceptor
from sidecar.rpc.cache import CacheServicer
from sidecar.rpc.cache_admin import CacheAdminServicer
from sidecar.rpc.invalidation import InvalidationServicer
from sidecar.rpc.methods import methods_of
from sidecar.rpc.pipeline import PipelineServicer
from sidecar.rpc.rate_limit import RateLimitServicer
from sidecar.rpc.record import RecordServicer
from sidecar.rpc.reflection import ReflectionServicer, reflection_services
from sidecar.rpc.status import to_status
from sidecar.translate import pipeline_policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from google.protobuf.descriptor import ServiceDescriptor

    from sidecar.caching import Caching
    from sidecar.call import Method
    from sidecar.config.model import LimitSettings, Settings
    from sidecar.envoy_front import EnvoyFront
    from sidecar.interceptors.chain import Interceptor
    from sidecar.interceptors.shedding import Admission
    from sidecar.rate_limits import RateLimits
    from sidecar.rpc.health import HealthServicer
    from sidecar.store.base import Store
    from sidecar.telemetry.metrics import Metrics
    from sidecar.telemetry.snapshot import Gathered
    from sidecar.telemetry.tracing import Tracing

_CACHE = cache_pb2.DESCRIPTOR.services_by_name["CacheService"]
_RECORD = record_pb2.DESCRIPTOR.services_by_name["RecordService"]
_RATE_LIMIT = rate_limit_pb2.DESCRIPTOR.services_by_name["RateLimitService"]
_PIPELINE = pipeline_pb2.DESCRIPTOR.services_by_name["PipelineService"]
_INVALIDATION = invalidation_pb2.DESCRIPTOR.services_by_name["InvalidationService"]
_CACHE_ADMIN = cache_admin_pb2.DESCRIPTOR.services_by_name["CacheAdminService"]
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
_STORE_SERVICES = (_CACHE, _RECORD, _RATE_LIMIT, _PIPELINE, _INVALIDATION, _CACHE_ADMIN)
# Not shed: operators need them under overload most of all, a pipeline's stream lets in each of its batches itself, and
# who watches a cache waits.
_EXEMPT = (
    "/grpc.health.", "/grpc.reflection.", "/sidecar.v1.PipelineService/Stream", "/sidecar.v1.CacheService/GetOrLoad",
    "/sidecar.v1.InvalidationService/", "/sidecar.v1.CacheAdminService/",
)  # fmt: skip


def names_of(settings: Settings, envoy: EnvoyFront | None) -> list[str]:
    """Return the services that need the store; health has a state for each."""
    names = [service.full_name for service in _STORE_SERVICES]
    if any(cache.strategy == "write_behind" for cache in settings.caches.values()):
        names.append("sidecar.v1.WriteBehindService")
    if envoy is not None:
        names.append(envoy.service.full_name)
    return names


def served_methods(
    settings: Settings,
    *,
    store: Store,
    caching: Caching,
    rate_limits: RateLimits,
    health: HealthServicer,
    envoy: EnvoyFront | None,
    admission: Admission,
    gather: Callable[[], Awaitable[Gathered]],
) -> list[Method]:
    """Return the methods of all services that a sidecar with these settings has."""
    pipeline = PipelineServicer(
        caches=caching.caches,
        limiter=rate_limits.limiter,
        store=store,
        admission=admission,
        policy=pipeline_policy(settings.limits),
    )
    served: list[tuple[ServiceDescriptor, object]] = [
        (_CACHE, CacheServicer(caching.caches, admission)),
        (_RECORD, RecordServicer(caching.caches)),
        (
            _RATE_LIMIT,
            RateLimitServicer(
                rate_limits.limiter,
                rate_limits.overrides,
                rate_limits.reporter,
                max_checks=settings.limits.max_batch_keys,
            ),
        ),
        (_PIPELINE, pipeline),
        (_INVALIDATION, InvalidationServicer(caching.watches)),
        (
            _CACHE_ADMIN,
            CacheAdminServicer(
                caching.caches,
                gather,
                warm_list=caching.warm_list,
                max_value_bytes=settings.limits.max_value_bytes,
            ),
        ),
        (_HEALTH, health),
    ]
    if envoy is not None:
        served.append((envoy.service, envoy.servicer))
    if caching.write_behind is not None:
        # A sidecar without such a cache has neither the modules nor the messages in memory.
        from sidecar.rpc.write_behind import SERVICE, WriteBehindServicer  # noqa: PLC0415

        behind = WriteBehindServicer(caching.write_behind, caching.caches, caching.limits)
        served.append((SERVICE, behind))
    if settings.reflection:
        current, alpha = reflection_services()
        names = [service.full_name for service, _ in served] + [current.full_name, alpha.full_name]
        reflection = ReflectionServicer(names)
        served += [(current, reflection), (alpha, reflection)]
    return [method for service, servicer in served for method in methods_of(service, servicer)]


def method_table(
    methods: Sequence[Method], *, limits: LimitSettings, admission: Admission, metrics: Metrics, tracing: Tracing
) -> MethodTable:
    """Return what engines serve: the methods, each within the interceptors, and what calls get that reach none."""
    metrics.gauge(
        "sidecar_calls_in_flight_bound",
        "How many calls may be in flight before more are refused.",
        lambda: {(): admission.bound},
    )
    interceptors: list[Interceptor] = [
        TelemetryInterceptor(metrics=metrics, tracing=tracing),
        ErrorInterceptor(to_status),
        SheddingInterceptor(
            admission=admission, exempt={method.path for method in methods if method.path.startswith(_EXEMPT)}
        ),
    ]
    return MethodTable(
        endpoints={method.path: build_endpoint(method, interceptors) for method in methods},
        unknown=to_status(
            SidecarError(Reason.METHOD_UNKNOWN, "the sidecar has no such method; reflection lists those it has")
        ),
        late=to_status(SidecarError(Reason.DEADLINE_EXCEEDED, "the deadline passed; a write may have been made")),
        too_large=to_status(
            SidecarError(
                Reason.MESSAGE_TOO_LARGE,
                f"the request is larger than {limits.max_message_bytes} bytes (limits.max_message_bytes)",
            )
        ),
        stopping=to_status(SidecarError(Reason.STOPPING, "the sidecar is stopping; what has no answer was not begun")),
        interrupted=to_status(
            SidecarError(
                Reason.INTERRUPTED, "the sidecar stopped before the call had ended; a write may have been made"
            )
        ),
    )
