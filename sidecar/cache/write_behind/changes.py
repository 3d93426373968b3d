"""Changes as an owner has them: what the store keeps of one, and what the origin is given.

The token of a change is made of the cache, a digest of the name and the change's id, which is its partition's own: two
partitions may give the same.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.entry import decode_entry
from sidecar.cache.origin import Change
from sidecar.cache.packing import unpack
from sidecar.cache.write_behind.format import split_change
from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.crypto.sealing import FieldSealer

_TAKEN = struct.Struct(">IH")
# 64 bits: beside an id, which no other change of the partition has.
_DIGEST_HEX = 16

# The fields under which the value and the origin's key are sealed (`cache/values.py`).
_VALUE, _KEY = "", "key"

UNREADABLE = frozenset({Reason.CIPHERTEXT_REJECTED, Reason.ENTRY_MALFORMED})
"""Why a change cannot be read, now or ever."""


class Taken(NamedTuple):
    """A change that is under way to the origin."""

    partition: int
    id: str
    name: bytes
    attempts: int
    """How often it has failed so far."""
    change: bytes

    @property
    def size(self) -> int:
        """About how many bytes the origin is given."""
        return len(self.name) + len(self.change)


def read_taken(partition: int, change_id: bytes, stored: bytes) -> Taken:
    """Read what the hash of taken changes has under an id."""
    attempts, size = _TAKEN.unpack_from(stored)
    end = _TAKEN.size + size
    return Taken(partition, change_id.decode(), stored[_TAKEN.size : end], attempts, stored[end:])


def born_ms(change_id: str) -> int:
    """Return when the store took a change in, in milliseconds of its clock."""
    return int(change_id.partition("-")[0])


def order_of(change_id: str) -> tuple[int, int]:
    """Return what the ids of a partition are ordered by."""
    milliseconds, _, number = change_id.partition("-")
    return int(milliseconds), int(number)


class Reader:
    """Makes of a stored change what an origin is given."""

    def __init__(self, cache: str, sealer: FieldSealer | None, max_unpacked_bytes: int) -> None:
        self._cache = cache
        self._sealer = sealer
        self._max_unpacked_bytes = max_unpacked_bytes

    async def read(self, name: bytes, change_id: str, change: bytes, call: Call) -> Change:
        """Return a change in the clear; raises those in `UNREADABLE`, and the store's errors.

        CIPHERTEXT_REJECTED also says that the data key is gone.
        """
        key, stored = split_change(change)
        entry = decode_entry(stored or None, self._unpack)
        value = None if entry is None else entry[3]
        if self._sealer is not None:
            sealed = {_KEY: key} if value is None else {_KEY: key, _VALUE: value}
            opened = await self._sealer.open(name, sealed, call)
            if opened is None:
                raise SidecarError(Reason.CIPHERTEXT_REJECTED, "the data key of a change is gone")
            key, value = opened[_KEY], opened.get(_VALUE)
        return Change((key or name).decode(), value, self.token(name, change_id))

    def token(self, name: bytes, change_id: str) -> str:
        """Return the token of a change."""
        return f"{self._cache}:{hashlib.sha256(name).hexdigest()[:_DIGEST_HEX]}:{change_id}"

    def _unpack(self, packed: bytes) -> bytes:
        return unpack(packed, self._max_unpacked_bytes)
