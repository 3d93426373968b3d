"""Header blocks in (HPACK, RFC 7541): the `hpack` library, behind a memory of what it said before.

Problem. Decoding the nine fields of a call in pure Python costs as much as everything else that the server does for it,
and a client sends the same fields with each call.

Algorithm. The server tells its clients that its dynamic table holds nothing (SETTINGS_HEADER_TABLE_SIZE = 0). Once a
client has heeded that, a block means the same whatever was sent before: each field's bytes stand for themselves. So a
block is split into its fields' representations (RFC 7541, section 6), each is looked up by its bytes, and only one
that was never seen is decoded, its Huffman code by the library.

Beyond that a whole block is remembered as one, and since clients write their deadlines to the microsecond, so is a
block without its `grpc-timeout`: by what stands before it and what stands behind it. A block in which the name of that
field is found between two such parts is read by looking up the two and decoding the one value. That is sound although
the name is merely searched for: the part before it was split once, so it is a whole number of fields, and what follows
it is a field here as it was there.

Where it ends. Until the client has set its table to nothing (the few calls that it sends before it has our settings),
and for whatever the splitting does not expect (an index beyond the static table, a change of the table's size, a
length above two continuation bytes, a block that ends too soon), the library decodes the block from its start; nothing
has been changed by then. So the outcome is always the library's, and a property test holds the two together.

Bounds. Both memories are shared by all connections and forget in generations: when the younger is full it becomes the
older, whose entries are lost unless they are asked for again. What a client marks as never to be indexed (section
7.1.3), what is long, and deadlines, which differ with each call, are not remembered.

Rejected: keeping the dynamic table. Clients index `grpc-timeout` too, whose value is new with each call; that shifts
every index, so no block ever comes twice. And a table is memory that strangers fill.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from hpack import Decoder, HPACKError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from sidecar.server.h2.faults import ConnectionFault
from sidecar.server.h2.fields import TIMEOUT, Field
from sidecar.server.h2.frames import COMPRESSION_ERROR
from sidecar.server.h2.head import Head, read_head

# Twice the list that is advertised (`connection.py`): one that is a little too long can still be refused politely.
_MAX_LIST_BYTES: Final = 65_536
_REMEMBERED_BYTES: Final = 256
_REMEMBERED_BLOCK_BYTES: Final = 2048
_FIELDS_A_GENERATION: Final = 4096
_BLOCKS_A_GENERATION: Final = 1024

# The first byte of a representation (RFC 7541, section 6): its highest bit that is set says which it is.
_INDEXED: Final = 0x80
_WITH_INDEXING: Final = 0x40
_TABLE_SIZE: Final = 0x20
_SENSITIVE: Final = 0x10
# The bits of a first byte that hold a number; all of them set say that it goes on (section 5.1).
_LOW_4: Final = 0x0F
_LOW_6: Final = 0x3F
_LOW_7: Final = 0x7F
_MORE: Final = 0x80
_LAST_SHIFT: Final = 7
_HUFFMAN: Final = 0x80

_STATIC_LAST: Final = len(HeaderTable.STATIC_TABLE)
# The static table's fields by the byte that stands for each.
_BY_INDEX: Final[list[Field | None]] = [None] * 256
for _number, (_name, _value) in enumerate(HeaderTable.STATIC_TABLE, 1):
    _BY_INDEX[_INDEXED | _number] = Field(_name, _value)

# The name of the field with the deadline as a literal of either kind, with and without Huffman code.
_TIMEOUT_NAMES: Final = tuple(
    kind + length + name
    for length, name in (
        (b"\x89", HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(b"grpc-timeout")),
        (b"\x0c", b"grpc-timeout"),
    )
    for kind in (b"\x00", b"\x40")
)

K = TypeVar("K")
T = TypeVar("T")


class Memory(Generic[K, T]):
    """Two generations of what was decoded, by its bytes."""

    __slots__ = ("_most", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[K, T] = {}
        self._old: dict[K, T] = {}

    def get(self, key: K) -> T | None:
        """Return what is remembered, or None."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: T) -> None:
        """Remember."""
        if len(self._young) >= self._most:
            self._old = self._young
            self._young = {}
        self._young[key] = value


class HeaderMemory:
    """What all connections of an engine share."""

    __slots__ = ("around_timeout", "blocks", "fields")

    def __init__(self) -> None:
        self.fields: Memory[bytes, Field] = Memory(_FIELDS_A_GENERATION)
        self.blocks: Memory[bytes, Head] = Memory(_BLOCKS_A_GENERATION)
        self.around_timeout: Memory[tuple[bytes, bytes], Head] = Memory(_BLOCKS_A_GENERATION)
        """Heads without their deadline, by what stands before and behind it in the block."""


