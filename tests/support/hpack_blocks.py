"""Header blocks as clients make them, and as none should: strategies for property tests."""

from __future__ import annotations

from hpack import Encoder
from hypothesis import strategies as st

NAMES = st.sampled_from(
    [
        b":method", b":path", b":scheme", b":authority", b"content-type", b"te", b"user-agent", b"grpc-timeout",
        b"grpc-encoding", b"accept-encoding", b"x", b"x-trace-bin", b"authorization", b"www-authenticate",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        [b"", b"POST", b"/sidecar.v1.CacheService/Get", b"http", b"trailers", b"19999871u", b"gzip, deflate"]
    ),
    st.binary(max_size=20),
    # Around the lengths at which one more byte is needed to say them (RFC 7541, section 5.1).
    st.integers(120, 300).map(lambda size: b"a" * size),
)
FIELD_LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


@st.composite
def literals(draw: st.DrawFn) -> bytes:
    """Draw a field as one of HPACK's representations, with or without index and Huffman code, well formed or almost."""
    encoder = Encoder()
    encoder.header_table_size = 0
    name, value = draw(st.tuples(NAMES, VALUES))
    huffman = draw(st.booleans())
    encoded = bytearray(encoder.encode([(name, value)], huffman=huffman))
    # The encoder says the change of its table's size first, in one byte.
    encoded = encoded[1:]
    if encoded and encoded[0] < 0x20:
        encoded[0] |= draw(st.sampled_from([0, 0x10]))
    return bytes(encoded)


STATELESS_BLOCKS = st.lists(literals(), max_size=8).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw a block with some bytes changed, or cut short, or nothing but noise."""
    block = bytearray(draw(STATELESS_BLOCKS))
    for _ in range(draw(st.integers(0, 3))):
        if block:
            block[draw(st.integers(0, len(block) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        block = block[: draw(st.integers(0, len(block)))]
    return bytes(block) if draw(st.booleans()) else bytes(block) + draw(st.binary(max_size=8))


ANY_BLOCKS = st.one_of(STATELESS_BLOCKS, mutated(), st.binary(max_size=40))
