"""The envelope's bytes: what opens, and that nothing else does (fault row F20)."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from sidecar.crypto.envelope import (
    OVERHEAD_BYTES,
    DataKey,
    EnvelopeError,
    MessageKey,
    derive,
    frame,
    read_write,
    start_write,
)

VECTORS = Path(__file__).parent.parent / "vectors"
FROZEN: dict[str, Any] = json.loads((VECTORS / "envelope_v1.json").read_text())

KEY = DataKey(b"i" * 16, b"k" * 32)
EPOCH = 20_654
PLACE = {"tenant": "default", "cache": "patients", "name": "n" * 32, "field": "ssn", "schema_version": 1}
VALUE = b"000-00-0000"


def context(place: dict[str, Any]) -> bytes:
    """Frame where a value belongs, as the specification says."""
    return frame(
        place["tenant"].encode(),
        place["cache"].encode(),
        place["name"].encode(),
        place["field"].encode(),
        place["schema_version"].to_bytes(4, "big"),
    )


def seal(value: bytes, place: dict[str, Any], key: DataKey = KEY) -> bytes:
    """Seal a value as a write of its own."""
    return MessageKey(key, start_write(key, EPOCH, os.urandom(16))).seal(value, context(place), os.urandom(12))


def open_sealed(sealed: bytes, place: dict[str, Any], key: DataKey = KEY) -> bytes:
    """Open an envelope as a reader does, who knows nothing of the write."""
    write, _, _ = read_write(sealed)
    return MessageKey(key, write).open(sealed, context(place))


def data_key(vector: dict[str, Any]) -> DataKey:
    """Return the data key that a vector names."""
    secrets = {one["id"]: one["secret"] for one in FROZEN["data_keys"]}
    return DataKey(bytes.fromhex(vector["key_id"]), bytes.fromhex(secrets[vector["key_id"]]))


# --- frozen ---


@pytest.mark.parametrize("vector", FROZEN["envelopes"], ids=lambda vector: vector["note"])
def test_frozen_envelope_opens(vector: dict[str, Any]) -> None:
    """What was sealed when version 1 was frozen opens today."""
    assert bytes.fromhex(vector["value"]) == open_sealed(bytes.fromhex(vector["sealed"]), vector, data_key(vector))


@pytest.mark.parametrize("vector", FROZEN["rejected"], ids=lambda vector: vector["note"])
def test_frozen_tampered_envelope_is_rejected(vector: dict[str, Any]) -> None:
    """What is one change away from a frozen envelope does not open."""
    with pytest.raises(EnvelopeError):
        open_sealed(bytes.fromhex(vector["sealed"]), vector, data_key(vector))


def test_vectors_are_frozen() -> None:
    """Today's code makes the committed vectors again, to the byte."""
    assert runpy.run_path(str(VECTORS / "make_envelope_v1.py"))["vectors"]() == FROZEN


def test_layout() -> None:
    """Each part of an envelope stands where the specification says."""
    vector = FROZEN["envelopes"][1]
    sealed = bytes.fromhex(vector["sealed"])
    expected = {
        "magic, version, suite": b"SE\x01\x01",
        "epoch": vector["epoch"].to_bytes(8, "big"),
        "key id": bytes.fromhex(vector["key_id"]),
        "salt": bytes.fromhex(vector["salt"]),
        "nonce": bytes.fromhex(vector["nonce"]),
        "commitment": bytes.fromhex(vector["commitment"]),
    }
    actual = {
        "magic, version, suite": sealed[:4],
        "epoch": sealed[4:12],
        "key id": sealed[12:28],
        "salt": sealed[28:44],
        "nonce": sealed[44:56],
        "commitment": sealed[56:88],
    }
    assert expected == actual


# --- what opens ---


@given(value=st.binary(max_size=4096), name=st.text(max_size=64), field=st.text(max_size=64))
def test_round_trip(value: bytes, name: str, field: str) -> None:
    """Any value opens to itself in its place, at the cost of 104 bytes."""
    place = PLACE | {"name": name, "field": field}
    sealed = seal(value, place)
    assert (value, len(value) + OVERHEAD_BYTES) == (open_sealed(sealed, place), len(sealed))


