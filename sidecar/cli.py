"""The command line: `sidecar serve | check-config | sql | health | cache | write-behind | version`.

Exit codes: 0 for success, 1 for a health check that found the sidecar not serving, 2 for anything that a person has
to mend, with one clear line on standard error for each thing, 130 after Ctrl-C before there was anything to stop.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from sidecar import __version__
from sidecar.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.config.envoy.model import EnvoyFile
    from sidecar.config.model import Settings
    from sidecar.telemetry.reloads import ReloadOutcome

_EXIT_NOT_SERVING = 1
_EXIT_MEND = 2
# 128 and the number of SIGINT, as shells have it.
_EXIT_INTERRUPTED = 130
_HEALTH_SECONDS = 2.0
# Commands that have commands of their own.
_GROUPS = ("sql", "cache", "write-behind")
# One of those that a wheel may hold compiled: all of them, or none (docs/adr/0009-compiled-where-it-pays.md).
_COMPILED_MODULE = "sidecar.server.h2.connection"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    # gRPC's C core writes to standard error by itself, in its own words, what is told here in ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if arguments is None:
        arguments = sys.argv[1:]
    parser = _parser(serves=arguments[:1] == ["serve"])
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        print(_unknown_argument(unknown[0], arguments), file=sys.stderr)
        return _EXIT_MEND
    try:
        return int(options.run(options))
    except StartupError as error:
        print(error, file=sys.stderr)
        return _EXIT_MEND
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class _Parser(argparse.ArgumentParser):
    """A parser that takes whole names alone, and says what is wrong in one line without the usage before it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """End with code 2."""
        self.exit(_EXIT_MEND, f"{self.prog}: {message}; see {self.prog} --help\n")


def _unknown_argument(argument: str, arguments: Sequence[str]) -> str:
    """Say that an argument means nothing, by its name alone: its value may be a URL with a password."""
    name = argument.partition("=")[0] if argument.startswith("-") else ""
    words = itertools.takewhile(lambda word: not word.startswith("-"), arguments[: 2 if arguments[0] in _GROUPS else 1])
    command = " ".join(["sidecar", *words])
    return f"{command}: unknown argument{name and f' {name}'}; see {command} --help"


def _parser(*, serves: bool) -> argparse.ArgumentParser:
    """Return the parser of all commands; one that only `serve` is given to has none of what operators ask a sidecar."""
    parser = _Parser(prog="sidecar", description="A gRPC sidecar for Redis and Valkey.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve until SIGTERM or Ctrl-C")
    serve.add_argument("--config", type=Path, metavar="FILE", help="configuration (default: $SIDECAR_CONFIG, or none)")
    serve.add_argument(
        "--listen", action="append", metavar="ADDR", help="host:port or unix:/path; again for more than one"
    )
    serve.add_argument("--redis", metavar="URL", help="redis://, rediss:// or unix:// (default: an embedded Valkey)")
    serve.add_argument("--workers", metavar="N", help="processes that take calls: 1 to 64, or auto (default: 1)")
    serve.add_argument(
        "--envoy-config", metavar="DIR", help="serve Envoy's rate limit service by envoyproxy/ratelimit's files in DIR"
    )
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check-config", help="report every problem of a configuration")
    check.add_argument("file", type=Path, nargs="?", metavar="FILE")
    check.add_argument("--envoy-config", metavar="DIR", help="check envoyproxy/ratelimit's files in DIR as well")
    check.add_argument(
        "--connect", action="store_true", help="prepare the SQL of caches' origins in their databases as well"
    )
    check.set_defaults(run=_check_config)

    health = commands.add_parser("health", help="exit 0 if a sidecar is serving")
    health.add_argument(
        "--address",
        metavar="ADDR",
        help="where it listens (default: $SIDECAR_LISTEN, $SIDECAR_CONFIG's first address, or 127.0.0.1:50051)",
    )
    health.add_argument(
        "--service", default="", metavar="NAME", help="a service's full name (default: the whole sidecar)"
    )
    health.set_defaults(run=_health)

    _add_sql(commands)
    if not serves:
        from sidecar.cache_command import add_cache_commands  # noqa: PLC0415 (what serves need not have it in memory)
        from sidecar.cli_write_behind import add_parser as add_write_behind  # noqa: PLC0415

        add_cache_commands(commands, _own_address)
        add_write_behind(commands, _own_address)

    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return parser


