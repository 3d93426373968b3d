"""Was anything read that was older than it may be? A record of what was written and read, and the verdict.

Versions say in which order the changes of a key were made, whoever made them: times of the store's one clock, or
numbers that an origin counts up. All moments are of one monotonic clock. It is an error to read an older version than

- one that was acknowledged, to anybody, at least the reader's bound before the read began;
- one that was acknowledged by the very sidecar that is asked, however short a while before;
- one that an answer held at least the bound before: what was seen is in the store, whether its writer was told or not;
- that of the write whose token the reader shows.

A write whose fate nobody was told is no change here until somebody has seen it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.near.policy import moment_of

if TYPE_CHECKING:
    from collections.abc import Iterable

NOBODY = -1


class Change(NamedTuple):
    """A write, or what has put entries out of date, as somebody was told of it."""

    told_at: float
    version: int
    """Entries of older versions are of the past."""
    beside: int = NOBODY
    """The number of the sidecar that has told of it."""


class Read(NamedTuple):
    """An entry that was found."""

    key: str
    begun_at: float
    ended_at: float
    version: int
    bound: float
    """Seconds for which the answer may be behind."""
    beside: int
    """The number of the sidecar that was asked."""
    token: str = ""
    copied: bool = False


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


class _Newest:
    """The newest of all versions that were told of by a moment."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._times: list[float] = []
        self._versions: list[int] = []
        for change in sorted(changes):
            # One that says nothing new is left out, so versions rise.
            if not self._versions or change.version > self._versions[-1]:
                self._times.append(change.told_at)
                self._versions.append(change.version)

    def before(self, moment: float) -> int:
        """Return the newest version that was told of before a moment, 0 for none."""
        place = bisect_left(self._times, moment)
        return self._versions[place - 1] if place else 0

    def first_newer(self, version: int) -> float:
        """Return when a newer version than this was first told of; there is one."""
        return self._times[bisect_right(self._versions, version)]


def judge(record: Record) -> Verdict:
    """Say of each read whether it was old, and whether it may be."""
    verdict = Verdict(len(record.reads), sum(read.copied for read in record.reads))
    for key, reads in _by_key(record).items():
        changes = [*record.changes[key], *record.of_all]
        told = _Newest(changes)
        known = _Newest([*changes, *(Change(read.ended_at, read.version) for read in reads)])
        beside = {
            number: _Newest(change for change in changes if change.beside == number)
            for number in {read.beside for read in reads}
        }
        for read in reads:
            if read.version < told.before(read.begun_at):
                verdict.late += 1
                verdict.most_behind = max(verdict.most_behind, read.begun_at - told.first_newer(read.version))
            needed = max(
                known.before(read.begun_at - read.bound),
                beside[read.beside].before(read.begun_at),
                moment_of(read.token),
            )
            if read.version < needed:
                verdict.wrong.append(read)
    return verdict


def _by_key(record: Record) -> dict[str, list[Read]]:
    reads: dict[str, list[Read]] = defaultdict(list)
    for read in record.reads:
        reads[read.key].append(read)
    return reads
