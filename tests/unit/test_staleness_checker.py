"""The checker of stale reads finds each kind of them, and nothing else."""

from __future__ import annotations

import pytest
from support.staleness import Change, Read, Record, judge

from sidecar.cache.near.policy import token_of


def read(begun_at: float, version: int, *, bound: float = 0.25, beside: int = 0, token: str = "") -> Read:
    """Return a read that took a tenth of a second."""
    return Read("k", begun_at, begun_at + 0.1, version, bound, beside, token)


def record(*reads: Read, of_all: bool = False) -> Record:
    """Return a record of reads, and of a change to version 7 that sidecar 1 told of when a second had passed."""
    made = Record(reads=list(reads))
    change = Change(1.0, 7, beside=1)
    if of_all:
        made.of_all.append(change)
    else:
        made.changes["k"].append(change)
    return made


@pytest.mark.parametrize("of_all", [False, True], ids=["key", "all"])
@pytest.mark.parametrize(
    ("found", "wrong", "late"),
    [
        (read(0.9, 6), 0, 0),
        (read(1.2, 6), 0, 1),
        (read(1.3, 6), 1, 1),
        (read(1.3, 7), 0, 0),
        (read(1.01, 6, bound=0.0), 1, 1),
        (read(1.01, 6, beside=1), 1, 1),
        (read(0.9, 6, token=token_of(7)), 1, 0),
        (read(0.9, 7, token=token_of(7)), 0, 0),
    ],
    ids=["before", "within", "after", "new", "strong", "same sidecar", "token", "token kept"],
)
def test_a_read_after_a_change(found: Read, wrong: int, late: int, *, of_all: bool) -> None:
    """It is wrong if it is older than its bound, its sidecar or its token allow; late if a change was known of."""
    verdict = judge(record(found, of_all=of_all))
    assert (wrong, late) == (len(verdict.wrong), verdict.late)


def test_what_was_seen_may_not_be_unseen() -> None:
    """Though nobody was told of its write, it is older than nothing that was answered the bound before."""
    seen, within, after = read(2.0, 9), read(2.2, 8), read(2.4, 8)
    assert [after] == judge(record(seen, within, after)).wrong


def test_other_keys_are_other_matters() -> None:
    """A change says nothing of a key that it does not concern."""
    assert [] == judge(record(read(2.0, 6)._replace(key="other"))).wrong


def test_by_how_much_a_read_was_behind() -> None:
    """Counted from the first change that it did not know of."""
    made = record(read(1.2, 6))
    made.changes["k"].append(Change(1.1, 8))
    assert 0.2 == pytest.approx(judge(made).most_behind)
