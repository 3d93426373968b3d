"""What the scripts of overrides do, as pure functions over plain data: the specification that they are tested against.

What has ended is removed by the next change, and is no override before that: whoever reads them looks at their ends.
An override that is set again begins anew. The version is the time of the change, or one more than the version before,
whichever is later: it grows whatever the clock does, and when all overrides are gone and new ones are set, these do not
have a version that a sidecar has seen. The whole lives as long as the last override that there was when it was changed
last; one that is removed may thus leave a version behind for a while, with fewer overrides.
"""

from __future__ import annotations

from typing import NamedTuple


class Stored(NamedTuple):
    """The stored state; times in microseconds."""

    overrides: dict[str, tuple[int, str]]
    """When each ends and what it says, by its field."""
    version: int
    ttl_ms: int


def set_override(
    state: Stored | None, now_us: int, *, field: str, text: str, lasts_us: int, most: int
) -> tuple[list[int], Stored | None]:
    """Set one; return what the script does, and the state after it."""
    live = _live(state, now_us)
    if len(live) >= most and field not in live:
        return [0, 0], _swept(state, live)
    ends_us = now_us + lasts_us
    last_us = max(_last_us(live), ends_us)
    stored = _kept(state, {**live, field: (ends_us, text)}, now_us, last_us)
    return [1, stored.version], stored


def delete_override(state: Stored | None, now_us: int, *, field: str) -> tuple[int, Stored | None]:
    """Remove one; return what the script does, and the state after it."""
    live = _live(state, now_us)
    if field not in live:
        return 0, _swept(state, live)
    if len(live) == 1:
        return 1, None
    left = {name: override for name, override in live.items() if name != field}
    return 1, _kept(state, left, now_us, _last_us(live))


def _live(state: Stored | None, now_us: int) -> dict[str, tuple[int, str]]:
    overrides = {} if state is None else state.overrides
    return {field: override for field, override in overrides.items() if override[0] > now_us}


def _last_us(live: dict[str, tuple[int, str]]) -> int:
    return max((ends_us for ends_us, _ in live.values()), default=0)


def _swept(state: Stored | None, live: dict[str, tuple[int, str]]) -> Stored | None:
    return None if state is None else state._replace(overrides=live)


def _kept(state: Stored | None, live: dict[str, tuple[int, str]], now_us: int, last_us: int) -> Stored:
    before = 0 if state is None else state.version
    return Stored(live, max(now_us, before + 1), max(1, -(-(last_us - now_us) // 1_000)))
