"""The command line: `sidecar serve | check-config | health | version`.

Exit codes: 0 for success, 1 for a health check that found the sidecar not serving, 2 for anything that a person has
to mend, with one clear line on standard error for each thing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar import __version__
from sidecar.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.app import App
    from sidecar.config.model import Settings

_EXIT_NOT_SERVING = 1
_EXIT_MEND = 2
_HEALTH_SECONDS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except StartupError as error:
        print(error, file=sys.stderr)
        return _EXIT_MEND
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sidecar", description="A gRPC sidecar for Redis and Valkey.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve until SIGTERM or Ctrl-C")
    serve.add_argument("--config", type=Path, metavar="FILE", help="configuration (default: $SIDECAR_CONFIG, or none)")
    serve.add_argument(
        "--listen", action="append", metavar="ADDR", help="host:port or unix:/path; again for more than one"
    )
    serve.add_argument("--redis", metavar="URL", help="redis://, rediss:// or unix:// (default: an embedded Valkey)")
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check-config", help="report every problem of a configuration")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(run=_check_config)

    health = commands.add_parser("health", help="exit 0 if a sidecar is serving")
    health.add_argument(
        "--address", metavar="ADDR", help="where it listens (default: $SIDECAR_LISTEN, or 127.0.0.1:50051)"
    )
    health.add_argument(
        "--service", default="", metavar="NAME", help="a service's full name (default: the whole sidecar)"
    )
    health.set_defaults(run=_health)

    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return parser


# --- serve ---


def _serve(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    from sidecar.config.loader import load  # noqa: PLC0415 (the other commands start without it)

    overrides: dict[str, Any] = {}
    if options.listen:
        overrides["listen"] = options.listen
    if options.redis:
        overrides["store.url"] = options.redis
    path = options.config or (Path(named) if (named := os.environ.get("SIDECAR_CONFIG")) else None)
    settings = load(path, os.environ, overrides)

    import uvloop  # noqa: PLC0415

    from sidecar.app import App  # noqa: PLC0415
    from sidecar.telemetry.log import set_up_logging  # noqa: PLC0415

    set_up_logging(settings.telemetry.log.level, settings.telemetry.log.format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(App(settings, os.environ), settings, begun))
    return 0


async def _run(app: App, settings: Settings, begun: float) -> None:
    """Serve until a signal; a signal during start-up waits until there is something to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await app.start()
    try:
        for line in _summary(app, settings, time.monotonic() - begun):
            print(line, flush=True)
        await stop.wait()
        print("sidecar: stopping", flush=True)
    finally:
        await app.stop()


def _summary(app: App, settings: Settings, seconds: float) -> list[str]:
    """Say what is served, where, and what is not safe for production."""
    caches = ", ".join(
        f"{name} ({'phi, ' if cache.data_class == 'phi' else ''}{'raw, ' if cache.format == 'raw' else ''}{cache.ttl})"
        for name, cache in settings.caches.items()
    )
    services = ["gRPC", "health", *(["reflection"] if settings.reflection else [])]
    lines = [
        f"sidecar {__version__} is ready after {seconds:.1f} s",
        f"  serves   {', '.join(listener.address for listener in settings.listen)}  ({', '.join(services)})",
        f"  store    {app.store_name}",
        f"  caches   {caches or 'none'}",
        f"  limits   {', '.join(settings.rate_limits) or 'none'}",
    ]
    metrics = settings.telemetry.metrics.address
    lines.append(f"  metrics  {f'http://{metrics}/metrics' if metrics else 'off'}")
    warnings = [*app.warnings, *_exposed(settings)]
    if warnings:
        lines.append("  not safe for production:")
        lines.extend(f"    - {warning}" for warning in warnings)
    return lines


def _exposed(settings: Settings) -> list[str]:
    local = ("127.", "localhost:", "[::1]:", "unix:")
    return [
        f"{listener.address} takes calls from other machines, unencrypted, from anybody; listen on 127.0.0.1 or unix:"
        for listener in settings.listen
        if not listener.address.startswith(local)
    ]


# --- the other commands ---


def _check_config(options: argparse.Namespace) -> int:
    from sidecar.config.loader import load  # noqa: PLC0415

    load(options.file, os.environ)
    print(f"{options.file}: no problems found")
    return 0


def _health(options: argparse.Namespace) -> int:
    import grpc  # noqa: PLC0415
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    address = options.address or os.environ.get("SIDECAR_LISTEN", "127.0.0.1:50051").split(",")[0].strip()
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=options.service), timeout=_HEALTH_SECONDS)
        except grpc.RpcError as error:
            print(f"{address}: {error.code().name}: {error.details()}", file=sys.stderr)
            return _EXIT_NOT_SERVING
    state = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    print(f"{address}: {state}")
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else _EXIT_NOT_SERVING


def _version(_options: argparse.Namespace) -> int:
    print(f"sidecar {__version__}")
    return 0
