"""Values that are stored compressed, where that makes them smaller.

Zstandard (RFC 8878) by the `zstandard` package, which is loaded with the first value that needs it. What is stored is
one frame that says how long its content is; an entry says in its header whether its value is such a frame (see
`entry`), so a policy may change at any time, and entries of both kinds lie side by side.

What lies in the store may have been put there by anybody who can write to it: a frame of a few bytes can claim to hold
terabytes. So the length is read first, and bounded by what a value may have at all; the library then makes room for so
much and no more, and takes no frame for good that would need more.

Compressing takes some 300 MB a second of the event loop's time: 10 us for 4 KiB, 1.3 ms for 1 MiB; reading is three
times as fast. Not sealed values (they do not become smaller, and what was compressed before it is sealed shows by its
length what it holds: docs/adr/0027-compression-and-bounds.md), nor raw ones (others read them), nor records (their
fields are read one by one, and scripts count their bytes).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.cache.entry import malformed

if TYPE_CHECKING:
    from sidecar.store.plans import Room

# Of JSON, level 3, the library's default, stores 8 % more than level 1 and takes 1.8 times as long; level 6 stores the
# same and takes six times as long (zstandard 0.25, documents of 1 MiB).
_LEVEL = 1


class Stored(NamedTuple):
    """A value as it is stored."""

    content: bytes
    packed: bool = False
    """Whether it is compressed."""


class Packer:
    """Compresses the values of one cache."""

    def __init__(self, above_bytes: int) -> None:
        self._above_bytes = above_bytes
        self._compress = _library().ZstdCompressor(level=_LEVEL, write_content_size=True).compress

    def packed(self, value: bytes) -> Stored:
        """Return a value as it is to be stored: compressed, if it is long enough and becomes smaller."""
        if len(value) <= self._above_bytes:
            return Stored(value)
        content: bytes = self._compress(value)
        return Stored(content, packed=True) if len(content) < len(value) else Stored(value)


def unpack(packed: bytes, most_bytes: int) -> bytes:
    """Return what a value was before it was compressed; raises ENTRY_MALFORMED if it is none, or above `most_bytes`."""
    return _content_of(packed, unpacked_size(packed, most_bytes))


def unpack_within(packed: bytes, most_bytes: int, room: Room) -> bytes:
    """Do the same for an answer of which so much is left; raises ANSWER_TOO_LARGE before anything is made."""
    size = unpacked_size(packed, most_bytes)
    room.take(size - len(packed))
    return _content_of(packed, size)


def unpacked_size(packed: bytes, most_bytes: int) -> int:
    """Return how long a value was before it was compressed; raises ENTRY_MALFORMED, and if that is above the most."""
    library = _library()
    try:
        size: int = library.get_frame_parameters(packed).content_size
    except library.ZstdError:
        raise malformed("is no compressed value") from None
    # Of a frame that does not say how long it is, the size is the largest number that there is.
    if size > most_bytes:
        raise malformed(f"has more than {most_bytes} bytes (limits.max_value_bytes)")
    return size


def _content_of(packed: bytes, size: int) -> bytes:
    library = _library()
    try:
        content: bytes = library.ZstdDecompressor().decompress(packed, max_output_size=size, allow_extra_data=False)
    except library.ZstdError:
        raise malformed("is no compressed value") from None
    return content


@cache
def _library() -> Any:
    # Loaded by those alone who have such values: it takes 3 MB.
    import zstandard  # noqa: PLC0415

    return zstandard
