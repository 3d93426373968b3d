"""Print the test vectors of envelope version 1.

They are frozen in `envelope_v1.json`: what they seal must open for ever. A test holds this file and that one
together. All that is random elsewhere is a hash of a label here. A new version of the format gets files of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
from typing import Any

from sidecar.crypto.envelope import DataKey, MessageKey, derive, frame, start_write
from sidecar.crypto.kek import KeyEncryptionKey

KEK = hashlib.sha256(b"envelope v1: key-encryption key").digest()

SCOPES: dict[str, dict[str, Any]] = {
    "patients": {"tenant": "default", "cache": "patients", "schema_version": 1},
    "wards": {"tenant": "north", "cache": "wards", "schema_version": 4_294_967_295},
}

DATA_KEYS = [("patients", 0), ("patients", 20_654), ("wards", 2**64 - 1)]

ENVELOPES = [
    ("an empty value", "patients", 20_654, 0, "name", b""),
    ("text", "patients", 20_654, 0, "address", "12 Rue de l'Été, Genève".encode()),
    ("another field of the same write", "patients", 20_654, 0, "phone", b"+41 22 555 01 99"),
    ("a later write of the same record", "patients", 20_654, 1, "phone", b"+41 22 555 01 98"),
    ("every byte", "patients", 20_654, 2, "data", bytes(range(256))),
    ("no block boundary", "patients", 20_654, 3, "notes", b"x" * 1021),
    ("the first epoch", "patients", 0, 4, "name", b"\0"),
    ("the last epoch, another tenant and schema", "wards", 2**64 - 1, 5, "été", b"7"),
    ("a field with no name", "wards", 2**64 - 1, 6, "", b"\xff" * 16),
]

KEYS = ["patient-0001", "été", "x" * 512]


def drawn(label: str, size: int) -> bytes:
    """Return bytes that look random and are the same every time."""
    return hashlib.shake_256(f"envelope v1: {label}".encode()).digest(size)


def data_key(scope: str, epoch: int | str) -> DataKey:
    """Return the data key of a scope and epoch."""
    label = f"{scope} {epoch}"
    return DataKey(drawn(f"id {label}", 16), drawn(f"data key {label}", 32))


def entry_name(key: str) -> bytes:
    """Return an entry's name, made apart from the sealer."""
    digest = hmac.new(data_key("patients", "names").secret, key.encode(), "sha256").digest()
    return base64.urlsafe_b64encode(digest[:24]).rstrip(b"=")


def record(scope: str, epoch: int | str) -> dict[str, Any]:
    """Return one wrapped data key."""
    names = SCOPES[scope]
    key = data_key(scope, epoch)
    nonce = drawn(f"nonce {scope} {epoch}", 12)
    framed = frame(names["tenant"].encode(), names["cache"].encode(), f"{epoch}".encode())
    return {
        "tenant": names["tenant"],
        "cache": names["cache"],
        "label": str(epoch),
        "id": key.id.hex(),
        "secret": key.secret.hex(),
        "nonce": nonce.hex(),
        "record": KeyEncryptionKey(KEK).wrap(key, framed, nonce).hex(),
    }


def envelope(case: tuple[str, str, int, int, str, bytes]) -> dict[str, Any]:
    """Return one sealed value with all that went into it and came in between."""
    note, scope, epoch, write, field, value = case
    names = SCOPES[scope]
    key = data_key(scope, epoch)
    salt = drawn(f"salt {write}", 16)
    nonce = drawn(f"nonce {write} {field}", 12)
    name = entry_name("patient-0001")
    context = frame(
        names["tenant"].encode(),
        names["cache"].encode(),
        name,
        field.encode(),
        names["schema_version"].to_bytes(4, "big"),
    )
    sealed = MessageKey(key, start_write(key, epoch, salt)).seal(value, context, nonce)
    encryption_key, commitment = derive(key.secret, salt)
    return {
        "note": note,
        **names,
        "epoch": epoch,
        "key_id": key.id.hex(),
        "name": name.decode(),
        "field": field,
        "value": value.hex(),
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "encryption_key": encryption_key.hex(),
        "commitment": commitment.hex(),
        "associated_data": (frame(sealed[:88]) + context).hex(),
        "sealed": sealed.hex(),
    }


