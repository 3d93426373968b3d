"""The checker of the near caches' tests: it finds what is older than it may be, and lets the rest pass."""

from __future__ import annotations

from support.staleness import Change, Read, Record, judge

from sidecar.cache.near.policy import token_of


def record(*reads: Read, of_all: list[Change] | None = None) -> Record:
    """Return a record of two writes, told of at 10 and 20 seconds, and these reads."""
    made = Record(of_all=of_all or [], reads=list(reads))
    made.changes["k"] = [Change(10.0, 100), Change(20.0, 200)]
    return made


def read(begun_at: float, version: int, *, bound: float = 1.0, token: str = "") -> Read:
    """Return a read of the key that was written."""
    return Read("k", begun_at, version, bound, token, copied=True)


def test_what_is_new_enough_passes() -> None:
    """The newest, one that was written and not yet told of, and an older one within the bound."""
    verdict = judge(record(read(25.0, 200), read(15.0, 200), read(20.9, 100)))

    assert [] == verdict.wrong
    assert 1 == verdict.late
    assert 0.89 < verdict.most_behind < 0.91


def test_what_is_behind_by_more_than_the_bound_is_found() -> None:
    """Whether the bound is long or none."""
    late, at_once = read(21.1, 100), read(20.1, 100, bound=0.0)

    assert [late, at_once] == judge(record(late, at_once)).wrong


def test_what_is_older_than_its_token_is_found() -> None:
    """However short the time."""
    old = read(20.0, 199, token=token_of(200))

    assert [old] == judge(record(old, read(20.0, 200, token=token_of(200)))).wrong


def test_what_was_put_out_of_date_with_all_else_is_found() -> None:
    """A change of the whole cache is one of each key; an entry that is newer than it is none of its business."""
    gone, newer = read(32.0, 200), read(32.0, 300)

    assert [gone] == judge(record(gone, newer, of_all=[Change(30.0, 300)])).wrong
