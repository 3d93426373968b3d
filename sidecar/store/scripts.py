"""The Lua scripts: how they are written, read and checked.

A script is a file `lua/verb_noun-<numkeys>.lua`. It opens with a comment that names every key and argument:

    -- What it does, in a line or more.
    -- KEYS[1]  what it is
    -- ARGV[1]  what it is (unit)
    -- returns  what it returns
    -- include: now

An `include` puts the body of `lua/includes/<name>.lua` in front; an include may define local functions only. The loader
refuses a script whose file name, header and body disagree about the keys and arguments, so that a header can be
trusted.

A script runs as `EVALSHA`; a node that does not know it answers `NOSCRIPT` without having done anything, and then
gets the whole text once with `EVAL`. That costs nothing at start-up and survives `SCRIPT FLUSH` and failover.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_FILE_NAME = re.compile(r"(?P<name>[a-z]+(?:_[a-z]+)+)-(?P<keys>\d+)\.lua")
_INCLUDE = re.compile(r"^-- include: (\w+)$", re.MULTILINE)
_HEADER_KEY = re.compile(r"^-- KEYS\[(\d+)\] ", re.MULTILINE)
_HEADER_ARG = re.compile(r"^-- ARGV\[(\d+)\] ", re.MULTILINE)
_HEADER_RETURNS = re.compile(r"^-- returns ", re.MULTILINE)
_USED_KEY = re.compile(r"\bKEYS\[(\d+)\]")
_USED_ARG = re.compile(r"\bARGV\[(\d+)\]")
_COMMENT = re.compile(r"--[^\n]*")


class ScriptError(Exception):
    """A script file breaks the rules above: a defect of the package, found when it is loaded."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the store gets it."""

    name: str
    key_count: int
    source: bytes
    sha: str
    """Lower-case hexadecimal SHA-1 of `source`: Redis's name for it."""


@cache
def load(name: str) -> Script:
    """Return the packaged script `name`, such as `"set_entry"`; raises `ScriptError`."""
    return load_from(resources.files(__package__) / "lua", name)


def load_from(folder: Traversable, name: str, *, replaced: dict[str, str] | None = None) -> Script:
    """Return a script of `folder`, with the includes in `replaced` taken from there instead.

    Tests replace the include `now`, to drive a script through days in milliseconds.
    """
    files = [entry for entry in folder.iterdir() if entry.name.startswith(f"{name}-")]
    if len(files) != 1:
        raise ScriptError(f"{len(files)} files are named {name}-<numkeys>.lua")
    matched = _FILE_NAME.fullmatch(files[0].name)
    if matched is None:
        raise ScriptError(f"{files[0].name} is not named verb_noun-<numkeys>.lua")
    body = files[0].read_text()
    key_count = int(matched["keys"])
    _check(files[0].name, body, key_count)
    includes = [
        (replaced or {}).get(include) or (folder / "includes" / f"{include}.lua").read_text()
        for include in _INCLUDE.findall(body)
    ]
    source = "\n".join(_strip(part) for part in [*includes, body]).encode()
    return Script(
        name=name,
        key_count=key_count,
        source=source,
        sha=hashlib.sha1(source, usedforsecurity=False).hexdigest(),
    )


def _check(file_name: str, body: str, key_count: int) -> None:
    code = _COMMENT.sub("", body)
    wanted_keys = set(range(1, key_count + 1))
    args = _numbers(_HEADER_ARG, body)
    problems = {
        "its header does not list each key once": _numbers(_HEADER_KEY, body) != wanted_keys,
        "it does not use the keys that its name promises": _numbers(_USED_KEY, code) != wanted_keys,
        "its header and its use of ARGV disagree": _numbers(_USED_ARG, code) != args,
        "its arguments are not numbered from 1": args != set(range(1, len(args) + 1)),
        "its header does not say what it returns": not _HEADER_RETURNS.search(body),
        "it makes keys of its own": "redis.call('KEYS'" in code or "redis.call('SCAN'" in code,
    }
    for problem, found in problems.items():
        if found:
            raise ScriptError(f"{file_name}: {problem}")


def _numbers(pattern: re.Pattern[str], text: str) -> set[int]:
    return {int(number) for number in pattern.findall(text)}


def _strip(text: str) -> str:
    """Drop whole-line comments and blank lines: they would travel with every EVAL."""
    return "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--"))