@given(secret=st.binary(min_size=32, max_size=32), salt=st.binary(min_size=16, max_size=16))
def test_derivation_is_hkdf(secret: bytes, salt: bytes) -> None:
    """The message key and its commitment are the 64 bytes that a library's HKDF-SHA-256 gives."""
    hkdf = HKDF(algorithm=SHA256(), length=64, salt=salt, info=b"sidecar/envelope/v1 message key")
    assert hkdf.derive(secret) == b"".join(derive(secret, salt))


def test_header_names_the_data_key() -> None:
    """A reader learns from the header which data key it needs."""
    _, epoch, key_id = read_write(seal(VALUE, PLACE))
    assert (EPOCH, KEY.id) == (epoch, key_id)


@given(
    first=st.lists(st.binary(max_size=8), max_size=5),
    second=st.lists(st.binary(max_size=8), max_size=5),
)
def test_framing_is_unambiguous(first: list[bytes], second: list[bytes]) -> None:
    """Two lists of parts have the same frame only if they are the same list."""
    assert (first == second) == (frame(*first) == frame(*second))


# --- what does not ---


def reject(sealed: bytes, place: dict[str, Any] = PLACE, key: DataKey = KEY) -> None:
    """Expect a refusal."""
    with pytest.raises(EnvelopeError):
        open_sealed(sealed, place, key)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_is_rejected(mask: int) -> None:
    """An envelope with any one byte altered does not open."""
    sealed = seal(VALUE, PLACE)
    for at in range(len(sealed)):
        reject(sealed[:at] + bytes([sealed[at] ^ mask]) + sealed[at + 1 :])


def test_every_truncation_is_rejected() -> None:
    """An envelope cut at any length, from either end, does not open."""
    sealed = seal(VALUE, PLACE)
    for length in range(len(sealed)):
        reject(sealed[:length])
        reject(sealed[len(sealed) - length :])


def test_extension_is_rejected() -> None:
    """An envelope with bytes added does not open."""
    reject(seal(VALUE, PLACE) + b"\0")
    reject(b"\0" + seal(VALUE, PLACE))


@given(data=st.binary(max_size=300))
def test_random_bytes_are_rejected(data: bytes) -> None:
    """Random bytes, also behind a good beginning, do not open."""
    reject(data)
    reject(seal(VALUE, PLACE)[:44] + data)


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "north"},
        {"cache": "wards"},
        {"name": "m" * 32},
        {"field": "name"},
        {"schema_version": 2},
        {"name": "n" * 31, "field": "nssn"},
        {"cache": "patient", "name": "s" + "n" * 32},
    ],
    ids=str,
)
def test_moved_value_is_rejected(change: dict[str, Any]) -> None:
    """A value read at another tenant, cache, entry, field or schema version does not open."""
    reject(seal(VALUE, PLACE), PLACE | change)


def test_other_data_key_is_rejected() -> None:
    """A value does not open under another data key, nor under one that claims the same id."""
    sealed = seal(VALUE, PLACE)
    reject(sealed, key=DataKey(b"j" * 16, KEY.secret))
    reject(sealed, key=DataKey(KEY.id, b"l" * 32))


def test_envelope_of_another_write_is_rejected() -> None:
    """A message key opens envelopes of its own write only."""
    message_key = MessageKey(KEY, start_write(KEY, EPOCH, b"s" * 16))
    with pytest.raises(EnvelopeError):
        message_key.open(seal(VALUE, PLACE), context(PLACE))


def test_commitment_is_checked_before_the_ciphertext() -> None:
    """A ciphertext that is good under the derived key is refused if its header commits to another."""
    message_key = MessageKey(KEY, start_write(KEY, EPOCH, b"s" * 16))
    message_key._commitment = b"c" * 32
    reject(message_key.seal(VALUE, context(PLACE), b"n" * 12))


def test_error_tells_nothing() -> None:
    """The error is one sentence, the same for every cause, with no cause attached."""
    with pytest.raises(EnvelopeError) as caught:
        open_sealed(seal(VALUE, PLACE)[:-1], PLACE)
    assert (str(caught.value), caught.value.__cause__) == ("the envelope does not authenticate", None)


def test_data_key_is_not_shown() -> None:
    """Printing a data key shows its id alone."""
    assert repr(KEY) == "DataKey(id=b'iiiiiiiiiiiiiiii')"
