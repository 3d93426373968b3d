"""envoyproxy/ratelimit: its statistics off, with its defaults otherwise, on the store that the sidecar uses."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.peers.messages import Api, Field, Method
from bench.processes import Failure, Server, free_port
from bench.profiles import CHECKS, Profile, Request
from bench.targets import Target, accepts

if TYPE_CHECKING:
    from contextlib import ExitStack

DOMAIN = "bench"
"""What the limits of both peers that speak this protocol are kept under."""
OK, OVER_LIMIT = 1, 2
# Of an hour, so that no second begins anew within the test.
_SMALL_LIMIT = 5
_API = Api(
    "envoy.service.ratelimit.v3",
    "RateLimitService",
    messages={
        "Entry": [Field("key", 1, "string"), Field("value", 2, "string")],
        "Descriptor": [Field("entries", 1, "Entry", repeated=True)],
        "RateLimitRequest": [
            Field("domain", 1, "string"),
            Field("descriptors", 2, "Descriptor", repeated=True),
            Field("hits_addend", 3, "uint32"),
        ],
        # The codes are of an enumeration, which is on the wire as a number is.
        "DescriptorStatus": [Field("code", 1, "int32")],
        "RateLimitResponse": [
            Field("overall_code", 1, "int32"),
            Field("statuses", 2, "DescriptorStatus", repeated=True),
        ],
    },
    methods=[Method("ShouldRateLimit", "RateLimitRequest", "RateLimitResponse")],
)


def ask(key: str, *values: str) -> Request:
    """Return the call that asks about so many descriptors."""
    descriptors = [{"entries": [{"key": key, "value": value}]} for value in values]
    message = _API.make("RateLimitRequest", domain=DOMAIN, descriptors=descriptors, hits_addend=1)
    return Request("envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", message)


def is_allowed(answer: Any) -> bool:
    """Return whether all limits allow."""
    return bool(answer.overall_code == OK)


def _are_allowed(answer: Any) -> bool:
    return [status.code for status in answer.statuses] == [OK] * CHECKS


SHOULD_RATE_LIMIT = Profile(
    name="should_rate_limit", title="ShouldRateLimit", request=ask("wide", "bench"), works=is_allowed
)
"""The call that stands against the sidecar's Check: one key, within its limit."""

SHOULD_RATE_LIMIT_MANY = Profile(
    name="should_rate_limit_many",
    title=f"ShouldRateLimit of {CHECKS}",
    request=ask("wide", *(f"bench-{number}" for number in range(CHECKS))),
    works=_are_allowed,
    keys=CHECKS,
)
"""The call that stands against CheckMany: so many descriptors, all within their limits."""


def start_ratelimit(
    stack: ExitStack, folder: Path, program: Path, redis_port: int, *, name: str, pipeline_window: str | None = None
) -> Target:
    """Start a server with two limits, and see that it counts; `pipeline_window` is how long it gathers commands."""
    root = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    config = root / "bench" / "config"
    config.mkdir(parents=True)
    limits = {
        "domain": DOMAIN,
        "descriptors": [
            {"key": "wide", "rate_limit": {"unit": "hour", "requests_per_unit": 4_000_000_000}},
            {"key": name, "rate_limit": {"unit": "hour", "requests_per_unit": _SMALL_LIMIT}},
        ],
    }
    (config / "limits.yaml").write_text(json.dumps(limits), encoding="utf-8")  # JSON is YAML too
    port = free_port()
    environ = {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "GRPC_HOST": "127.0.0.1",
        "GRPC_PORT": str(port),
        "DEBUG_HOST": "127.0.0.1",
        "DEBUG_PORT": str(free_port()),
        "BACKEND_TYPE": "redis",
        "REDIS_TYPE": "SINGLE",
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": f"127.0.0.1:{redis_port}",
        **({"REDIS_PIPELINE_WINDOW": pipeline_window} if pipeline_window is not None else {}),
        "USE_STATSD": "false",
        "DISABLE_STATS": "true",
        "LOG_LEVEL": "error",
        "RUNTIME_ROOT": str(root),
        "RUNTIME_SUBDIRECTORY": "bench",
        "RUNTIME_APPDIRECTORY": "config",
        "RUNTIME_WATCH_ROOT": "false",
        "RUNTIME_IGNOREDOTFILES": "true",
    }
    address = f"127.0.0.1:{port}"
    server = Server(name, [str(program)], log=root / "log", is_ready=accepts(address), environ=environ)
    target = Target(stack.enter_context(server), address)
    # The folder's name is this run's own: what another run of the same part has counted is still in the store.
    codes = [target.call(ask(name, root.name)).overall_code for _ in range(_SMALL_LIMIT + 1)]
    if codes != [OK] * _SMALL_LIMIT + [OVER_LIMIT]:
        raise Failure(f"{name} does not hold a limit of {_SMALL_LIMIT}: its codes are {codes}")
    return target
