"""Key-encryption keys: where they come from, and the wrapped data keys they make.

A key-encryption key (KEK) never touches a value. It wraps data keys, and only wrapped data keys rest in the store, so
who reads the store has nothing without the KEK, and the KEK stays in a file or a variable beside the sidecar. From
its 32 bytes two things are derived with HKDF-Expand (RFC 5869): the AES-256-GCM key that wraps, and an id of 8 bytes,
which stands in every record and tells nothing of the key. A sidecar may be given several: the first wraps, all
unwrap, so that a new KEK is put in front while records of the old one are still about.

Wrapping uses random nonces: one data key an epoch and cache is far from GCM's 2^32. The associated data names tenant,
cache and epoch, so a record copied under another Redis key does not unwrap.

A KEK comes as 32 raw bytes or as base64 of them. A file of exactly 32 bytes is raw, whatever is in it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sidecar.crypto.envelope import KEY_BYTES, KEY_ID_BYTES, NONCE_BYTES, TAG_BYTES, DataKey, frame
from sidecar.errors import Reason, SidecarError, StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEK_ID_BYTES = 8

# "SK", version 1, suite 1: AES-256-GCM under a key derived from the KEK.
_PREAMBLE = b"SK\x01\x01"
_KEK_ID = slice(4, 12)
_KEY_ID = slice(12, 28)
_NONCE = slice(28, 40)
_HEADER_BYTES = 40
RECORD_BYTES = _HEADER_BYTES + KEY_BYTES + TAG_BYTES

_ID_INFO = b"sidecar/kek/v1 id\x01"
_WRAPPING_INFO = b"sidecar/kek/v1 wrapping key\x01"

# Base64 of a key is 45 bytes with its line end; a file far longer is not a key, and is not read to its end.
_MAX_FILE_BYTES = 1024

_WANTED = "it must hold 32 bytes, or the base64 of 32 bytes"


class KeyEncryptionKey:
    """One KEK, known by its id. Its bytes are not kept."""

    __slots__ = ("_aead", "id")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError("a key-encryption key has 32 bytes")
        self.id = hmac.digest(secret, _ID_INFO, "sha256")[:KEK_ID_BYTES]
        self._aead = AESGCM(hmac.digest(secret, _WRAPPING_INFO, "sha256"))

    def __repr__(self) -> str:
        return f"KeyEncryptionKey({self.id.hex()})"

    def wrap(self, key: DataKey, scope: bytes, nonce: bytes) -> bytes:
        """Return the record of a data key; the nonce must be random. `scope` is framed tenant, cache, epoch."""
        header = b"%b%b%b%b" % (_PREAMBLE, self.id, key.id, nonce)
        return header + self._aead.encrypt(nonce, key.secret, frame(header) + scope)

    def unwrap(self, record: bytes, scope: bytes) -> DataKey:
        """Return the data key of a record that this KEK wrapped; raises `InvalidTag`."""
        header = record[:_HEADER_BYTES]
        secret = self._aead.decrypt(header[_NONCE], record[_HEADER_BYTES:], frame(header) + scope)
        return DataKey(header[_KEY_ID], secret)


class KeyEncryptionKeys:
    """All KEKs of a sidecar: the first wraps, each unwraps what it wrapped."""

    __slots__ = ("_by_id", "_first")

    def __init__(self, keks: Sequence[KeyEncryptionKey]) -> None:
        """Take the KEKs in order; raises `StartupError` if there is none or one is given twice."""
        if not keks:
            raise StartupError("no key-encryption key is configured")
        self._first = keks[0]
        self._by_id = {kek.id: kek for kek in keks}
        if len(self._by_id) != len(keks):
            raise StartupError("the same key-encryption key is configured twice")

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids in order, in hexadecimal."""
        return tuple(kek_id.hex() for kek_id in self._by_id)

    def wrap_new(self, scope: bytes) -> tuple[DataKey, bytes]:
        """Draw a data key; return it and its record."""
        drawn = os.urandom(KEY_ID_BYTES + KEY_BYTES + NONCE_BYTES)
        key = DataKey(drawn[:KEY_ID_BYTES], drawn[KEY_ID_BYTES:-NONCE_BYTES])
        return key, self._first.wrap(key, scope, drawn[-NONCE_BYTES:])

    def unwrap(self, record: bytes, scope: bytes) -> DataKey:
        """Return the data key of a record.

        Raises `SidecarError`: KEY_ENCRYPTION_KEY_UNKNOWN if none of these KEKs wrapped it,
        CIPHERTEXT_REJECTED if it does not authenticate for this scope.
        """
        if len(record) != RECORD_BYTES or not record.startswith(_PREAMBLE):
            raise _rejected()
        kek = self._by_id.get(record[_KEK_ID])
        if kek is None:
            raise SidecarError(
                Reason.KEY_ENCRYPTION_KEY_UNKNOWN,
                "a data key is wrapped by a key-encryption key that this sidecar was not given; configure it",
                metadata={"kek_id": record[_KEK_ID].hex()},
            )
        try:
            return kek.unwrap(record, scope)
        except InvalidTag:
            raise _rejected() from None


