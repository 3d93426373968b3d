"""Invalidation by events, from every kind of source: what they concern is gone, and nothing stops them."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2, record_pb2
from support.contract import Contract, entry_key
from support.metrics_page import MetricsPage
from support.programs import wait_until
from support.sidecars import RunningSidecar

from sidecar.config.loader import load
from sidecar.errors import StartupError
from sidecar.store import stream_group
from sidecar.translate_events import triggers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgres import Database, PostgresServer
    from support.servers import StoreServer

CONFIG = """\
tenant: contract
caches:
  plain: {ttl: 5m}
  full: {ttl: 5m, tags: true, generations: true}
  passing: {ttl: 5m, generations: true}
  patients: {data_class: phi, ttl: 5m, tags: true, generations: true}
  chart: {data_class: phi, ttl: 5m}
encryption: {keys: [{env: CONTRACT_KEK}]}
events:
  posted:
"""
PUBSUB = "    pubsub: {channels: [posted], patterns: ['posted:*']}\n"
STREAM = "    stream: {name: ledger, claim_after: 1s}\n"
RULES = """\
    rules:
      - {when: {kind: account}, cache: plain, keys: ["account-{id}", "old-{old.id}"]}
      - {when: {kind: ward}, cache: full, tags: ["ward-{id}"]}
      - {when: {kind: tenant}, cache: passing, prefix: "{id}:"}
      - {when: {kind: all}, cache: full, all: true}
      - {when: {kind: patient}, cache: patients, keys: ["{id}"]}
      - {when: {kind: chart}, cache: chart, keys: ["p-{id}"]}
