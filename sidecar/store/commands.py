"""The single commands that the sidecar sends, by name. What must be atomic is a script instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.clock import MICROS_PER_SECOND
from sidecar.store.base import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.store.base import Reply


def get(key: bytes) -> Command:
    """Read a string: `bytes` or None."""
    return Command(("GET", key), True)


def pttl(key: bytes) -> Command:
    """Read a key's time to live: milliseconds, -1 for ever, -2 for no such key."""
    return Command(("PTTL", key), True)


def hash_fields(key: bytes, names: tuple[bytes, ...]) -> Command:
    """Read some fields of a hash: a list, None where a field is missing."""
    return Command(("HMGET", key, *names), True)


def whole_hash(key: bytes) -> Command:
    """Read a hash: a dict, empty when there is none."""
    return Command(("HGETALL", key), True)


def hash_length(key: bytes) -> Command:
    """Read how many fields a hash has: 0 if there is none."""
    return Command(("HLEN", key), True)


def set_for(key: bytes, value: bytes, ttl_ms: int) -> Command:
    """Write a string, for a time. Not repeatable: a late copy would bring back what was written before."""
    return Command(("SET", key, value, "PX", ttl_ms), False)


def sorted_set(key: bytes) -> Command:
    """Read the members of a sorted set, in the order of their scores: a list, empty when there is none."""
    return Command(("ZRANGE", key, 0, -1), True)


def delete(*keys: bytes) -> Command:
    """Remove keys of one slot: how many there were. Not repeatable: a late copy would remove what was written since."""
    return Command(("DEL", *keys), False)


def unlink(key: bytes) -> Command:
    """Remove a key, its memory a little later: how many there were. Not repeatable, as `delete`."""
    return Command(("UNLINK", key), False)


def touch(keys: Sequence[bytes]) -> Command:
    """Have keys of one node count as used now, without reading them: how many of them there are."""
    return Command(("TOUCH", *keys), True)


def random_key() -> Command:
    """Read the name of a key at random: None if there is none."""
    return Command(("RANDOMKEY",), True)


def memory_info() -> Command:
    """Read what the store says of its memory: lines of `name:value`."""
    return Command(("INFO", "memory"), True)


def memory_usage(key: bytes) -> Command:
    """Read how many bytes a key takes: None for no such key."""
    return Command(("MEMORY", "USAGE", key), True)


def frequency(key: bytes) -> Command:
    """Read how often a key is used, on a scale from 0 to 255; an error where that is not counted."""
    return Command(("OBJECT", "FREQ", key), True)


def idle_time(key: bytes) -> Command:
    """Read for how many seconds a key has not been used; an error where that is not kept."""
    return Command(("OBJECT", "IDLETIME", key), True)


def time() -> Command:
    """Ask for the store's time, which `time_us` reads."""
    return Command(("TIME",), True)


def time_us(reply: Reply) -> int:
    """Return the time that the answer to TIME says, in microseconds; raises TypeError or ValueError for another one."""
    seconds, micros = reply
    return int(seconds) * MICROS_PER_SECOND + int(micros)


def hash_field(key: bytes, name: bytes) -> Command:
    """Read one field of a hash: `bytes` or None."""
    return Command(("HGET", key, name), True)


def set_field(key: bytes, name: bytes, value: bytes) -> Command:
    """Write one field of a hash: whether it is new. Not repeatable, as `set_for`."""
    return Command(("HSET", key, name, value), False)


def stream_entries(key: bytes, after: bytes | str, most: int) -> Command:
    """Read entries of a stream that follow an id, `-` for the first: a list of an id and a list of names and values."""
    return Command(("XRANGE", key, after, "+", "COUNT", most), True)


def info(section: str) -> Command:
    """Ask what the server says of itself: lines of text."""
    return Command(("INFO", section), True)
