"""limitador: its counters in Redis, or in memory with batches to Redis (`redis_cached`), all else as it comes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers.ratelimit import DOMAIN, OK, OVER_LIMIT, ask, is_allowed
from bench.processes import Failure, Server, free_port
from bench.profiles import Profile
from bench.targets import Target, accepts

if TYPE_CHECKING:
    from contextlib import ExitStack

_HOUR_SECONDS = 3_600
# Of an hour, so that no window begins anew within the test.
_SMALL_LIMIT = 5
# With counters in memory it may learn late that a limit is reached; it has learnt it by then.
_MANY = 50

LIMITADOR_CHECK = Profile(
    name="limitador_check", title="ShouldRateLimit", request=ask("wide", "bench"), works=is_allowed
)
"""The call that stands against the sidecar's Check of a hot key: one key, within its limit."""


def start_limitador(stack: ExitStack, folder: Path, program: Path, redis_port: int, *, storage: str) -> Target:
    """Start a server with two limits, and see that it counts; `storage` is `redis` or `redis_cached`."""
    root = Path(tempfile.mkdtemp(prefix=f"limitador-{storage}-", dir=folder))
    limits = root / "limits.yaml"
    # JSON is YAML too.
    limits.write_text(json.dumps([_limit("wide", 4_000_000_000), _limit(root.name, _SMALL_LIMIT)]), encoding="utf-8")
    port = free_port()
    command = [
        *(str(program), str(limits), "--rls-ip", "127.0.0.1", "--rls-port", str(port)),
        *("--http-ip", "127.0.0.1", "--http-port", str(free_port())),
        *(storage, f"redis://127.0.0.1:{redis_port}"),
    ]
    address = f"127.0.0.1:{port}"
    name = f"limitador, {storage}"
    server = Server(
        name, command, log=root / "log", is_ready=accepts(address), environ={**os.environ, "RUST_LOG": "error"}
    )
    target = Target(stack.enter_context(server), address)
    codes = [target.call(ask(root.name, "bench")).overall_code for _ in range(_MANY)]
    if codes[:_SMALL_LIMIT] != [OK] * _SMALL_LIMIT or codes[-1] != OVER_LIMIT:
        raise Failure(f"{name} does not hold a limit of {_SMALL_LIMIT}: its codes are {codes}")
    return target


def _limit(key: str, most: int) -> dict[str, object]:
    descriptor = f"descriptors[0]['{key}']"
    return {
        "namespace": DOMAIN,
        "max_value": most,
        "seconds": _HOUR_SECONDS,
        "conditions": [f"'{key}' in descriptors[0]"],
        "variables": [descriptor],
    }
