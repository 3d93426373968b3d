"""What is measured: one PostgreSQL, two sidecars with a Redis each, three services, all up from beginning to end.

A Redis for each sidecar, since the two would else keep each other's caches warm.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balances.postgres import PostgresMissingError
from balances.stage import CONFIG, URL_VARIABLE, SidecarFailedError, set_up_database
from bench.balances.poster import zipf_accounts
from bench.processes import Failure, Server, free_port
from bench.profiles import Request
from bench.servers import SIDECAR, start_redis
from bench.targets import StoreWatch, Target, accepts
from sidecar.gen.sidecar.v1 import cache_admin_pb2, cache_pb2, common_pb2, origin_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from balances.postgres import Postgres

CACHE = "balances"
_BATCH = 100
# As many as ghz parses in a moment, and as many as show the law's long tail.
_MESSAGES = 10_000
_EXAMPLE = CONFIG.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """A sidecar of the example's, and its Redis."""

    target: Target
    watch: StoreWatch

    def counts(self) -> tuple[int, int, int, int]:
        """Return the hits, the misses, the hits of L1 and the loads so far."""
        asked = Request("sidecar.v1.CacheAdminService/GetCacheStats", cache_admin_pb2.GetCacheStatsRequest(cache=CACHE))
        (stats,) = self.target.call(asked).caches
        return stats.hits, stats.misses, stats.l1_hits, sum(stats.origin_loads.values())

    def fill(self, accounts: int) -> None:
        """Have all balances loaded."""
        names = [f"account-{number}" for number in range(accounts)]
        for begun in range(0, accounts, _BATCH):
            keys = names[begun : begun + _BATCH]
            self.target.call(
                Request("sidecar.v1.CacheService/GetMany", cache_pb2.GetManyRequest(cache=CACHE, keys=keys))
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """A way to a balance: who is called, and who works for it."""

    name: str
    called: Target
    request: Request
    works: Callable[[Any], bool]
    data: Path
    """The messages that are sent in turn."""
    service: Server | None = None
    front: Front | None = None

    def check(self) -> None:
        """Raise `Failure` unless there is a balance at its end."""
        answer = self.called.call(self.request)
        if not self.works(answer):
            raise Failure(f"{self.name}: not a balance:\n{answer}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is up."""

    postgres: Postgres
    ways: tuple[Way, ...]
    fronts: tuple[Front, ...]
    servers: tuple[Server, ...]
    """All but PostgreSQL and the stores."""


@contextmanager
def set_up(accounts: int, say: Callable[[str], None]) -> Iterator[Stage]:
    """Start everything for the length of a `with` block; raises `Failure`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-bench-")))
        folder.chmod(0o755)  # PostgreSQL's user has to reach its own folder
        say(f"setting up a PostgreSQL with {accounts:,} accounts")
        try:
            postgres = stack.enter_context(set_up_database(folder, accounts=accounts))
        except (PostgresMissingError, SidecarFailedError) as error:
            raise Failure(str(error)) from None
        say("starting sidecars and services")
        store = _front(stack, folder, "sidecar", postgres, {"SIDECAR_CACHES__BALANCES__L1": "null"})
        l1 = _front(stack, folder, "sidecar-l1", postgres, {})
        for front in (store, l1):
            front.fill(accounts)
        sample = zipf_accounts(accounts, _MESSAGES, seed=1)
        data = _messages(folder / "messages.json", sample)
        ways = (
            _service(
                stack, "service-database", data, {URL_VARIABLE: postgres.url}, log=folder / "service-database.log"
            ),
            _service(stack, "service-store", data, {}, log=folder / "service-store.log", front=store),
            _service(stack, "service-l1", data, {}, log=folder / "service-l1.log", front=l1),
            _directly("direct-store", data, store),
            _directly("direct-l1", data, l1),
        )
        yield Stage(
            postgres=postgres,
            ways=ways,
            fronts=(store, l1),
            servers=(
                *(front.target.server for front in (store, l1)),
                *(way.service for way in ways if way.service is not None),
            ),
        )


def _front(stack: ExitStack, folder: Path, name: str, postgres: Postgres, overrides: Mapping[str, str]) -> Front:
    """Start a sidecar as the example has it, but for its store and the overrides."""
    own = folder / name
    own.mkdir()
    url = f"redis://127.0.0.1:{start_redis(stack, own)}"
    address = f"127.0.0.1:{free_port()}"
    server = Server(
        name,
        [*SIDECAR, "serve", "--config", str(CONFIG), "--listen", address, "--redis", url],
        log=own / "sidecar.log",
        is_ready=accepts(address),
        environ=_environ({URL_VARIABLE: postgres.url, "SIDECAR_STATE_DIR": str(own / "state"), **overrides}),
    )
    return Front(target=Target(stack.enter_context(server), address), watch=StoreWatch(url))


def _service(
    stack: ExitStack, name: str, data: Path, environ: Mapping[str, str], *, log: Path, front: Front | None = None
) -> Way:
    """Start the application's service, before a sidecar or without one."""
    address = f"127.0.0.1:{free_port()}"
    more = () if front is None else ("--sidecar", front.target.address)
    server = Server(
        name,
        [sys.executable, "-m", "balances.service", address, *more],
        log=log,
        is_ready=accepts(address),
        environ=_environ({"PYTHONPATH": str(_EXAMPLE), **environ}),
    )
    return Way(
        name=name,
        called=Target(stack.enter_context(server), address),
        request=Request("sidecar.v1.OriginService/Load", origin_pb2.LoadRequest(cache=CACHE, key="account-0")),
        works=_is_loaded,
        data=data,
        service=server,
        front=front,
    )


def _directly(name: str, data: Path, front: Front) -> Way:
    return Way(
        name=name,
        called=front.target,
        request=Request("sidecar.v1.CacheService/Get", cache_pb2.GetRequest(cache=CACHE, key="account-0")),
        works=_is_hit,
        data=data,
        front=front,
    )


def _is_loaded(answer: origin_pb2.LoadResponse) -> bool:
    return answer.entry.present and "cents" in json.loads(answer.entry.value)


def _is_hit(answer: cache_pb2.GetResponse) -> bool:
    return answer.outcome == common_pb2.OUTCOME_HIT and "cents" in json.loads(answer.value)


def _messages(file: Path, accounts: list[str]) -> Path:
    """Write a message for each account; Get and Load have the same fields."""
    file.write_text(json.dumps([{"cache": CACHE, "key": account} for account in accounts]), encoding="utf-8")
    return file


def _environ(more: Mapping[str, str]) -> dict[str, str]:
    # The settings are those of the file, not what the shell happens to hold.
    return {**{name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}, **more}
