"""Changes that an origin will not make: what there is, trying again, and forgetting.

They lie in the partition that they were in: one script ends that a change is pending, and makes it a dead letter.
A dead letter's id is its partition, a dot, and its id in that partition's stream.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.origin import Change
from sidecar.cache.write_behind.changes import UNREADABLE, born_ms
from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.store import commands
from sidecar.store.base import ScriptCall
from sidecar.store.keys import BEHIND_PARTITIONS
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.write_behind.changes import Reader
    from sidecar.call import Call
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace

_REPLAY, _DISCARD = load("replay_dead"), load("discard_dead")

_ID = re.compile(r"([0-9]{1,2})\.([0-9]{1,15}-[0-9]{1,15})")
# Of one script; with values of a megabyte each is some milliseconds of work.
_TOGETHER = 20

_REPLAYED, _NEWER_STORED, _NEWER_PENDING = 1, 2, 3


class DeadLetter(NamedTuple):
    """A change that was not made."""

    id: str
    key: str
    """Empty if it cannot be opened."""
    value: bytes | None
    """None for one that removes the key, and for one that cannot be opened."""
    token: str
    reason: str
    attempts: int
    written_ms: int
    """When the change was acknowledged, by the store's clock."""
    died_ms: int


class Page(NamedTuple):
    """Some dead letters, and the id to go on after; empty after the last."""

    letters: list[DeadLetter]
    next: str


class Replayed(NamedTuple):
    """What came of a replay."""

    replayed: int = 0
    newer_stored: tuple[str, ...] = ()
    """The ids of those that were left, since a newer change of their key was stored."""
    newer_pending: tuple[str, ...] = ()
    """The ids of those that were left, since a newer change of their key is pending."""
    unknown: tuple[str, ...] = ()


class DeadLetters:
    """The dead letters of one cache."""

    def __init__(self, cache: str, store: Store, keys: KeySpace, reader: Reader) -> None:
        self._keys = keys.behind(cache)
        self._store = store
        self._reader = reader

    async def page(self, after: str, most: int, most_bytes: int, call: Call) -> Page:
        """Return up to `most` of them, in the clear, that follow an id; raises DEAD_LETTER_MALFORMED.

        A page ends before its values add up to more than `most_bytes`, but has at least one.
        """
        number, position = _parse(after, "page_token") if after else (0, "")
        letters: list[DeadLetter] = []
        size = 0
        while number < BEHIND_PARTITIONS:
            begin = f"({position}" if position else "-"
            # One by one: a value may be as long as a whole page.
            found = await self._store.call(commands.stream_entries(self._keys[number].dead, begin, 1), call)
            if not found:
                number, position = number + 1, ""
                continue
            ((entry_id, fields),) = found
            letter = await self._read(number, entry_id, _pairs(fields), call)
            size += len(letter.value or b"")
            if letters and (len(letters) == most or size > most_bytes):
                return Page(letters, letters[-1].id)
            letters.append(letter)
            position = entry_id.decode()
        return Page(letters, "")

    async def replay(self, ids: Sequence[str], call: Call, *, forced: bool) -> Replayed:
        """Make dead letters pending again; see `scripts/replay_dead`. With no ids all of them."""
        answers: dict[str, int] = {}
        for number, part in await self._parts(ids, call):
            keys = self._keys[number]
            script_keys = (keys.dead, keys.names, keys.stream, keys.pending, keys.taken)
            # Not repeatable: a copy that comes late would replay what has died again since.
            replies = await self._store.run(ScriptCall(_REPLAY, script_keys, (int(forced), *part), False), call)
            answers |= {f"{number}.{entry_id}": reply for entry_id, reply in zip(part, replies, strict=True)}

        def those(wanted: int) -> tuple[str, ...]:
            return tuple(letter for letter, answer in answers.items() if answer == wanted)

        return Replayed(len(those(_REPLAYED)), those(_NEWER_STORED), those(_NEWER_PENDING), those(0))

    async def discard(self, ids: Sequence[str], call: Call) -> int:
        """Forget dead letters, with no ids all of them; return how many there were."""
        number_of = 0
        for number, part in await self._parts(ids, call):
            keys = self._keys[number]
            number_of += await self._store.run(ScriptCall(_DISCARD, (keys.dead, keys.names), tuple(part), True), call)
        return number_of

    async def _parts(self, ids: Sequence[str], call: Call) -> list[tuple[int, list[str]]]:
        """Return ids by their partitions, at most so many together; those of all dead letters if there are none."""
        by_partition: dict[int, list[str]] = {}
        if ids:
            for place, letter in enumerate(dict.fromkeys(ids)):
                number, entry_id = _parse(letter, f"ids[{place}]")
                by_partition.setdefault(number, []).append(entry_id)
        else:
            for number, keys in enumerate(self._keys):
                by_partition[number] = await self._all_of(keys.dead, call)
        return [
            (number, part[start : start + _TOGETHER])
            for number, part in by_partition.items()
            for start in range(0, len(part), _TOGETHER)
        ]

    async def _all_of(self, key: bytes, call: Call) -> list[str]:
        ids: list[str] = []
        begin = "-"
        while True:
            found = await self._store.call(commands.stream_entries(key, begin, _TOGETHER), call)
            ids += [entry_id.decode() for entry_id, _ in found]
            if len(found) < _TOGETHER:
                return ids
            begin = f"({ids[-1]}"

    async def _read(self, number: int, entry_id: bytes, fields: dict[bytes, bytes], call: Call) -> DeadLetter:
        change_id = fields[b"i"].decode()
        reason = fields[b"r"].decode()
        try:
            change = await self._reader.read(fields[b"n"], change_id, fields[b"c"], call)
        except SidecarError as error:
            if error.reason not in UNREADABLE:
                raise
            # It is to be seen, and to be discarded, all the same.
            change = Change("", None, self._reader.token(fields[b"n"], change_id))
        died = entry_id.decode()
        return DeadLetter(
            id=f"{number}.{died}",
            key=change.key,
            value=change.value,
            token=change.token,
            reason=reason,
            attempts=int(fields[b"a"]),
            written_ms=born_ms(change_id),
            died_ms=born_ms(died),
        )


def _parse(letter: str, field: str) -> tuple[int, str]:
    matched = _ID.fullmatch(letter)
    if matched is None or int(matched[1]) >= BEHIND_PARTITIONS:
        raise InvalidArgumentError(Reason.DEAD_LETTER_MALFORMED, "that is the id of no dead letter", field=field)
    return int(matched[1]), matched[2]


def _pairs(words: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(words[::2], words[1::2], strict=True))