def rejected(envelopes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return envelopes that must not open, each one change away from one that does."""
    good = envelopes[1]
    sealed = bytes.fromhex(good["sealed"])
    flipped = {
        "magic": 0, "version": 2, "suite": 3, "epoch": 11, "key id": 12, "salt": 43, "nonce": 44,
        "commitment, first byte": 56, "commitment, last byte": 87, "ciphertext": 88, "tag": len(sealed) - 1,
    }  # fmt: skip
    changes: list[tuple[str, dict[str, Any]]] = [
        (f"one bit of the {part}", {"sealed": _flip(sealed, at).hex()}) for part, at in flipped.items()
    ]
    changes += [
        ("cut by a byte", {"sealed": sealed[:-1].hex()}),
        ("longer by a byte", {"sealed": (sealed + b"\0").hex()}),
        ("no ciphertext", {"sealed": sealed[:88].hex()}),
        ("nothing", {"sealed": ""}),
        ("moved to another tenant", {"tenant": "north"}),
        ("moved to another cache", {"cache": "wards"}),
        ("moved to another entry", {"name": entry_name("été").decode()}),
        ("moved to another field", {"field": "phone"}),
        ("read as another schema", {"schema_version": 2}),
        ("a field's first letter moved to the name", {"name": good["name"] + "a", "field": "ddress"}),
        ("header of one value, ciphertext of another", {"sealed": _spliced(envelopes)}),
    ]
    kept = ("tenant", "cache", "schema_version", "epoch", "name", "field", "key_id", "sealed")
    return [{"note": note, **{k: good[k] for k in kept}, **change} for note, change in changes]


def rejected_records(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return wrapped data keys that must not unwrap."""
    good = records[1]
    wrapped = bytes.fromhex(good["record"])
    flipped = {
        "magic": 0,
        "version": 2,
        "suite": 3,
        "KEK id": 4,
        "key id": 12,
        "nonce": 28,
        "ciphertext": 40,
        "tag": 87,
    }
    changes = [(f"one bit of the {part}", {"record": _flip(wrapped, at).hex()}) for part, at in flipped.items()]
    changes += [
        ("cut by a byte", {"record": wrapped[:-1].hex()}),
        ("moved to another tenant", {"tenant": "north"}),
        ("moved to another cache", {"cache": "wards"}),
        ("moved to another epoch", {"label": "20655"}),
        ("taken for the name key", {"label": "names"}),
    ]
    kept = ("tenant", "cache", "label", "record")
    return [{"note": note, **{k: good[k] for k in kept}, **change} for note, change in changes]


def _flip(whole: bytes, at: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


def _spliced(envelopes: list[dict[str, Any]]) -> str:
    return str(envelopes[1]["sealed"])[: 2 * 88] + str(envelopes[2]["sealed"])[2 * 88 :]


def vectors() -> dict[str, Any]:
    """Return all vectors."""
    records = [record(scope, epoch) for scope, epoch in DATA_KEYS] + [record("patients", "names")]
    envelopes = [envelope(case) for case in ENVELOPES]
    return {
        "format": "envelope version 1; see docs/security/envelope.md; bytes are in hexadecimal",
        "kek": KEK.hex(),
        "kek_id": KeyEncryptionKey(KEK).id.hex(),
        "data_keys": records,
        "names": [{"key": key, "name": entry_name(key).decode()} for key in KEYS],
        "envelopes": envelopes,
        "rejected": rejected(envelopes),
        "rejected_data_keys": rejected_records(records),
    }


if __name__ == "__main__":
    json.dump(vectors(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
