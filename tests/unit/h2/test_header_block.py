"""Header blocks in: whatever the memory is asked, it says what the library says."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder, HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hpack_blocks import ANY_BLOCKS, FIELD_LISTS, STATELESS_BLOCKS

from sidecar.server.h2.faults import ConnectionFault
from sidecar.server.h2.fields import Field
from sidecar.server.h2.frames import COMPRESSION_ERROR
from sidecar.server.h2.head import Head, read_head
from sidecar.server.h2.header_block import HeaderDecoder, HeaderMemory, Memory

# What a client sends once it has read our settings: its table has no size (RFC 7541, section 6.3).
NO_TABLE = b"\x20"
PARTS = (
    "path", "malformed", "malformed_as_trailers", "is_post", "is_grpc", "timeout", "encoding", "accepts_gzip",
    "content_length", "size", "metadata",
)  # fmt: skip


def stateless_decoder(memory: HeaderMemory) -> HeaderDecoder:
    """Return a decoder whose client has given up its table."""
    decoder = HeaderDecoder(memory)
    decoder.forbid_table()
    decoder.decode(NO_TABLE)
    return decoder


def stateless_library() -> Decoder:
    """Return the library's decoder in the same state."""
    library = Decoder()
    library.max_allowed_table_size = 0
    library.decode(NO_TABLE)
    return library


def parts(head: Head) -> tuple[object, ...]:
    """Return all that a head says."""
    return tuple(getattr(head, name) for name in PARTS)


def by_library(library: Decoder, block: bytes) -> tuple[object, ...] | None:
    """Return what a block says by the library alone, None if it is broken."""
    try:
        decoded = library.decode(block, raw=True)
    except (HPACKError, IndexError):
        return None
    return parts(read_head([Field(bytes(name), bytes(value)) for name, value in decoded]))


def by_decoder(decoder: HeaderDecoder, block: bytes) -> tuple[object, ...] | None:
    """Return what a block says behind the memory, None if it is broken."""
    try:
        return parts(decoder.decode(block))
    except ConnectionFault as fault:
        return None if fault.code == COMPRESSION_ERROR else ("another fault", fault.code)


@settings(max_examples=1000)
@given(blocks=st.lists(ANY_BLOCKS, min_size=1, max_size=4))
def test_a_block_means_what_the_library_says(blocks: list[bytes]) -> None:
    """Asked for the first time, and asked again of other connections that share the memory."""
    memory = HeaderMemory()
    for _ in range(3):
        decoder = stateless_decoder(memory)
        for block in blocks:
            expected = by_library(stateless_library(), block)
            assert expected == by_decoder(decoder, block)
            if expected is None:
                break  # the connection would be over


@settings(max_examples=500)
@given(lists=st.lists(FIELD_LISTS, max_size=6), huffman=st.booleans(), given_up_at=st.integers(0, 6))
def test_a_connection_means_what_the_library_says(
    lists: list[list[tuple[bytes, bytes]]],
    huffman: bool,  # noqa: FBT001 (hypothesis names it)
    given_up_at: int,
) -> None:
    """From the first block, with a table, through the giving up of it, to the last."""
    encoder, library, decoder = Encoder(), Decoder(), HeaderDecoder(HeaderMemory())
    for number, fields in enumerate(lists):
        if number == given_up_at:
            decoder.forbid_table()
            library.max_allowed_table_size = 0
            encoder.header_table_size = 0
        block = encoder.encode(fields, huffman=huffman)
        assert by_library(library, block) == by_decoder(decoder, block)


TIMEOUTS = st.one_of(
    st.sampled_from([b"1S", b"20000000u", b"99999999H", b"", b"S", b"123456789m", b"-1S", b"1s", b" 1S", b"1\n"]),
    st.integers(0, 10**8 - 1).map(lambda value: b"%du" % value),
    st.binary(max_size=6),
)


