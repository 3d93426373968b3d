"""Events in the configuration: every problem is said, with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sidecar.config import load
from sidecar.config.problems import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

CACHES = """\
origins: {ledger: {kind: postgres, url_env: LEDGER}, ledgers: {kind: http, url: "http://h"}}
caches:
  plain: {ttl: 5m}
  full: {ttl: 5m, tags: true, generations: true}
  patients: {data_class: phi, ttl: 5m, tags: true, generations: true}
  shared: {format: raw, key_prefix: "shared:"}
events:
  posted:
"""
GOOD_SOURCE = "    pubsub: {channels: [posted]}\n"
GOOD_RULE = "    rules: [{cache: plain, keys: ['{id}']}]\n"


def problems(tmp_path: Path, event: str) -> list[str]:
    """Return what is wrong with an event, without the file's name."""
    path = tmp_path / "sidecar.yaml"
    path.write_text(CACHES + event)
    try:
        load(path, {})
    except ConfigError as error:
        return [str(problem).removeprefix(f"{path}:") for problem in error.problems]
    return []


def test_a_full_event_is_read(tmp_path: Path) -> None:
    """As it is written."""
    path = tmp_path / "sidecar.yaml"
    path.write_text(
        CACHES
        + """\
    postgres:
      url_env: LEDGER
      channels: [posted]
      tables:
        posting: {key_columns: [account_id]}
        Odd Name: {schema_name: other, table: posting, key_columns: ["id"]}
    on_gap: ignore
    rules:
      - when: {table: posting, many: null, "a.b": 1.5}
        cache: full
        keys: ["account-{rows.account_id}"]
      - {cache: full, tags: ["ward-{ward.id}"]}
      - {cache: full, prefix: "{tenant_id}:"}
      - {cache: full, all: true}
"""
    )
    event = load(path, {}).events["posted"]
    assert event.postgres is not None
    assert ({"posting", "Odd Name"}, 4, {"table": "posting", "many": None, "a.b": 1.5}) == (
        set(event.postgres.tables),
        len(event.rules),
        event.rules[0].when,
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", ":8: events.posted: needs exactly one of `pubsub`, `stream` and `postgres`"),
        (
            "    pubsub: {channels: [a]}\n    stream: {name: s}\n",
            ":8: events.posted: needs exactly one of `pubsub`, `stream` and `postgres`",
        ),
        ("    pubsub: {}\n", ":9: events.posted.pubsub: needs `channels`, `patterns` or both"),
        (
            "    stream: {name: 'sc:x'}\n",
            ":9: events.posted.stream.name: keys that begin with sc: are the sidecar's own",
        ),
        (
            "    payload: text\n    stream: {name: s}\n",
            ":10: events.posted.stream.field: is needed where the payload is a text",
        ),
        (
            "    postgres: {channels: [a]}\n",
            ":9: events.posted.postgres: needs exactly one of `origin`, `url` and `url_env`",
        ),
        (
            "    postgres: {origin: ledger, url_env: X, channels: [a]}\n",
            ":9: events.posted.postgres: needs exactly one of `origin`, `url` and `url_env`",
        ),
        (
            "    postgres: {origin: ledgr, channels: [a]}\n",
            ":9: events.posted.postgres.origin: there is no origin ledgr, did you mean `ledger`?",
        ),
        (
            "    postgres: {origin: ledgers, channels: [a]}\n",
            ":9: events.posted.postgres.origin: `ledgers` is of kind http, and only a postgres notifies, did you mean `ledger`?",  # noqa: E501
        ),
        (
            "    postgres: {url: 'postgresql:///ledger', channels: [a]}\n",
            ":9: events.posted.postgres.url: the database's URL must name a host: postgresql://app@db.example/bank, or ?host=/run/folder",  # noqa: E501
        ),
        ("    postgres: {url_env: X, channels: [a, a]}\n", ":9: events.posted.postgres.channels: a is listed twice"),
        (
            "    postgres: {url: 'mysql://u:secret@h/d', channels: [a]}\n",
            ":9: events.posted.postgres.url: the database's URL must begin with postgresql://",
        ),
        (
            f"    postgres: {{url_env: X, channels: [{'ä' * 60}]}}\n",
            f":9: events.posted.postgres.channels: {'ä' * 60} is longer than the 63 bytes that PostgreSQL keeps",
        ),
    ],
)  # fmt: skip
def test_a_source_that_is_none(tmp_path: Path, source: str, said: str) -> None:
    """Is said with its line."""
    rule = GOOD_RULE.replace("{id}", "{text}")
    assert [said] == [f":{problem}" for problem in problems(tmp_path, source + rule)]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{cache: plain}", "rules[0]: needs exactly one of `keys`, `tags`, `prefix` and `all`"),
        ("{cache: full, keys: [a], all: true}", "rules[0]: needs exactly one of `keys`, `tags`, `prefix` and `all`"),
        ("{cache: plan, keys: [a]}", "rules[0].cache: there is no cache plan, did you mean `plain`?"),
        (
            "{cache: shared, keys: [a]}",
            "rules[0].cache: `shared` is raw: others write it too, and its entries are deleted by their keys alone",
        ),
        ("{cache: plain, tags: [a]}", "rules[0].tags: the cache `plain` has no `tags`"),
        ("{cache: plain, prefix: 'a:'}", "rules[0].prefix: the cache `plain` has no `generations`"),
        ("{cache: plain, all: true}", "rules[0].all: the cache `plain` has no `generations`"),
        (
            "{cache: patients, prefix: 'a:'}",
            "rules[0].prefix: the keys of the phi cache `patients` are kept as hashes, which have no prefixes",
        ),
        (
            "{cache: full, prefix: 'a:{id}'}",
            "rules[0].prefix: must end with a colon, since only such prefixes can be invalidated",
        ),
        (
            "{cache: plain, keys: ['{id']}",
            "rules[0].keys[0]: a brace is not closed or not opened; for one in the text write it twice",
        ),
        (
            "{cache: plain, keys: ['{a..b}']}",
            "rules[0].keys[0]: a field is a name, or names with dots between them, such as new.account_id",
        ),
        ("{cache: plain, keys: [a], when: {a: [1]}}", "rules[0].when.a: must be a text, a number, true, false or null"),
    ],
)
def test_a_rule_that_cannot_be_followed(tmp_path: Path, rule: str, said: str) -> None:
    """Is said with its line."""
    assert [f"10: events.posted.{said}"] == problems(tmp_path, f"{GOOD_SOURCE}    rules: [{rule}]\n")