def _rejected() -> SidecarError:
    return SidecarError(
        Reason.CIPHERTEXT_REJECTED,
        "the record of a data key does not authenticate: it was altered or moved; nothing was decrypted",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedKek:
    """A KEK and what an operator should be told about where it came from."""

    kek: KeyEncryptionKey
    problems: tuple[str, ...] = ()
    """One sentence each; none stops the sidecar."""


def load_file(path: Path) -> LoadedKek:
    """Read a KEK file; raises `StartupError` with one line if that cannot be done."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise StartupError(f"the key-encryption key file {path} does not exist") from None
    except OSError as error:
        raise StartupError(f"the key-encryption key file {path} cannot be read: {error.strerror}") from None
    secret = content if len(content) == KEY_BYTES else _decode(content)
    if secret is None:
        raise StartupError(f"the key-encryption key file {path} is not a key: {_WANTED}")
    problems = []
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        problems.append(
            f"the key-encryption key file {path} is open to its group or others (mode {mode:04o}); make it 0600 or 0400"
        )
    if len(content) == KEY_BYTES and content.isascii() and content.decode().isprintable():
        problems.append(
            f"the key-encryption key file {path} holds 32 printable characters, taken as raw bytes;"
            " random bytes look different"
        )
    return LoadedKek(kek=KeyEncryptionKey(secret), problems=tuple(problems))


def load_environment(variable: str, environment: Mapping[str, str]) -> LoadedKek:
    """Read a KEK, in base64, from an environment variable; raises `StartupError` with one line."""
    text = environment.get(variable)
    if text is None:
        raise StartupError(f"the environment variable {variable} with the key-encryption key is not set")
    secret = _decode(text.encode(errors="replace"))
    if secret is None:
        raise StartupError(f"the environment variable {variable} is not a key: it must hold the base64 of 32 bytes")
    return LoadedKek(kek=KeyEncryptionKey(secret))


def _decode(text: bytes) -> bytes | None:
    """Return the 32 bytes in base64 (RFC 4648, section 4; white space around it is ignored), or None."""
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        return None
    return secret if len(secret) == KEY_BYTES else None


def create_development_file(path: Path) -> bool:
    """Make a file with a random KEK, mode 0600, in folders of mode 0700; return False if there is one already.

    The file appears whole or not at all, so a crash leaves no half of a key and two sidecars that start together share
    one. Raises `StartupError` with one line.
    """
    try:
        if path.exists():
            return False
        _make_folders(path.parent)
        # mkstemp opens with O_EXCL and mode 0600.
        descriptor, draft_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        draft = Path(draft_name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # A link, unlike a rename, does not replace a file that came first.
            os.link(draft, path)
        finally:
            draft.unlink()
    except FileExistsError:
        return False
    except OSError as error:
        raise StartupError(f"the development key-encryption key file {path} cannot be made: {error.strerror}") from None
    return True


def _make_folders(folder: Path) -> None:
    """Make a folder and those above it that are missing, each 0700: `Path.mkdir` gives that to the last one only."""
    if not folder.exists():
        _make_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