def _add_sql(commands: argparse._SubParsersAction[_Parser]) -> None:
    sql = commands.add_parser("sql", help="print SQL for databases that the sidecar works with")
    kinds = sql.add_subparsers(required=True, metavar="WHAT")
    triggers = kinds.add_parser("triggers", help="what notifies the sidecar of changed rows (events.*.postgres)")
    triggers.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default: $SIDECAR_CONFIG, or none)"
    )
    triggers.add_argument("--event", metavar="NAME", help="the event's name (default: all that have tables)")
    triggers.set_defaults(run=_sql_triggers)
    setup = kinds.add_parser("setup", help="the table in which the tokens of changes are kept")
    setup.add_argument("--table", metavar="NAME", help="origins.<name>.applied_table (default: sidecar_applied)")
    setup.set_defaults(run=_sql_setup)


# --- serve ---


def _serve(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    from sidecar.config.plain import use_plain_settings  # noqa: PLC0415 (the other commands start without it)

    # Before anything that knows a setting is imported: what judges them is for a process of its own.
    use_plain_settings()
    from sidecar.config.reading import read  # noqa: PLC0415

    overrides: dict[str, Any] = {}
    if options.listen:
        overrides["listen"] = options.listen
    if options.redis is not None:  # an empty one is an unset variable of a script, not a wish for an embedded store
        overrides["store.url"] = options.redis
    if options.workers is not None:
        overrides["workers"] = int(options.workers) if re.fullmatch("[0-9]{1,9}", options.workers) else options.workers
    if options.envoy_config is not None:
        overrides["envoy.config_dir"] = options.envoy_config
    path = options.config or _named_config()
    settings = read(path, os.environ, overrides)

    import uvloop  # noqa: PLC0415

    from sidecar.telemetry.log import set_up_logging  # noqa: PLC0415

    set_up_logging(settings.telemetry.log.level, settings.telemetry.log.format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(_Served(settings, path, lambda: read(path, os.environ, overrides)), begun))
    return 0


@dataclass(frozen=True)
class _Served:
    """What to serve, where it is written, and what reads it from there again."""

    settings: Settings
    path: Path | None
    load: Callable[[], Settings]


class _Sidecar(Protocol):
    """What is served: an `App` in this process, or a `Supervisor` of several that hold one each."""

    addresses: tuple[str, ...]
    metrics_address: str | None

    @property
    def envoy_files(self) -> tuple[EnvoyFile, ...] | None: ...
    @property
    def store_name(self) -> str: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def worker_ids(self) -> list[int]: ...

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def reload(self, settings: Settings, envoy_files: tuple[EnvoyFile, ...] | None) -> None: ...
    def count_reload(self, outcome: ReloadOutcome) -> None: ...


def _maker(settings: Settings) -> Callable[[asyncio.Event], _Sidecar]:
    """Return what makes the sidecar, given the event that ends it. Each kind is loaded only where it is needed."""
    from sidecar.supervisor.cores import count_workers  # noqa: PLC0415

    count = count_workers(settings.workers)
    if count > 1:
        from sidecar.supervisor.supervisor import Supervisor  # noqa: PLC0415

        return lambda stop: Supervisor(settings, os.environ, count, stop)
    from sidecar.app import App  # noqa: PLC0415

    return lambda _stop: App(settings, os.environ)


async def _run(served: _Served, begun: float) -> None:
    """Serve until a signal; a signal during start-up waits until there is something to stop."""
    from sidecar.reload import Reloader  # noqa: PLC0415 (as above)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sidecar = _maker(served.settings)(stop)
    reloader = Reloader(served.load, served.path, served.settings, sidecar)
    loop.add_signal_handler(signal.SIGHUP, reloader.ask)
    await sidecar.start()
    reloading = asyncio.create_task(reloader.keep(), name="reload")
    try:
        if not stop.is_set():
            for line in _summary(sidecar, served.settings, time.monotonic() - begun):
                print(line, flush=True)
        await stop.wait()
        print("sidecar: stopping", flush=True)
    finally:
        reloading.cancel()
        await asyncio.gather(reloading, return_exceptions=True)
        await sidecar.stop()


def _summary(app: _Sidecar, settings: Settings, seconds: float) -> list[str]:
    """Say what is served, where, and what is not safe for production."""
    caches = ", ".join(
        f"{name} ({'phi, ' if cache.data_class == 'phi' else ''}{'raw, ' if cache.format == 'raw' else ''}{cache.ttl})"
        for name, cache in settings.caches.items()
    )
    services = ["gRPC", "health", *(["reflection"] if settings.reflection else [])]
    lines = [
        f"{_release()} is ready after {seconds:.1f} s",
        f"  serves   {', '.join(app.addresses)}  ({', '.join(services)})",
        f"  store    {app.store_name}",
        f"  caches   {caches or 'none'}",
        f"  limits   {', '.join(settings.rate_limits) or 'none'}",
    ]
    if settings.envoy.config_dir is not None:
        lines.append(f"  envoy    limits of {settings.envoy.config_dir}")
    if app.worker_ids:
        listed = ", ".join(str(process_id) for process_id in app.worker_ids)
        lines.append(f"  workers  {len(app.worker_ids)} (processes {listed})")
    metrics = app.metrics_address
    lines.append(f"  metrics  {f'http://{metrics}/metrics' if metrics else 'off'}")
    warnings = [*app.warnings, *_exposed(settings)]
    if warnings:
        lines.append("  not safe for production:")
        lines.extend(f"    - {warning}" for warning in warnings)
    return lines


def _exposed(settings: Settings) -> list[str]:
    from sidecar.config.addresses import is_local  # noqa: PLC0415 (as above)

    return [
        f"{listener.address} takes calls from other machines, unencrypted, from anybody; listen on 127.0.0.1 or unix:"
        for listener in settings.listen
        if not is_local(listener.address)
    ]


# --- the other commands ---


def _check_config(options: argparse.Namespace) -> int:
    from sidecar.config.loader import load  # noqa: PLC0415
    from sidecar.translate_envoy import check_envoy  # noqa: PLC0415
    from sidecar.translate_limits import check_policies  # noqa: PLC0415

    folder = options.envoy_config
    if options.file is None and folder is None:
        raise StartupError(
            "sidecar check-config: needs FILE, --envoy-config DIR, or both; see sidecar check-config --help"
        )
    settings = load(options.file, os.environ, {} if folder is None else {"envoy.config_dir": folder})
    problems: list[str] = []
    warnings: Sequence[str] = ()
    try:
        check_policies(settings)
    except StartupError as error:
        problems.append(str(error))
    try:
        warnings = check_envoy(settings)
    except StartupError as error:
        problems.append(str(error))
    if options.connect and not problems:
        from sidecar.translate_origins import check_origins  # noqa: PLC0415

        asyncio.run(check_origins(settings, os.environ))
    if problems:
        raise StartupError("\n".join(problems))
    for warning in warnings:
        print(f"{warning} (without effect)")
    for checked in (options.file, settings.envoy.config_dir):
        if checked is not None:
            print(f"{checked}: no problems found")
    return 0


def _sql_triggers(options: argparse.Namespace) -> int:
    from sidecar.config.loader import load  # noqa: PLC0415
    from sidecar.translate_events import triggers  # noqa: PLC0415

    print(triggers(load(options.config or _named_config(), os.environ), options.event), end="")
    return 0


def _sql_setup(options: argparse.Namespace) -> int:
    from sidecar.config.origins import is_table  # noqa: PLC0415 (as above)
    from sidecar.origins.applied import DEFAULT_TABLE, setup_sql  # noqa: PLC0415

    table = options.table or DEFAULT_TABLE
    if not is_table(table):
        raise StartupError("sidecar sql setup: --table is a name of small letters, digits and _, in a schema or not")
    print(setup_sql(table), end="")
    return 0


def _health(options: argparse.Namespace) -> int:
    from grpc_health.v1 import health_pb2  # noqa: PLC0415

    from sidecar.remote import Remote  # noqa: PLC0415 (the other commands start without gRPC)

    address = options.address or _own_address()
    service = health_pb2.DESCRIPTOR.services_by_name["Health"]
    try:
        with Remote(address, _HEALTH_SECONDS) as remote:
            answer = remote.call(service, "Check", health_pb2.HealthCheckRequest(service=options.service))
    except StartupError as error:
        print(error, file=sys.stderr)
        return _EXIT_NOT_SERVING
    state = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    print(f"{address}: {state}")
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else _EXIT_NOT_SERVING


def _own_address() -> str:
    """Return where a sidecar with this environment listens first, as in a container beside it."""
    listen = os.environ.get("SIDECAR_LISTEN")
    if listen:
        return listen.split(",")[0].strip()
    path = _named_config()
    if path is None:
        return "127.0.0.1:50051"
    from sidecar.config.loader import load  # noqa: PLC0415 (it takes longer than the check itself)

    return load(path, os.environ).listen[0].address


def _named_config() -> Path | None:
    named = os.environ.get("SIDECAR_CONFIG")
    return Path(named) if named else None


def _version(_options: argparse.Namespace) -> int:
    print(_release())
    return 0


def _release() -> str:
    """Return the name and version, and whether what runs is compiled: by where Python finds it, without loading it."""
    spec = find_spec(_COMPILED_MODULE)
    is_source = spec is None or spec.origin is None or spec.origin.endswith(".py")
    return f"sidecar {__version__}{'' if is_source else ' (compiled)'}"
