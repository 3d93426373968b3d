"""Script files: what the loader takes, and what it refuses."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from sidecar.store.scripts import ScriptError, load, load_from

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """-- Sets a thing.
-- KEYS[1]  the thing
-- ARGV[1]  its value
-- returns  nothing
return redis.call('SET', KEYS[1], ARGV[1])
"""


MANY = """-- Sets things.
-- KEYS[*]  the things
-- ARGV[1]  their TTL (ms)
-- ARGV[*]  a value for each
-- returns  nothing
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1]) end
"""


def written(folder: Path, body: str, name: str = "set_thing-1.lua") -> Path:
    """Write a script file; return its folder."""
    (folder / name).write_text(body)
    return folder


def packaged() -> list[str]:
    """Return the names of all scripts of the package."""
    folder = resources.files("sidecar.store") / "lua"
    return sorted(entry.name.partition("-")[0] for entry in folder.iterdir() if entry.name.endswith(".lua"))


@pytest.mark.parametrize("name", packaged())
def test_every_packaged_script_keeps_the_rules(name: str) -> None:
    """And its digest is that of its source."""
    script = load(name)
    assert hashlib.sha1(script.source, usedforsecurity=False).hexdigest() == script.sha


# What an origin does not have yet stays until it has it; and so does who sends it, by a number that only grows.
KEPT = frozenset({
    "set_behind", "delete_behind", "lease_behind", "hold_partition", "free_partition", "look_partition", "take_changes",
    "settle_changes", "replay_dead", "discard_dead",
})  # fmt: skip


@pytest.mark.parametrize("name", packaged())
def test_no_script_leaves_a_key_without_a_ttl(name: str) -> None:
    """Every SET has an expiry or keeps one; PEXPIRE follows every HSET and APPEND, or their key has one."""
    source = load(name).source.decode()
    for line in source.splitlines():
        if "redis.call('SET'" in line and name != "ensure_data_key":
            start = source.index(line)
            statement = source[start : start + 260]
            assert "'PX'" in statement or "'PXAT'" in statement or "KEEPTTL" in statement, line
    if ("'HSET'" in source or "'APPEND'" in source) and name not in KEPT:
        assert "'PEXPIRE'" in source


def test_comments_do_not_travel(tmp_path: Path) -> None:
    """What is sent is the code alone."""
    script = load_from(written(tmp_path, GOOD), "set_thing")
    assert (b"return redis.call('SET', KEYS[1], ARGV[1])", 1) == (script.source, script.key_count)


def test_a_script_may_take_any_number_of_keys(tmp_path: Path) -> None:
    """It has no count, and a header for all keys together."""
    assert load_from(written(tmp_path, MANY, "set_thing-n.lua"), "set_thing").key_count is None


def test_an_include_stands_in_front_and_can_be_replaced(tmp_path: Path) -> None:
    """A test can give a script another clock."""
    (tmp_path / "includes").mkdir()
    (tmp_path / "includes" / "now.lua").write_text("local now = 1\n")
    written(tmp_path, GOOD + "-- include: now\n")
    assert load_from(tmp_path, "set_thing").source.startswith(b"local now = 1")
    assert load_from(tmp_path, "set_thing", replaced={"now": "local now = 2"}).source.startswith(b"local now = 2")


def test_an_include_that_reaches_for_the_scripts_keys_is_refused(tmp_path: Path) -> None:
    """What a script's header says of its keys and arguments is then all that happens to them."""
    (tmp_path / "includes").mkdir()
    (tmp_path / "includes" / "now.lua").write_text("local now = ARGV[1]\n")
    written(tmp_path, GOOD + "-- include: now\n")
    with pytest.raises(ScriptError, match=r"includes/now\.lua: it uses KEYS or ARGV"):
        load_from(tmp_path, "set_thing")


@pytest.mark.parametrize(
    ("body", "name", "problem"),
    [
        (GOOD.replace("-- KEYS[1]  the thing\n", ""), "set_thing-1.lua", "does not list each key"),
        (GOOD, "set_thing-2.lua", "does not list each key"),
        (GOOD.replace("KEYS[1], ARGV", "'k', ARGV"), "set_thing-1.lua", "does not use the keys"),
        (GOOD.replace("ARGV[1])", "ARGV[2])"), "set_thing-1.lua", "use of ARGV disagree"),
        (GOOD.replace("ARGV[1]", "ARGV[2]"), "set_thing-1.lua", "not numbered from 1"),
        (GOOD.replace("-- returns  nothing\n", ""), "set_thing-1.lua", "what it returns"),
        (GOOD + "redis.call('KEYS', '*')", "set_thing-1.lua", "keys of its own"),
        (GOOD, "set_thing-x.lua", "not named"),
        (GOOD + "redis.call('DEL', KEYS[ARGV[1]])", "set_thing-1.lua", "keys that its name does not promise"),
        (GOOD + "redis.call('DEL', unpack(KEYS))", "set_thing-1.lua", "keys that its name does not promise"),
        (GOOD, "set_thing-n.lua", "disagree about how many keys"),
        (MANY, "set_thing-1.lua", "disagree about how many keys"),
        (MANY.replace("ipairs(KEYS)", "ipairs(ARGV)"), "set_thing-n.lua", "any number of keys"),
        (MANY.replace("ipairs(KEYS)", "ipairs(KEYS[1])"), "set_thing-n.lua", "any number of keys"),
        (MANY.replace("ARGV[i + 1]", "'v'"), "set_thing-n.lua", "further arguments"),
        (MANY.replace("'PX', ARGV[1]", "'PX', 1"), "set_thing-n.lua", "use of ARGV disagree"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(tmp_path: Path, body: str, name: str, problem: str) -> None:
    """With the file's name and the rule."""
    with pytest.raises(ScriptError, match=problem):
        load_from(written(tmp_path, body, name), "set_thing")


def test_a_missing_script_is_refused(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(ScriptError, match="0 files are named set_thing"):
        load_from(tmp_path, "set_thing")