def stateless(fields: list[tuple[bytes, bytes]], *, huffman: bool) -> bytes:
    """Return a block of a client without a table."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields, huffman=huffman)[1:]


@settings(max_examples=300)
@given(
    before=FIELD_LISTS, after=FIELD_LISTS, timeouts=st.lists(TIMEOUTS, min_size=2, max_size=6), huffman=st.booleans()
)
def test_blocks_that_differ_in_their_deadline_alone(
    before: list[tuple[bytes, bytes]],
    after: list[tuple[bytes, bytes]],
    timeouts: list[bytes],
    huffman: bool,  # noqa: FBT001 (hypothesis names it)
) -> None:
    """Each has its own, whatever was remembered of the one before, and whatever else the block holds."""
    memory = HeaderMemory()
    for timeout in timeouts * 2:
        block = stateless([*before, (b"grpc-timeout", timeout), *after], huffman=huffman)
        assert by_library(stateless_library(), block) == by_decoder(stateless_decoder(memory), block)


@given(around=st.lists(st.booleans(), min_size=1, max_size=3), cut=st.integers(0, 40))
def test_the_name_of_the_deadline_within_another_value(around: list[bool], cut: int) -> None:
    """It is searched for, and may be found where it is no name: also then nothing is misread."""
    memory = HeaderMemory()
    literal = stateless([(b"grpc-timeout", b"1S")], huffman=False)
    hidden = (b"x", literal + b"y" * cut)
    for with_timeout in [*around, *around, True, True]:
        fields = [hidden, (b"grpc-timeout", b"2S"), hidden] if with_timeout else [hidden, hidden]
        block = stateless(fields, huffman=False)
        assert by_library(stateless_library(), block) == by_decoder(stateless_decoder(memory), block)


@given(block=STATELESS_BLOCKS)
def test_most_blocks_need_no_library(block: bytes) -> None:
    """A well-formed block without a table is split here."""
    assert stateless_decoder(HeaderMemory()).split(block) is not None


@pytest.mark.parametrize("size", [126, 127, 128, 254, 255, 16_508, 16_509, 16_510, 16_511, 40_000, 70_000])
@pytest.mark.parametrize("huffman", [True, False])
def test_lengths_are_read_as_the_library_reads_them(size: int, huffman: bool) -> None:  # noqa: FBT001 (a parameter)
    """Around those at which one more byte says them (RFC 7541, section 5.1), and beyond what is read here."""
    encoder = Encoder()
    encoder.header_table_size = 0
    block = encoder.encode([(b"x", b"a" * size)], huffman=huffman)[1:]
    assert by_library(stateless_library(), block) == by_decoder(stateless_decoder(HeaderMemory()), block)


class TestTable:
    """The client's dynamic table."""

    def test_a_client_may_use_it_before_it_has_our_settings(self) -> None:
        """As every client's first call may."""
        encoder, decoder = Encoder(), HeaderDecoder(HeaderMemory())
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b"x", b"y")]
        decoder.decode(encoder.encode(fields))
        assert b"/a" == decoder.decode(encoder.encode(fields)).path

    FIELDS = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b"x", b"y"))

    def test_one_that_keeps_it_after_acknowledging_them_is_refused(self) -> None:
        """RFC 9113, section 4.3.1: the change must be said at the beginning of the next block."""
        encoder, decoder = Encoder(), HeaderDecoder(HeaderMemory())
        decoder.decode(encoder.encode(self.FIELDS))
        decoder.forbid_table()
        with pytest.raises(ConnectionFault) as caught:
            decoder.decode(b"\x83")
        assert COMPRESSION_ERROR == caught.value.code

    def test_one_that_never_used_it_need_not_say_that_it_gives_it_up(self) -> None:
        """A table without entries is empty whether that is said or not."""
        decoder = HeaderDecoder(HeaderMemory())
        decoder.forbid_table()
        assert b"/a" == decoder.decode(Encoder().encode(self.FIELDS)).path

    def test_one_that_did_not_say_so_must_give_it_up_all_the_same(self) -> None:
        """There is nothing in it to refer to."""
        encoder, decoder = Encoder(), HeaderDecoder(HeaderMemory())
        decoder.forbid_table()
        decoder.decode(encoder.encode(self.FIELDS))
        with pytest.raises(ConnectionFault):
            decoder.decode(encoder.encode(self.FIELDS))

    def test_one_that_takes_it_up_again_is_refused(self) -> None:
        """It was told that there is none."""
        with pytest.raises(ConnectionFault):
            stateless_decoder(HeaderMemory()).decode(b"\x3f\x01\x83")


class TestRemembering:
    """What is kept, and what is not."""

    # The header `x: y`, as a literal without indexing, and one that is never to be indexed.
    PLAIN, SENSITIVE = b"\x00\x01x\x01y", b"\x10\x01x\x01y"

    def test_a_field_is_decoded_once(self) -> None:
        """The second time the very same object comes back."""
        decoder = stateless_decoder(HeaderMemory())
        first, second = decoder.split(self.PLAIN), decoder.split(self.PLAIN)
        assert first is not None
        assert second is not None
        assert first[0] is second[0]

    def test_a_sensitive_field_is_not_kept(self) -> None:
        """Its client said that it must not be (RFC 7541, section 7.1.3)."""
        memory = HeaderMemory()
        stateless_decoder(memory).split(self.SENSITIVE)
        assert memory.fields.get(self.SENSITIVE) is None

    def test_a_deadline_is_not_kept(self) -> None:
        """It would push out what is asked for again."""
        memory = HeaderMemory()
        block = b"\x00\x0cgrpc-timeout\x021S"
        stateless_decoder(memory).split(block)
        assert memory.fields.get(block) is None

    def test_a_block_whose_fields_were_known_is_kept(self) -> None:
        """As one."""
        decoder = stateless_decoder(HeaderMemory())
        decoder.decode(self.PLAIN)
        assert decoder.decode(self.PLAIN) is decoder.decode(self.PLAIN)

    def test_a_long_block_is_not_kept(self) -> None:
        """Strangers fill the memory: a thousand blocks of 32 KB would be 32 MB."""
        memory = HeaderMemory()
        decoder = stateless_decoder(memory)
        block = self.PLAIN * 500
        decoder.decode(block)
        decoder.decode(block)
        assert memory.blocks.get(block) is None

    def test_a_deadline_before_the_path_stays_malformed(self) -> None:
        """However often it comes: pseudo-header fields must come first (RFC 9113, section 8.3)."""
        decoder = stateless_decoder(HeaderMemory())
        request = [(b"grpc-timeout", b"%dS"), (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a")]
        blocks = [
            stateless([(name, value % number if b"%" in value else value) for name, value in request], huffman=True)
            for number in range(5)
        ]
        assert [True] * 5 == [decoder.decode(block).malformed for block in blocks]

    def test_it_is_bounded(self) -> None:
        """Two generations are all there is, and what is asked for stays."""
        memory: Memory[bytes, int] = Memory(10)
        for number in range(1000):
            memory.put(b"%d" % number, number)
            memory.get(b"0")
        kept = [number for number in range(1000) if memory.get(b"%d" % number) is not None]
        assert 0 in kept
        assert len(kept) <= 21
