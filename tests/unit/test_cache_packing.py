"""Values come back from their compressed form as they were, and none becomes larger than allowed."""

from __future__ import annotations

import struct

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.cache.entry import dated_block, decode_entry, is_packed, position_of
from sidecar.cache.packing import Packer, unpack, unpack_within
from sidecar.errors import Reason, SidecarError
from sidecar.store.plans import Room

MOST = 4096
# Repetitive, so that some become smaller; and at random, so that some do not.
VALUES = st.binary(max_size=600) | st.builds(bytes.__mul__, st.binary(max_size=20), st.integers(0, 200))


def reason_of(packed: bytes, most: int = MOST) -> Reason:
    """Return why something is taken for no compressed value."""
    with pytest.raises(SidecarError) as caught:
        unpack(packed, most)
    return caught.value.reason


@given(VALUES, st.integers(64, 700))
@example(b"", 64)
@example(b"a" * 64, 64)
@example(b"a" * 65, 64)
def test_what_is_stored_gives_the_value_back(value: bytes, above: int) -> None:
    """Whether it is compressed or not, and it is only where that is smaller, and the value long enough."""
    stored = Packer(above).packed(value)
    assert value == (unpack(stored.content, MOST) if stored.packed else stored.content)
    assert len(stored.content) <= len(value)
    assert not stored.packed or len(stored.content) < len(value) > above


@given(VALUES, st.integers(0, 2**63), st.lists(st.binary(min_size=1, max_size=9), max_size=3))
def test_a_reader_goes_by_the_entrys_own_marker(value: bytes, position: int, tags: list[bytes]) -> None:
    """Each of the four kinds of entry is read for what it is, by caches that write any of them."""
    content = zstandard.compress(value)
    block = dated_block(position, tags)
    bodies = {b"S\x01": value, b"S\x02": block + value, b"S\x03": content, b"S\x04": block + content}
    for magic, body in bodies.items():
        stored = struct.pack(">2sQQQ", magic, 5, 6, 7) + body
        assert (5, 6, 7, value) == decode_entry(stored, lambda packed: unpack(packed, MOST))
        assert (position if magic in {b"S\x02", b"S\x04"} else 0) == position_of(stored)
        assert (magic in {b"S\x03", b"S\x04"}) is is_packed(stored)


@given(st.binary(max_size=200))
def test_garbage_is_malformed(garbage: bytes) -> None:
    """What is no frame, or a frame that is cut or followed by more, is refused; nothing else is raised."""
    packed = zstandard.compress(b"a value " * 20)
    assert Reason.ENTRY_MALFORMED is reason_of(packed + b"\0" + garbage)
    for cut in (packed[: len(garbage) % len(packed)], garbage[:3]):
        assert Reason.ENTRY_MALFORMED is reason_of(cut)


def test_every_bit_of_a_frame_may_be_turned() -> None:
    """A damaged frame gives an error or some value within the bound, never anything else."""
    packed = zstandard.compress(b"name: Ada, ward: 7; " * 30)
    for place in range(8 * len(packed)):
        damaged = bytearray(packed)
        damaged[place // 8] ^= 1 << place % 8
        try:
            assert MOST >= len(unpack(bytes(damaged), MOST))
        except SidecarError as error:
            assert Reason.ENTRY_MALFORMED is error.reason  # noqa: PT017 (most of these raise, and some do not)


def test_a_bomb_is_refused_by_what_it_claims() -> None:
    """A few kilobytes that hold a gigabyte are malformed before any room is made for it."""
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 26))
    assert Reason.ENTRY_MALFORMED is reason_of(bomb, 1 << 20)


def test_a_bomb_that_hides_its_size_is_refused() -> None:
    """A frame without its content's size is none that a sidecar wrote."""
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 22))
    assert Reason.ENTRY_MALFORMED is reason_of(hidden, 1 << 20)


def test_a_bomb_that_lies_about_its_size_is_refused() -> None:
    """Of a frame that claims to be shorter than it is nothing is taken."""
    honest = zstandard.compress(bytes(50_000))
    lying = honest[:5] + (300).to_bytes(len(honest[5:7]), "little") + honest[7:]
    assert 300 + 256 == zstandard.get_frame_parameters(lying).content_size
    assert Reason.ENTRY_MALFORMED is reason_of(lying)


def test_an_answer_takes_no_more_than_there_is_room_for() -> None:
    """What would not fit is not even made, and nothing after it is."""
    packed = zstandard.compress(b"v" * 1000)
    room = Room(1500)
    assert b"v" * 1000 == unpack_within(packed, MOST, room)
    for _ in range(2):
        with pytest.raises(SidecarError) as caught:
            unpack_within(packed, MOST, room)
        assert Reason.ANSWER_TOO_LARGE is caught.value.reason
