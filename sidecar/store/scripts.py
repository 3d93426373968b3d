"""The Lua scripts: how they are written, read and checked.

A script is a file `lua/verb_noun-<numkeys>.lua`. It opens with a comment that names every key and argument:

    -- What it does, in a line or more.
    -- KEYS[1]  what it is
    -- ARGV[1]  what it is (unit)
    -- returns  what it returns
    -- include: now

A script for any number of keys is named `verb_noun-n.lua`; its header has one line for `KEYS[*]`, and one for the
`ARGV[*]` that go with them and follow the numbered ones. Such a script reaches for `KEYS[i]`, and no other does.

An `include` puts the body of `lua/includes/<name>.lua` in front; an include may define local functions only,
and is given keys and arguments as theirs. The loader refuses a script whose file name, header and body disagree about
the keys and arguments, so that a header can be trusted.

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

_FILE_NAME = re.compile(r"(?P<name>[a-z]+(?:_[a-z]+)+)-(?P<keys>\d+|n)\.lua")
_INCLUDE = re.compile(r"^-- include: (\w+)$", re.MULTILINE)
_HEADER_KEY = re.compile(r"^-- KEYS\[(\d+)\] ", re.MULTILINE)
_HEADER_ALL_KEYS = re.compile(r"^-- KEYS\[\*\] ", re.MULTILINE)
_HEADER_MORE_ARGS = re.compile(r"^-- ARGV\[\*\] ", re.MULTILINE)
_HEADER_ARG = re.compile(r"^-- ARGV\[(\d+)\] ", re.MULTILINE)
_HEADER_RETURNS = re.compile(r"^-- returns ", re.MULTILINE)
_USED_KEY = re.compile(r"\bKEYS\[(\d+)\]")
_USED_ARG = re.compile(r"\bARGV\[(\d+)\]")
_USED_ANY_KEY = re.compile(r"(?<!')\bKEYS\b(?!\[\d)")
_USED_ANY_ARG = re.compile(r"\bARGV\b(?!\[\d)")
_USES = re.compile(r"\b(KEYS|ARGV)\b")
_COMMENT = re.compile(r"--[^\n]*")


class ScriptError(Exception):
    """A script file breaks the rules above: a defect of the package, found when it is loaded."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the store gets it."""

    name: str
    key_count: int | None
    """None: any number."""
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
    key_count = None if matched["keys"] == "n" else int(matched["keys"])
    _check(files[0].name, body, key_count)
    includes = [(replaced or {}).get(include) or _read_include(folder, include) for include in _INCLUDE.findall(body)]
    source = "\n".join(_strip(part) for part in [*includes, body]).encode()
    return Script(
        name=name,
        key_count=key_count,
        source=source,
        sha=hashlib.sha1(source, usedforsecurity=False).hexdigest(),
    )


def _read_include(folder: Traversable, name: str) -> str:
    text = (folder / "includes" / f"{name}.lua").read_text()
    if _USES.search(_COMMENT.sub("", text)):
        raise ScriptError(f"includes/{name}.lua: it uses KEYS or ARGV, which are the script's")
    return text


def _check(file_name: str, body: str, key_count: int | None) -> None:
    code = _COMMENT.sub("", body)
    wanted_keys = set(range(1, (key_count or 0) + 1))
    args = _numbers(_HEADER_ARG, body)
    takes_any = key_count is None
    problems = {
        "its header and its name disagree about how many keys there are": takes_any
        is not bool(_HEADER_ALL_KEYS.search(body)),
        "it does not use any number of keys, as its name promises": takes_any and not _USED_ANY_KEY.search(code),
        "it reaches for keys that its name does not promise": not takes_any and bool(_USED_ANY_KEY.search(code)),
        "it does not use the further arguments of its header": bool(_HEADER_MORE_ARGS.search(body))
        and not _USED_ANY_ARG.search(code),
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
