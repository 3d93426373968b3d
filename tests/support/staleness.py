"""Was anything read that was older than it may be? A record of what was written and read, and the verdict.

Versions are times of the store's one clock, so they say in which order it has made the changes of a key, whoever made
them. All moments are of one monotonic clock. A change that was acknowledged at `a` must be known to whoever begins to
read at `a + bound`: it is an error to read an entry of an older version then. What is read with the token of a write is
never older than that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.cache.near.policy import moment_of


class Change(NamedTuple):
    """A write, or what has put entries out of date, as somebody was told of it."""

    told_at: float
    version: int
    """Entries of older versions are of the past."""


class Read(NamedTuple):
    """An entry that was found."""

    key: str
    begun_at: float
    version: int
    bound: float
    """Seconds for which the answer may be behind."""
    token: str
    copied: bool


@dataclass
class Record:
    """All that has happened to one cache."""

    changes: dict[str, list[Change]] = field(default_factory=lambda: defaultdict(list))
    of_all: list[Change] = field(default_factory=list)
    """Changes that concern every key."""
    reads: list[Read] = field(default_factory=list)


@dataclass
class Verdict:
    """What a record says."""

    reads: int = 0
    copies: int = 0
    """How many of the reads were answered by copies."""
    late: int = 0
    """How many did not know of a change that had been acknowledged, as they may."""
    most_behind: float = 0.0
    """By how much at the most, in seconds."""
    wrong: list[Read] = field(default_factory=list)
    """What was older than it may be."""


def judge(record: Record) -> Verdict:
    """Say of each read whether it was old, and whether it may be."""
    verdict = Verdict(len(record.reads), sum(read.copied for read in record.reads))
    for key, reads in _by_key(record).items():
        changes = sorted([*record.changes[key], *record.of_all])
        times = [change.told_at for change in changes]
        # newest[n]: the newest version among the first n changes that were told of.
        newest = [0]
        for change in changes:
            newest.append(max(newest[-1], change.version))
        for read in reads:
            known = newest[bisect_left(times, read.begun_at)]
            if read.version < known:
                missed = next(change.told_at for change in changes if change.version > read.version)
                verdict.late += 1
                verdict.most_behind = max(verdict.most_behind, read.begun_at - missed)
            if read.version < newest[bisect_left(times, read.begun_at - read.bound)] or read.version < moment_of(
                read.token
            ):
                verdict.wrong.append(read)
    return verdict


def _by_key(record: Record) -> dict[str, list[Read]]:
    reads: dict[str, list[Read]] = defaultdict(list)
    for read in record.reads:
        reads[read.key].append(read)
    return reads