def test_a_gap_that_cannot_be_mended(tmp_path: Path) -> None:
    """Where it is asked for."""
    said = "9: events.posted.on_gap: the cache `plain` has no `generations`, and cannot be invalidated as a whole"
    assert [said] == problems(tmp_path, f"    on_gap: invalidate_all\n{GOOD_SOURCE}{GOOD_RULE}")


def test_a_text_has_no_fields(tmp_path: Path) -> None:
    """But its own and the channel's."""
    rules = "    rules: [{cache: plain, keys: ['{text}-{@channel}', '{id}']}]\n"
    said = "11: events.posted.rules[0].keys: a text has the fields `text` and `@channel`, and no id"
    assert [said] == problems(tmp_path, f"    payload: text\n{GOOD_SOURCE}{rules}")


def test_all_problems_at_once(tmp_path: Path) -> None:
    """A person mends them in one go."""
    rules = "    rules:\n      - {cache: nope, keys: [a]}\n      - {cache: plain, all: true}\n"
    assert 3 == len(problems(tmp_path, "    pubsub: {}\n" + rules))


def test_a_variable_of_an_event_may_have_the_prefix_of_settings(tmp_path: Path) -> None:
    """It is named by the settings, and none of theirs."""
    path = tmp_path / "sidecar.yaml"
    path.write_text(f"{CACHES}    postgres: {{url_env: SIDECAR_LEDGER, channels: [a]}}\n{GOOD_RULE}")
    assert load(path, {"SIDECAR_LEDGER": "postgresql://h/d"}).events


@pytest.mark.parametrize("value", ["postgres://u:hunter2@", "http://u:hunter2@h", "postgresql://[hunter2"])
def test_a_password_is_not_repeated(tmp_path: Path, value: Any) -> None:
    """Whatever is wrong with the URL."""
    told = "\n".join(problems(tmp_path, f"    postgres: {{url: '{value}', channels: []}}\n{GOOD_RULE}"))
    assert (True, False) == (bool(told), "hunter2" in told)
