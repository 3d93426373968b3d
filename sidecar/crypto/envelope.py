"""One value, sealed: the bytes of an envelope, and the key that is made for each write.

Problem. Values rest in a store that others can read, copy and write to. Sealing must hide a value, and must notice
when it is altered, or moved to another record, field, cache or tenant, where it would be believed. AES-GCM alone has
two traps: with random nonces one key is good for 2^32 messages, and a ciphertext can be made that decrypts under two
keys.

Algorithm. A data key never encrypts anything itself. Each write draws a salt; HKDF-SHA-256 (RFC 5869) over data key
and salt gives an AES-256 key and 32 bytes that commit to it. The values of that write, `MESSAGES_PER_SALT` at most,
are sealed with AES-256-GCM under this key, each with its own random nonce, so the bound of 2^32 is never near. The
header carries the commitment; it is compared before anything is decrypted. Header and context are the associated
data.

Failing. Whatever is wrong, the answer is the same `EnvelopeError` without a word about the cause: a finer one would
help only an attacker. There is no key rotation here and no I/O: which data key, and whether it still exists, is the
key ring's matter.

Rejected: AES-GCM-SIV (survives a repeated nonce, but is neither committing nor in every language's library), a
deterministic nonce from the field's name (a salt drawn twice would then be fatal), one key for all writes of an
epoch.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
KEY_ID_BYTES = 16
SALT_BYTES = 16
# The length for which GCM takes the nonce as it is (NIST SP 800-38D, section 5.2.1.1).
NONCE_BYTES = 12
TAG_BYTES = 16

# All fields of a record; 2^8 random 96-bit nonces meet with a probability of 2^-81.
MESSAGES_PER_SALT = 256

# "SE", version 1, suite 1: HKDF-SHA-256, AES-256-GCM, 32 bytes of key commitment.
_PREAMBLE = b"SE\x01\x01"
_EPOCH = slice(4, 12)
_KEY_ID = slice(12, 28)
_SALT = slice(28, 44)
_NONCE = slice(44, 56)
_COMMITMENT = slice(56, 88)
WRITE_BYTES = 44
HEADER_BYTES = 88
OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES

_INFO = b"sidecar/envelope/v1 message key"
_FIRST_BLOCK = _INFO + b"\x01"
_SECOND_BLOCK = _INFO + b"\x02"
_FRAMED_HEADER = HEADER_BYTES.to_bytes(4, "big")


class EnvelopeError(Exception):
    """The bytes are not an envelope, or do not authenticate."""

    def __init__(self) -> None:
        super().__init__("the envelope does not authenticate")


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key in the clear. It must not leave the process."""

    id: bytes
    """16 random bytes, drawn with the key."""
    secret: bytes = field(repr=False)
    """32 random bytes."""


def frame(*parts: bytes) -> bytes:
    """Join `parts`, each after its length as a big-endian u32, so that no two lists of parts look alike."""
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def start_write(key: DataKey, epoch: int, salt: bytes) -> bytes:
    """Return the write part of a header: the first 44 bytes, which all values of one write share."""
    return b"%b%b%b%b" % (_PREAMBLE, epoch.to_bytes(8, "big"), key.id, salt)


def read_write(sealed: bytes) -> tuple[bytes, int, bytes]:
    """Return an envelope's write part, and the epoch and id of the data key it names; raises `EnvelopeError`.

    Nothing of this is authenticated yet.
    """
    if len(sealed) < OVERHEAD_BYTES or not sealed.startswith(_PREAMBLE):
        raise EnvelopeError
    return sealed[:WRITE_BYTES], int.from_bytes(sealed[_EPOCH], "big"), sealed[_KEY_ID]


def derive(secret: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """Return an AES-256 key and the commitment to it: HKDF-SHA-256, 64 bytes in all (RFC 5869)."""
    extracted = hmac.digest(salt, secret, "sha256")
    encryption_key = hmac.digest(extracted, _FIRST_BLOCK, "sha256")
    return encryption_key, hmac.digest(extracted, encryption_key + _SECOND_BLOCK, "sha256")


class MessageKey:
    """The key of one write."""

    __slots__ = ("_aead", "_commitment", "_write")

    def __init__(self, key: DataKey, write: bytes) -> None:
        """Derive the key for a write part; raises `EnvelopeError` if that names another data key."""
        if write[_KEY_ID] != key.id:
            raise EnvelopeError
        encryption_key, self._commitment = derive(key.secret, write[_SALT])
        self._aead = AESGCM(encryption_key)
        self._write = write

    def seal(self, value: bytes, context: bytes, nonce: bytes) -> bytes:
        """Return the envelope of `value`. The nonce must be random and used for nothing else."""
        header = b"%b%b%b" % (self._write, nonce, self._commitment)
        return header + self._aead.encrypt(nonce, value, _FRAMED_HEADER + header + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Return the value in an envelope of this write; raises `EnvelopeError`.

        `context` is what it was sealed with, framed: see `docs/security/envelope.md`.
        """
        header = sealed[:HEADER_BYTES]
        if header[:WRITE_BYTES] != self._write or not hmac.compare_digest(header[_COMMITMENT], self._commitment):
            raise EnvelopeError
        try:
            return self._aead.decrypt(header[_NONCE], sealed[HEADER_BYTES:], _FRAMED_HEADER + header + context)
        except InvalidTag:
            raise EnvelopeError from None