"""
HIT = common_pb2.OUTCOME_HIT


class Eventful(Contract):
    """A sidecar that listens to events."""

    def put(self, cache: str, key: str, *tags: str) -> None:
        """Set an entry."""
        self.cache.Set(pb.SetRequest(cache=cache, key=key, value=b"v", tags=tags))

    def has(self, cache: str, key: str) -> bool:
        """Say whether there is an entry."""
        return bool(HIT == self.cache.Get(pb.GetRequest(cache=cache, key=key)).outcome)

    def loses(self, cache: str, key: str) -> None:
        """Wait until there is no such entry."""
        wait_until(lambda: not self.has(cache, key), f"{key} is gone")

    def loses_record(self, cache: str, key: str) -> None:
        """Wait until there is no such record."""
        wanted = record_pb2.GetRecordRequest(cache=cache, key=key)
        wait_until(lambda: self.records.GetRecord(wanted).outcome != HIT, f"{key} is gone")

    def publish(self, fields: object, channel: str = "posted") -> None:
        """Publish an event."""
        self.oracle.publish(channel, json.dumps(fields))

    def publish_fields(self, **fields: object) -> None:
        """Publish an event of these fields."""
        self.publish(fields)

    def add(self, **fields: object) -> Any:
        """Add an event to the stream."""
        return self.oracle.xadd("ledger", fields)

    def counted(self, name: str, **labels: str) -> float:
        """Return what a metric of the event says."""
        return MetricsPage(self.sidecar.metrics_address or "")(f"sidecar_event{name}", event="posted", **labels)


@contextmanager
def listening(server: StoreServer, folder: Path, event: str, engine: str = "fast") -> Iterator[Eventful]:
    """Run a sidecar that listens."""
    folder.mkdir(exist_ok=True)
    config = folder / "events.yaml"
    config.write_text(CONFIG + event)
    sidecar = RunningSidecar(server.url, config=config, metrics=True, engine=engine)
    sidecar.start()
    try:
        with Eventful(sidecar, server) as made:
            yield made
    finally:
        sidecar.stop()


class TestReaches:
    """What an event invalidates."""

    @pytest.fixture(params=["pubsub", "stream"])
    def own(self, request: pytest.FixtureRequest, server: StoreServer, tmp_path: Path) -> Iterator[Any]:
        """Return a sidecar, and what sends it an event."""
        is_stream = request.param == "stream"
        with listening(server, tmp_path, (STREAM if is_stream else PUBSUB) + RULES) as made:
            yield made, made.add if is_stream else made.publish_fields

    def test_keys_tags_prefixes_and_whole_caches(self, own: Any) -> None:
        """As its rules say, and nothing else."""
        api, send = own
        for cache, key, tags in [
            ("plain", "account-7", ()), ("plain", "account-8", ()), ("full", "bed-1", ("ward-7",)),
            ("full", "bed-2", ("ward-8",)), ("passing", "t7:x", ()), ("passing", "t8:x", ()), ("patients", "p7", ()),
        ]:  # fmt: skip
            api.put(cache, key, *tags)
        for kind, id_, gone in [
            ("account", "7", ("plain", "account-7")), ("ward", "7", ("full", "bed-1")),
            ("tenant", "t7", ("passing", "t7:x")), ("patient", "p7", ("patients", "p7")),
        ]:  # fmt: skip
            send(kind=kind, id=id_)
            api.loses(*gone)
        kept = [("plain", "account-8"), ("full", "bed-2"), ("passing", "t8:x")]
        assert [True] * 3 == [api.has(*one) for one in kept]
        send(kind="all")
        api.loses("full", "bed-2")
        assert 5 == api.counted("s_total", outcome="handled")

    def test_records_and_what_is_no_entry(self, own: Any) -> None:
        """A record goes as a value does; what somebody else has put in the place of an entry holds nothing up."""
        api, send = own
        api.oracle.lpush(entry_key("plain", "account-1"), "x")
        fields = {"name": record_pb2.FieldValue(text="Ada")}
        for cache, key in [("plain", "account-2"), ("chart", "p-2")]:
            api.records.PutRecord(record_pb2.PutRecordRequest(cache=cache, key=key, fields=fields))
        api.put("plain", "account-3")
        for id_ in ("1", "2", "3"):
            send(kind="account", id=id_)
        send(kind="chart", id="2")
        api.loses("plain", "account-3")
        for cache, key in [("plain", "account-2"), ("chart", "p-2")]:
            api.loses_record(cache, key)
        assert 1 == api.counted("s_total", outcome="unfit")


class TestPubSub:
    """Channels of the store."""

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_channels_that_match_a_pattern(self, server: StoreServer, tmp_path: Path) -> None:
        """Are heard too; lists give a key each."""
        with listening(server, tmp_path, PUBSUB + RULES) as api:
            api.put("plain", "account-7")
            api.put("plain", "old-8")
            api.publish({"kind": "account", "id": [6, 7], "old": {"id": 8}}, "posted:eu")
            api.loses("plain", "account-7")
            api.loses("plain", "old-8")

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_texts(self, server: StoreServer, tmp_path: Path) -> None:
        """With the channel as a field."""
        rules = "    payload: text\n    rules: [{cache: plain, keys: ['{@channel}-{text}']}]\n"
        with listening(server, tmp_path, PUBSUB + rules) as api:
            api.put("plain", "posted-a b")
            api.oracle.publish("posted", "a b")
            api.loses("plain", "posted-a b")

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_events_that_do_not_fit(self, server: StoreServer, tmp_path: Path) -> None:
        """Are counted, and the next is handled."""
        payloads = [
            b"", b"{", b"\xff", b"[]", b'{"kind": "account"}', b'{"kind": "account", "id": "' + b"x" * 600 + b'"}',
            b'{"kind": "account", "id": "\\ud800"}', b'{"kind": "ward", "id": {"a": 1}}', b"[" * 50_000,
            b'{"kind": "tenant", "id": "a:b:c:d:e:f:g:h:i"}',
        ]  # fmt: skip
        with listening(server, tmp_path, PUBSUB + RULES) as api:
            api.put("plain", "account-7")
            for payload in payloads:
                api.oracle.publish("posted", payload)
            api.publish({"kind": "account", "id": 7})
            api.loses("plain", "account-7")
            wait_until(lambda: api.counted("s_total", outcome="unfit") == len(payloads), "they are counted")

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_an_event_that_no_rule_is_for(self, server: StoreServer, tmp_path: Path) -> None:
        """Is counted as such."""
        with listening(server, tmp_path, PUBSUB + RULES) as api:
            api.publish({"kind": "nobody's"})
            wait_until(lambda: api.counted("s_total", outcome="ignored") == 1, "it is counted")
            assert 1 == api.counted("_source_up")

    @pytest.mark.parametrize(("setting", "is_kept"), [("", False), ("    on_gap: ignore\n", True)])
    def test_a_lost_connection(self, server: StoreServer, tmp_path: Path, setting: str, *, is_kept: bool) -> None:
        """Takes caches with generations with it, since nobody knows what was said; events then come again."""
        with listening(server, tmp_path, PUBSUB + setting + RULES) as api:
            gaps = api.counted("_gaps_total")
            api.put("full", "bed")
            api.put("plain", "account-7")
            api.oracle.client_kill_filter(_type="pubsub")
            wait_until(lambda: api.counted("_gaps_total") == gaps + 1, "the gap is noticed")
            if not is_kept:
                api.loses("full", "bed")
            assert (is_kept, True) == (api.has("full", "bed"), api.has("plain", "account-7"))
            api.publish({"kind": "account", "id": 7})
            api.loses("plain", "account-7")

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_what_was_cached_while_no_sidecar_listened(self, server: StoreServer, tmp_path: Path) -> None:
        """Is gone before the next serves."""
        with listening(server, tmp_path, PUBSUB + RULES) as api:
            api.put("full", "bed")
            api.put("plain", "key")
        with listening(server, tmp_path, PUBSUB + RULES) as api:
            assert (False, True) == (api.has("full", "bed"), api.has("plain", "key"))

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_a_store_that_died_and_came_back(self, server: StoreServer, tmp_path: Path) -> None:
        """Is listened to again."""
        with listening(server, tmp_path, PUBSUB + RULES) as api:
            server.kill()
            api.sidecar.wait_for(2)
            server.start()
            api.sidecar.wait_for(1)
            wait_until(lambda: api.counted("_source_up") == 1, "it is listened to")
            api.put("plain", "account-7")
            api.publish({"kind": "account", "id": 7})
            api.loses("plain", "account-7")


class TestStream:
    """A stream of the store."""

    def test_an_event_is_acknowledged_once_it_is_handled(self, server: StoreServer, tmp_path: Path) -> None:
        """And how long that took is measured."""
        with listening(server, tmp_path, STREAM + RULES) as api:
            api.put("plain", "account-7")
            api.add(kind="account", id="7")
            api.loses("plain", "account-7")
            wait_until(lambda: api.oracle.xpending("ledger", "sidecar")["pending"] == 0, "it is acknowledged")
            assert 1 == api.counted("_lag_seconds_count")

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_an_event_that_does_not_fit_is_acknowledged_too(self, server: StoreServer, tmp_path: Path) -> None:
        """It would never fit."""
        with listening(server, tmp_path, STREAM + RULES) as api:
            api.add(kind="account", other="7")
            api.oracle.xadd("ledger", {b"\xff": b"x"})
            wait_until(lambda: api.counted("s_total", outcome="unfit") == 2, "they are counted")
            wait_until(lambda: api.oracle.xpending("ledger", "sidecar")["pending"] == 0, "they are acknowledged")

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_a_payload_in_a_field(self, server: StoreServer, tmp_path: Path) -> None:
        """Is JSON; an entry without the field does not fit."""
        source = "    stream: {name: ledger, field: payload}\n"
        with listening(server, tmp_path, source + RULES) as api:
            api.put("plain", "account-7")
            api.add(other="x")
            api.add(payload='{"kind": "account", "id": 7}')
            api.loses("plain", "account-7")
            assert 1 == api.counted("s_total", outcome="unfit")

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_each_event_is_handled_by_one_sidecar(self, server: StoreServer, tmp_path: Path) -> None:
        """However many read."""
        with (
            listening(server, tmp_path / "a", STREAM + RULES) as one,
            listening(server, tmp_path / "b", STREAM + RULES) as other,
        ):
            for number in range(40):
                one.add(kind="account", id=str(number))

            def handled() -> float:
                return sum(api.counted("s_total", outcome="handled") for api in (one, other))

            wait_until(lambda: handled() >= 40, "all are handled")
            assert 40 == handled()

    def test_what_a_dead_sidecar_was_given_is_anothers(self, server: StoreServer, tmp_path: Path) -> None:
        """After `claim_after`."""
        oracle: Any = server.oracle()
        oracle.xgroup_create("ledger", "sidecar", id="$", mkstream=True)
        oracle.xadd("ledger", {"kind": "account", "id": "7"})
        assert oracle.xreadgroup("sidecar", "the-dead", {"ledger": ">"})
        with listening(server, tmp_path, STREAM + RULES) as api:
            api.put("plain", "account-7")
            api.loses("plain", "account-7")
            wait_until(lambda: oracle.xpending("ledger", "sidecar")["pending"] == 0, "it is acknowledged")

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_events_while_no_sidecar_ran(self, server: StoreServer, tmp_path: Path) -> None:
        """Are not lost, and not a gap: what is cached otherwise stays."""
        with listening(server, tmp_path, STREAM + RULES) as api:
            api.put("plain", "account-7")
            api.put("full", "bed")
        server.oracle().xadd("ledger", {"kind": "account", "id": "7"})
        with listening(server, tmp_path, STREAM + RULES) as api:
            api.loses("plain", "account-7")
            assert (True, 0) == (api.has("full", "bed"), api.counted("_gaps_total"))

    def test_a_lost_connection_loses_nothing(self, server: StoreServer, tmp_path: Path) -> None:
        """The entries wait."""
        with listening(server, tmp_path, STREAM + RULES) as api:
            for number in range(30):
                api.put("plain", f"account-{number}")
                reading = [one["id"] for one in api.oracle.client_list() if one["cmd"].startswith("xreadgroup")]
                for one in reading:
                    api.oracle.client_kill_filter(_id=one)
                api.add(kind="account", id=str(number))
            for number in range(30):
                api.loses("plain", f"account-{number}")
            assert 0 == api.counted("_gaps_total")

    def test_a_stream_that_was_deleted(self, server: StoreServer, tmp_path: Path) -> None:
        """Is a gap; the next one is read from its beginning."""
        with listening(server, tmp_path, STREAM + RULES) as api:
            api.put("full", "bed")
            api.put("plain", "account-7")
            api.oracle.delete("ledger")
            api.add(kind="account", id="7")
            api.loses("plain", "account-7")
            api.loses("full", "bed")

    def test_consumers_that_died_long_ago_are_removed(
        self, server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where they left nothing to be claimed."""
        monkeypatch.setattr(stream_group, "_DEAD_AFTER_MS", 0)
        oracle: Any = server.oracle()
        oracle.xgroup_create("ledger", "sidecar", id="$", mkstream=True)
        oracle.xadd("ledger", {"kind": "account", "id": "7"})
        oracle.xreadgroup("sidecar", "left-something", {"ledger": ">"})
        oracle.xgroup_createconsumer("ledger", "sidecar", "left-nothing")
        time.sleep(0.01)
        with listening(server, tmp_path, STREAM + RULES):
            names = {one["name"] for one in oracle.xinfo_consumers("ledger", "sidecar")}
        assert (True, False) == (b"left-something" in names, b"left-nothing" in names)

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_a_sidecar_that_ends_leaves_no_consumer(self, server: StoreServer, tmp_path: Path) -> None:
        """Where it has done all it was given."""
        with listening(server, tmp_path, STREAM + RULES) as api:
            api.add(kind="account", id="7")
            wait_until(lambda: api.counted("s_total", outcome="handled") == 1, "it is handled")
        assert [] == server.oracle().xinfo_consumers("ledger", "sidecar")


