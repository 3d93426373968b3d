"""How an entry lies in Redis: a header of 26 bytes, then the value.

    0   2  "S", 1             the format
    2   8  version            grows with each write of the key
    10  8  written            microseconds of the store's clock
    18  8  fresh until        microseconds of the store's clock; the key's own TTL may be longer, for stale reads

All integers are big-endian. The scripts write it (`lua/includes/header.lua`); it is read here, so that a read is one
GET. A record has the same header as the value of its field "".
"""

from __future__ import annotations

import struct

from sidecar.errors import Reason, StoreError

HEADER = struct.Struct(">2sQQQ")
HEADER_BYTES = HEADER.size
MAGIC = b"S\x01"


Entry = tuple[int, int, int, bytes]
"""An entry as stored: version, written, fresh until, and the value, which is empty for a record's header.

A plain tuple, since one is made with every read.
"""


def decode_entry(stored: bytes | None) -> Entry | None:
    """Read what GET returned; raises `StoreError` (ENTRY_MALFORMED) if no sidecar wrote it."""
    if stored is None:
        return None
    if len(stored) >= HEADER_BYTES:
        magic, version, written_us, fresh_until_us = HEADER.unpack_from(stored)
        if magic == MAGIC:
            return version, written_us, fresh_until_us, stored[HEADER_BYTES:]
    raise StoreError(
        Reason.ENTRY_MALFORMED,
        "what is stored under the key was not written by a sidecar of this format; delete it first",
        field="key",
    )
