"""Caches that are warmed by a query of their origin, and with what another cache was asked for, over whole sidecars."""

from __future__ import annotations

import itertools
import json
import secrets
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import cache_admin_pb2, cache_pb2, common_pb2
from support.metrics_page import MetricsPage
from support.postgres import Database
from support.programs import PROGRAM, SidecarProgram, environment, run_sidecar, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.postgres import PostgresServer
    from support.servers import StoreServer

TABLES = """
CREATE TABLE account (id bigint PRIMARY KEY, total bigint, postings int);
INSERT INTO account SELECT n, n * 100, n FROM generate_series(1, 60) n;
CREATE TABLE posting (account_id bigint);
"""
CONFIG = """
tenant: {tenant}
listen: ["{{address}}"]
origins: {{ledger: {{kind: postgres, url_env: LEDGER, applied_table: null, timeout: 30s}}}}
caches:
  balances:
    strategy: read_through
    l1: {{}}
    origin: {{name: ledger, load: "{load}"}}
  warmed:
    strategy: read_through
    ttl: 10m
    load_wait: 30s
    load_lease: 40s
    generations: true
    origin: {{name: ledger, load: "{load}"}}
    warm: {{{warm}}}
events:
  ledger:
    postgres: {{origin: ledger, channels: [posted], tables: {{posting: {{key_columns: [account_id]}}}}}}
    rules: [{{when: {{table: posting}}, cache: warmed, keys: ["{{rows.account_id}}"]}}]
"""
LOAD = "SELECT id AS key, total::text AS value FROM account WHERE id = any(:keys)"
HOTTEST = "query: SELECT id AS key FROM account ORDER BY postings DESC LIMIT :limit, limit: 25, at_start: true"


_numbers = itertools.count()


@pytest.fixture(scope="module")
def ledger(shared_postgres: PostgresServer) -> Database:
    """Return the accounts, of which those with the higher numbers are posted to more."""
    name = f"warming_{next(_numbers)}"
    shared_postgres.create_database(name)
    database = Database(shared_postgres, name)
    database.query(TABLES)
    return database


def sidecar(
    folder: Path, store: StoreServer, ledger: Database, warm: str, *arguments: str, tenant: str = ""
) -> SidecarProgram:
    """Return a sidecar, not started."""
    config = CONFIG.format(warm=warm, load=LOAD, tenant=tenant or f"t{secrets.token_hex(4)}")
    words = ["--redis", store.url, *arguments]
    return SidecarProgram(folder, config=config, environ={"LEDGER": ledger.url}, arguments=words)


def present(program: SidecarProgram, keys: Sequence[int]) -> list[int]:
    """Return which accounts are in the cache, without having them loaded."""
    with program.api() as api:
        return [
            key
            for key in keys
            if common_pb2.OUTCOME_HIT
            == api.cache_admin.InspectEntry(cache_admin_pb2.InspectEntryRequest(cache="warmed", key=str(key))).outcome
        ]


def loaded(program: SidecarProgram) -> int:
    """Return how many accounts the ledger was asked for, by the sidecar's own account."""
    page = MetricsPage(program.metrics_address)
    ends = [page("sidecar_cache_origin_loads_total", cache="warmed", outcome=end) for end in ("loaded", "absent")]
    return int(sum(ends))


def test_a_query_warms_at_the_start(lasting_store: StoreServer, ledger: Database, tmp_path: Path) -> None:
    """The first of what it returns, by one of the workers, and after what the gap in the events put out of date."""
    hot = list(range(36, 61))
    with sidecar(tmp_path / "own", lasting_store, ledger, HOTTEST, "--workers", "2") as program:
        wait_until(lambda: loaded(program) == len(hot), "the hot accounts are loaded")
        assert hot == present(program, range(1, 61))
        assert 1 == MetricsPage(program.metrics_address)("sidecar_event_gaps_total", event="ledger")
        head, row, _ = run_sidecar("cache", "stats", "warmed", "--address", program.address).stdout.splitlines()
        loads_at = head.split().index("loads")  # what stands before it has no spaces in it
        assert str(len(hot)) == row.split()[loads_at], "each load is counted once"


def test_sql_that_is_none_ends_the_start(lasting_store: StoreServer, ledger: Database, tmp_path: Path) -> None:
    """With exit code 2 and the setting; `check-config --connect` says the same."""
    program = sidecar(tmp_path / "own", lasting_store, ledger, "query: SELECT nobody AS key FROM account")
    said = 'caches.warmed.warm.query: column "nobody" does not exist (SQLSTATE 42703)\n'
    environ = environment(LEDGER=ledger.url)
    path = program.folder / "sidecar.yaml"
    path.write_text(path.read_text().replace(program.address, "127.0.0.1:0"))
    checked = run_sidecar("check-config", "--connect", str(path), environ=environ)
    served = run_sidecar("serve", "--config", str(path), "--redis", lasting_store.url, environ=environ)
    assert [(2, said)] * 2 == [
        (done.returncode, done.stderr.splitlines(keepends=True)[-1]) for done in (checked, served)
    ]


def test_what_a_cache_was_asked_for_warms_another(lasting_store: StoreServer, ledger: Database, tmp_path: Path) -> None:
    """Also after the sidecar that was asked has ended; on demand as well."""
    warm, tenant = "from_cache: balances, at_start: true", f"t{secrets.token_hex(4)}"
    with sidecar(tmp_path / "one", lasting_store, ledger, warm, tenant=tenant) as program, program.api() as api:
        for number in range(300):
            api.cache.Get(cache_pb2.GetRequest(cache="balances", key=str(7 + number % 3)))
        words = ["cache", "warm", "--address", program.address, "warmed", "--from-cache", "balances", "--limit", "2"]
        done = run_sidecar(*words, "--json")
        counted = json.loads(done.stdout)
        assert (0, 2, True, 1) == (done.returncode, counted["loaded"], counted["cut"], counted["processes"])
    with sidecar(tmp_path / "two", lasting_store, ledger, warm, tenant=tenant) as program:
        wait_until(lambda: loaded(program) == 3, "what was hot is loaded")
        assert [7, 8, 9] == present(program, range(1, 61))


def test_ctrl_c_ends_the_work_too(lasting_store: StoreServer, ledger: Database, tmp_path: Path) -> None:
    """What was loaded until then is said, and is there; the rest is asked of nobody."""
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{number}\n" for number in range(1, 400)))
    with sidecar(tmp_path / "own", lasting_store, ledger, "keys: [a]") as program:
        words = ["cache", "warm", "--address", program.address, "warmed", "--file", str(keys), "--rate", "1"]
        command = subprocess.Popen(
            [PROGRAM, *words], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        wait_until(lambda: loaded(program) == 100, "the first batch is loaded")
        assert 1 == MetricsPage(program.metrics_address)("sidecar_calls_in_flight")
        command.send_signal(signal.SIGINT)
        output, _ = command.communicate(timeout=30)
        ended = "sidecar_calls_in_flight"
        wait_until(lambda: MetricsPage(program.metrics_address)(ended) == 0, "the call has ended")
        assert 100 == loaded(program)
    said = "warmed: until then: 60 loaded, 0 there already, 40 not at the origin, 0 failed\n"
    assert (130, said) == (command.returncode, output)