class TestPostgres:
    """Channels of a database, and what its triggers say."""

    TABLES = "      tables: {posting: {key_columns: [account_id]}}\n"
    RULES_OF_ROWS = """\
    rules:
      - {when: {table: posting}, cache: full, keys: ["account-{rows.account_id}"]}
      - {when: {table: posting}, cache: plain, keys: ["account-{rows.account_id}"]}
"""

    def event(self, url: str) -> str:
        """Return the event's settings."""
        return f"    postgres:\n      url: '{url}'\n      channels: [posted]\n{self.TABLES}{self.RULES_OF_ROWS}"

    def make(self, database: Any, folder: Path, event: str) -> None:
        """Make the table, and the triggers that the command prints."""
        path = folder / "sidecar.yaml"
        path.write_text(CONFIG + event)
        database.query("CREATE TABLE posting (id bigint PRIMARY KEY, account_id bigint)")
        database.query(triggers(load(path, {}), None))

    @pytest.fixture
    def own(self, shared_store: StoreServer, database: Database, tmp_path: Path, engine: str) -> Iterator[Eventful]:
        """Return a sidecar that listens to a database of its own."""
        event = self.event(database.url)
        self.make(database, tmp_path, event)
        with listening(shared_store, tmp_path, event, engine) as made:
            yield made

    def test_rows(self, own: Eventful, database: Database) -> None:
        """Once committed, their keys are gone."""
        for number in (7, 8, 9):
            own.put("full", f"account-{number}")
        database.query("INSERT INTO posting VALUES (1, 7)")
        own.loses("full", "account-7")
        database.query("UPDATE posting SET account_id = 8")
        own.loses("full", "account-8")
        assert own.has("full", "account-9")

    def test_a_rollback(self, own: Eventful, database: Database) -> None:
        """Invalidates nothing."""
        own.put("full", "account-7")
        own.put("full", "account-8")
        database.query("BEGIN; INSERT INTO posting VALUES (1, 7); ROLLBACK; INSERT INTO posting VALUES (1, 8)")
        own.loses("full", "account-8")
        assert own.has("full", "account-7")

    def test_ten_thousand_rows(self, own: Eventful, database: Database) -> None:
        """Each of them."""
        for number in (1, 5000, 10_000):
            own.put("full", f"account-{number}")
        own.put("full", "account-10001")
        database.query("INSERT INTO posting SELECT n, n FROM generate_series(1, 10000) AS n")
        for number in (1, 5000, 10_000):
            own.loses("full", f"account-{number}")
        assert own.has("full", "account-10001")

    def test_a_truncated_table(self, own: Eventful, database: Database) -> None:
        """Is a whole cache, where it can be invalidated so."""
        own.put("full", "account-7")
        database.query("TRUNCATE posting")
        own.loses("full", "account-7")
        assert 0 == own.counted("s_total", outcome="unfit")

    def test_a_payload_that_no_trigger_sent(self, own: Eventful, database: Database) -> None:
        """Is counted, and the next is handled."""
        own.put("full", "account-7")
        database.query("NOTIFY posted, 'x'; NOTIFY posted; INSERT INTO posting VALUES (1, 7)")
        own.loses("full", "account-7")
        assert 2 == own.counted("s_total", outcome="unfit")

    @pytest.mark.parametrize("store_kind", ["valkey"])
    @pytest.mark.parametrize("how", ["dropped", "killed", "hung"])
    def test_a_lost_connection(self, server: StoreServer, postgres: PostgresServer, tmp_path: Path, how: str) -> None:
        """Is a gap; then it is listened to again."""
        event = self.event(postgres.url())
        self.make(postgres, tmp_path, event)
        with listening(server, tmp_path, event) as api:
            gaps = api.counted("_gaps_total")
            api.put("full", "bed")
            if how == "dropped":
                postgres.drop_connections()
            elif how == "killed":
                postgres.query("CHECKPOINT")
                postgres.kill()
                postgres.start()
            else:
                postgres.pause()
                wait_until(lambda: api.counted("_source_up") == 0, "the hang is noticed")
                postgres.resume()
            api.loses("full", "bed")
            wait_until(lambda: api.counted("_gaps_total") > gaps, "the gap is counted")
            api.put("full", "account-7")
            postgres.query("INSERT INTO posting VALUES (1, 7)")
            api.loses("full", "account-7")

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_a_database_that_is_not_there_yet(
        self, server: StoreServer, postgres: PostgresServer, tmp_path: Path
    ) -> None:
        """Keeps nobody from serving; it is listened to once it is there."""
        event = self.event(postgres.url())
        self.make(postgres, tmp_path, event)
        postgres.query("CHECKPOINT")
        postgres.kill()
        with listening(server, tmp_path, event) as api:
            assert 0 == api.counted("_source_up")
            postgres.start()
            wait_until(lambda: api.counted("_source_up") == 1, "it is listened to")

    def test_a_variable_that_is_not_set(self, shared_store: StoreServer, tmp_path: Path) -> None:
        """Is said at the start."""
        event = "    postgres: {url_env: NOT_SET, channels: [a]}\n    rules: [{cache: plain, keys: [a]}]\n"
        config = tmp_path / "events.yaml"
        config.write_text(CONFIG + event)
        with pytest.raises(StartupError, match=r"events\.posted\.postgres\.url_env: .*NOT_SET is not set"):
            RunningSidecar(shared_store.url, config=config, engine="fast").start()


class TestStoreAway:
    """Events go on while what they invalidate is out of reach."""

    @pytest.mark.parametrize("store_kind", ["valkey"])
    def test_what_was_said_meanwhile_is_done_afterwards(
        self, server: StoreServer, database: Database, tmp_path: Path
    ) -> None:
        """And is not forgotten."""
        config = TestPostgres().event(database.url)
        TestPostgres().make(database, tmp_path, config)
        with listening(server, tmp_path, config) as api:
            api.put("plain", "account-7")
            server.pause()
            database.query("INSERT INTO posting VALUES (1, 7)")
            wait_until(lambda: api.counted("s_total", outcome="handled") == 1, "it is heard")
            server.resume()
            api.loses("plain", "account-7")