class HeaderDecoder:
    """The decoding side of one connection."""

    def __init__(self, memory: HeaderMemory) -> None:
        self._memory = memory
        self._library = Decoder(max_header_list_size=_MAX_LIST_BYTES)
        self._stateless = False
        # Of the block that was split last.
        self._all_known = False
        self._only_timeout_is_new = False
        self._timeout_at = 0
        self._timeout_end = 0

    def forbid_table(self) -> None:
        """Hold the client to an empty table, now that it has acknowledged our settings.

        Its next block has to say that it does (RFC 9113, section 4.3.1), which, as the same section warns, not every
        client knows. A table without entries is empty whether that is said or not, so one that has put nothing there
        may be silent: whatever it puts there from now on is lost (RFC 7541, section 4.4).
        """
        library = self._library
        library.max_allowed_table_size = 0
        if not library.header_table.dynamic_entries:
            library.header_table_size = 0
            self._stateless = True

    def decode(self, block: bytes) -> Head:
        """Return the head that a whole block stands for; raises `ConnectionFault` (COMPRESSION_ERROR)."""
        if not self._stateless:
            return read_head(self._by_library(block))
        head = self._memory.blocks.get(block) or self._around_timeout(block)
        if head is not None:
            return head
        split = self.split(block)
        if split is None:
            return read_head(self._by_library(block))
        head = read_head(split)
        if len(block) > _REMEMBERED_BLOCK_BYTES:
            return head
        if self._all_known:
            self._memory.blocks.put(block, head)
        elif self._only_timeout_is_new and not head.malformed:
            around = block[: self._timeout_at], block[self._timeout_end :]
            self._memory.around_timeout.put(around, read_head([field for field in split if field.kind != TIMEOUT]))
        return head

    def _around_timeout(self, block: bytes) -> Head | None:
        """Return the head of a block that differs from one seen before in its deadline alone, else None."""
        for name in _TIMEOUT_NAMES:
            at = block.find(name)
            if at >= 0:
                value_at = at + len(name)
                end = _string_end(block, value_at, len(block))
                if end < 0:
                    return None
                head = self._memory.around_timeout.get((block[:at], block[end:]))
                value = _string(block, value_at, end) if head is not None else None
                if head is None or value is None:
                    return None
                return head.with_timeout(Field(b"grpc-timeout", value))
        return None

    def _by_library(self, block: bytes) -> list[Field]:
        try:
            decoded = self._library.decode(block, raw=True)
        # The library lets slip an IndexError where a block ends within a string's length.
        except (HPACKError, IndexError) as error:
            # The library's own words quote the block, and with it whatever secret is in there.
            raise ConnectionFault(COMPRESSION_ERROR, f"a broken header block ({type(error).__name__})") from None
        self._stateless = self._library.header_table_size == 0
        return [Field(bytes(name), bytes(value)) for name, value in decoded]

    def split(self, block: bytes) -> list[Field] | None:
        """Return the fields of a block that needs no table, or None where the library must decide."""
        found: list[Field] = []
        memory = self._memory.fields
        self._all_known = True
        new_fields = 0
        timeouts = 0
        position = 0
        end = len(block)
        size = 0
        while position < end:
            first = block[position]
            if first >= _INDEXED:
                field = _BY_INDEX[first]
                position += 1
            else:
                stop = _literal_end(block, position, end)
                if stop < 0:
                    return None
                representation = block[position:stop]
                field = memory.get(representation)
                if field is None:
                    field = self._new_field(representation)
                    new_fields += 1
                    if field is not None and field.kind == TIMEOUT:
                        timeouts += 1
                        self._timeout_at = position
                        self._timeout_end = stop
                position = stop
            if field is None:
                return None
            found.append(field)
            size += field.size
        self._only_timeout_is_new = new_fields == timeouts == 1
        return found if size <= _MAX_LIST_BYTES else None

    def _new_field(self, literal: bytes) -> Field | None:
        """Return what a literal that is not remembered says, None if its Huffman code is broken; remember it."""
        self._all_known = False
        first = literal[0]
        position = 1
        name_index = first & _LOW_6 if first >= _WITH_INDEXING else first & _LOW_4
        if name_index == _LOW_4 and first < _WITH_INDEXING:
            name_index += literal[1]
            position = 2
        if name_index:
            name: bytes | None = HeaderTable.STATIC_TABLE[name_index - 1][0]
        else:
            value_at = _string_end(literal, position, len(literal))
            name = _string(literal, position, value_at)
            position = value_at
        value = _string(literal, position, len(literal))
        if name is None or value is None:
            return None
        field = Field(name, value)
        if len(literal) <= _REMEMBERED_BYTES and field.kind != TIMEOUT and not _is_sensitive(first):
            self._memory.fields.put(literal, field)
        return field


def _is_sensitive(first: int) -> bool:
    """Return whether a literal is never to be indexed (section 6.2.3)."""
    return first < _TABLE_SIZE and first & _SENSITIVE != 0


def _literal_end(block: bytes, position: int, end: int) -> int:
    """Return where the literal that begins at `position` ends, -1 where the library must decide."""
    first = block[position]
    position += 1
    if first >= _WITH_INDEXING:  # in a table of no size it leaves nothing behind (RFC 7541, section 4.4)
        name_index = first & _LOW_6
    elif first >= _TABLE_SIZE:
        return -1
    else:
        name_index = first & _LOW_4
        if name_index == _LOW_4:
            if position >= end:
                return -1
            name_index += block[position]
            position += 1
    if name_index > _STATIC_LAST:
        return -1
    if name_index == 0:
        position = _string_end(block, position, end)
        if position < 0:
            return -1
    return _string_end(block, position, end)


def _string_end(block: bytes, position: int, end: int) -> int:
    """Return where the string that begins at `position` ends (section 5.2), -1 if that cannot be told here."""
    if position >= end:
        return -1
    length = block[position] & _LOW_7
    position += 1
    if length == _LOW_7:  # continuation bytes of seven bits each (section 5.1); two of them reach past any list's bound
        shift = 0
        more = _MORE
        while more >= _MORE:
            if position >= end or shift > _LAST_SHIFT:
                return -1
            more = block[position]
            length += (more & _LOW_7) << shift
            position += 1
            shift += 7
    position += length
    return position if position <= end else -1


def _string(block: bytes, start: int, end: int) -> bytes | None:
    """Return the text of the string that lies from `start` to `end`, None if its Huffman code is broken."""
    first = block[start]
    start += 1
    if first & _LOW_7 == _LOW_7:
        while block[start] >= _MORE:
            start += 1
        start += 1
    raw = block[start:end]
    if first < _HUFFMAN:
        return raw
    try:
        return bytes(decode_huffman(raw))
    except HPACKError:
        return None
