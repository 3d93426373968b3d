"""How the servers of a run are started: the sidecar, the echo, the store. Each runs until its `with` block ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.limits import RATE_LIMITS
from bench.peers.binaries import Missing
from bench.processes import Server, accepts_tcp, free_port
from bench.profiles import NEAR
from bench.targets import Target, accepts
from sidecar.store.embedded import binary_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

_ROOT = Path(__file__).resolve().parent.parent
_EXAMPLE = _ROOT / "examples" / "hospital" / "sidecar.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class NearOptions:
    """A cache with copies in the process."""

    admission: str
    """Of what: `all` or `hot`."""
    room: str | None = None
    """What all copies may take; None for the sidecar's own choice."""
    max_memory: str | None = None
    """What the cache may take of the store's memory; None for all of it."""

    def added_to(self, caches: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of this cache and others."""
        bound = {} if self.max_memory is None else {"max_memory": self.max_memory}
        cache = {"ttl": "1h", "l1": {"admission": self.admission}, **bound}
        return {"caches": {**caches, NEAR: cache}, **({"l1": {"max_bytes": self.room}} if self.room else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarOptions:
    """How a sidecar is set up, beyond the hospital example's caches and limits and those of `limits.py`."""

    engine: str
    workers: int = 1
    redis: str | None = None
    """The store's URL; None for an embedded Valkey."""
    tenant: str = "bench"
    near: NearOptions | None = None
    """A cache beside the example's that keeps copies in the process; None for no such cache."""
    trace_ratio: float
    otlp_endpoint: str


SIDECAR = (sys.executable, "-m", "sidecar")
"""The sidecar's own command line."""


def start_sidecar(stack: ExitStack, folder: Path, options: SidecarOptions, program: Sequence[str] = SIDECAR) -> Target:
    """Start `sidecar serve` with the example's configuration and more limits, on a free port, with metrics and traces.

    `program` may be another one that takes the sidecar's arguments.
    """
    configuration = _configuration(options, folder)
    address = configuration["listen"][0]["address"]
    name = f"sidecar-{address.rpartition(':')[2]}"
    file = folder / f"{name}.json"
    file.write_text(json.dumps(configuration), encoding="utf-8")
    server = Server(
        "sidecar",
        [*program, "serve", "--config", str(file)],
        log=folder / f"{name}.log",
        is_ready=accepts(address),
        environ=_environ(),
    )
    return Target(stack.enter_context(server), address)


def start_echo(stack: ExitStack, folder: Path, engine: str, python: Path | None = None) -> Target:
    """Start the bare endpoint of `echo.py` on an engine, or on that of the sidecar installed with an interpreter."""
    address = f"127.0.0.1:{free_port()}"
    environ = _environ()
    command = [sys.executable]
    if python is not None:
        command = [str(python), "-P"]
        environ["PYTHONPATH"] = str(_bench_alone(folder))
    server = Server(
        f"echo on {engine}",
        [*command, "-m", "bench.echo", address, "--engine", engine],
        log=folder / f"echo-{address.rpartition(':')[2]}.log",
        is_ready=accepts(address),
        environ=environ,
    )
    return Target(stack.enter_context(server), address, uses_store=False)


def installed_sidecar(python: Path) -> Sequence[str]:
    """Return the command line of the sidecar that is installed with an interpreter; raises `Missing` if none is.

    Not that of the sources: the folder that the benchmark runs in is kept from the path.
    """
    command = (str(python), "-P", "-m", "sidecar")
    try:
        subprocess.run([*command, "version"], check=True, capture_output=True, env=_environ())
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(f"{python} runs no sidecar: {error}") from None
    return command


def _bench_alone(folder: Path) -> Path:
    """Return a folder from which this package can be imported, and no other of the project's."""
    alone = folder / "alone"
    alone.mkdir(exist_ok=True)
    link = alone / "bench"
    if not link.exists():
        link.symlink_to(_ROOT / "bench")
    return alone


def start_redis(stack: ExitStack, folder: Path, *more: str) -> int:
    """Start a store that keeps nothing on disk, with `more` on its command line; return its port on 127.0.0.1.

    It is the `redis-server` on the PATH, or else the Valkey that comes with the sidecar.
    """
    port = free_port()
    program = shutil.which("redis-server") or str(binary_path())
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder), *more]
    stack.enter_context(Server("store", command, log=folder / "store.log", is_ready=accepts_tcp(port)))
    return port


def _configuration(options: SidecarOptions, folder: Path) -> dict[str, Any]:
    configuration: dict[str, Any] = yaml.safe_load(_EXAMPLE.read_text(encoding="utf-8"))
    return {
        **configuration,
        **({"workers": options.workers} if options.workers > 1 else {}),
        **(options.near.added_to(configuration["caches"]) if options.near else {}),
        "rate_limits": {**configuration["rate_limits"], **RATE_LIMITS},
        "tenant": options.tenant,
        "listen": [{"address": f"127.0.0.1:{free_port()}", "engine": options.engine}],
        # The folder also holds the development key, whatever the store.
        "store": {"url": options.redis, "embedded": {"state_dir": str(folder / "state")}},
        "telemetry": {
            "metrics": {"address": f"127.0.0.1:{free_port()}"},
            "traces": {
                "sample_ratio": options.trace_ratio,
                "otlp_endpoint": options.otlp_endpoint if options.trace_ratio else None,
            },
        },
    }


def _environ() -> dict[str, str]:
    # The settings are those of the file, not what the shell happens to hold.
    return {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
