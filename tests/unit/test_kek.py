"""Key-encryption keys: loading them, and wrapping data keys with them."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from sidecar.crypto.envelope import frame
from sidecar.crypto.kek import (
    RECORD_BYTES,
    KeyEncryptionKey,
    KeyEncryptionKeys,
    create_development_file,
    load_environment,
    load_file,
)
from sidecar.errors import Reason, SidecarError, StartupError

SECRET = bytes(range(100, 132))
SCOPE = frame(b"default", b"patients", b"20654")
FROZEN: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "envelope_v1.json").read_text())


@pytest.fixture
def keks() -> KeyEncryptionKeys:
    """One KEK."""
    return KeyEncryptionKeys([KeyEncryptionKey(SECRET)])


def write(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    """Make a KEK file."""
    path = folder / "kek"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def reason_of(keks: KeyEncryptionKeys, record: bytes, scope: bytes = SCOPE) -> Reason:
    """Return why a record is refused."""
    with pytest.raises(SidecarError) as caught:
        keks.unwrap(record, scope)
    return caught.value.reason


# --- wrapping ---


def test_unwrap_returns_what_was_wrapped(keks: KeyEncryptionKeys) -> None:
    """A record unwraps to the data key that it was made with."""
    key, record = keks.wrap_new(SCOPE)
    assert (key, RECORD_BYTES) == (keks.unwrap(record, SCOPE), len(record))


def test_data_keys_differ(keks: KeyEncryptionKeys) -> None:
    """Each new data key has its own id, secret and nonce."""
    pairs = [keks.wrap_new(SCOPE) for _ in range(100)]
    assert {100} == {
        len({key.id for key, _ in pairs}),
        len({key.secret for key, _ in pairs}),
        len({record[28:40] for _, record in pairs}),
    }


def test_record_does_not_hold_the_data_key(keks: KeyEncryptionKeys) -> None:
    """Neither the data key nor the KEK stands in a record."""
    key, record = keks.wrap_new(SCOPE)
    assert (key.secret in record, SECRET in record) == (False, False)


@pytest.mark.parametrize("vector", FROZEN["data_keys"], ids=lambda vector: vector["label"])
def test_frozen_record_unwraps(vector: dict[str, Any]) -> None:
    """A record of the time when version 1 was frozen unwraps today."""
    keks = KeyEncryptionKeys([KeyEncryptionKey(bytes.fromhex(FROZEN["kek"]))])
    scope = frame(vector["tenant"].encode(), vector["cache"].encode(), vector["label"].encode())
    assert vector["secret"] == keks.unwrap(bytes.fromhex(vector["record"]), scope).secret.hex()


@pytest.mark.parametrize("vector", FROZEN["rejected_data_keys"], ids=lambda vector: vector["note"])
def test_frozen_tampered_record_is_refused(vector: dict[str, Any]) -> None:
    """A record that is one change away from a frozen one does not unwrap."""
    keks = KeyEncryptionKeys([KeyEncryptionKey(bytes.fromhex(FROZEN["kek"]))])
    scope = frame(vector["tenant"].encode(), vector["cache"].encode(), vector["label"].encode())
    with pytest.raises(SidecarError):
        keks.unwrap(bytes.fromhex(vector["record"]), scope)


def test_every_altered_byte_of_a_record_is_refused(keks: KeyEncryptionKeys) -> None:
    """A record with any byte altered is refused; with another KEK's id, as one of an unknown KEK."""
    _, record = keks.wrap_new(SCOPE)
    actual = [reason_of(keks, record[:at] + bytes([record[at] ^ 0x40]) + record[at + 1 :]) for at in range(len(record))]
    expected = [
        Reason.KEY_ENCRYPTION_KEY_UNKNOWN if 4 <= at < 12 else Reason.CIPHERTEXT_REJECTED for at in range(len(record))
    ]
    assert expected == actual


def test_every_truncation_of_a_record_is_refused(keks: KeyEncryptionKeys) -> None:
    """A record cut at any length, or lengthened, is refused."""
    _, record = keks.wrap_new(SCOPE)
    cut = [record[:length] for length in range(len(record))]
    assert {Reason.CIPHERTEXT_REJECTED} == {reason_of(keks, one) for one in [*cut, record + b"\0"]}


@pytest.mark.parametrize(
    "scope",
    [
        frame(b"north", b"patients", b"20654"),
        frame(b"default", b"wards", b"20654"),
        frame(b"default", b"patients", b"20655"),
        frame(b"default", b"patients", b"names"),
        frame(b"defaul", b"tpatients", b"20654"),
    ],
)
def test_moved_record_is_refused(keks: KeyEncryptionKeys, scope: bytes) -> None:
    """A record copied to another tenant, cache or epoch is refused."""
    _, record = keks.wrap_new(SCOPE)
    assert Reason.CIPHERTEXT_REJECTED is reason_of(keks, record, scope)


# --- several KEKs ---


def test_first_kek_wraps_and_all_unwrap(keks: KeyEncryptionKeys) -> None:
    """After a new KEK is put in front, old records unwrap and new ones carry its id."""
    new = KeyEncryptionKey(os.urandom(32))
    key, record = keks.wrap_new(SCOPE)
    both = KeyEncryptionKeys([new, KeyEncryptionKey(SECRET)])
    assert (key, new.id) == (both.unwrap(record, SCOPE), both.wrap_new(SCOPE)[1][4:12])


def test_unknown_kek_is_named(keks: KeyEncryptionKeys) -> None:
    """A record of a KEK that was not given says which one is wanted."""
    other = KeyEncryptionKey(os.urandom(32))
    _, record = KeyEncryptionKeys([other]).wrap_new(SCOPE)
    with pytest.raises(SidecarError) as caught:
        keks.unwrap(record, SCOPE)
    assert (Reason.KEY_ENCRYPTION_KEY_UNKNOWN, {"kek_id": other.id.hex()}) == (
        caught.value.reason,
        caught.value.metadata,
    )


def test_no_kek_stops_the_start() -> None:
    """An empty list of KEKs is a problem of the configuration."""
    with pytest.raises(StartupError):
        KeyEncryptionKeys([])


def test_kek_given_twice_stops_the_start() -> None:
    """The same KEK in two places is a mistake: a rotation that rotates nothing."""
    with pytest.raises(StartupError):
        KeyEncryptionKeys([KeyEncryptionKey(SECRET), KeyEncryptionKey(SECRET)])


def test_kek_shows_its_id_alone() -> None:
    """Printing a KEK shows its id, which is the frozen one for the frozen key."""
    kek = KeyEncryptionKey(bytes.fromhex(FROZEN["kek"]))
    assert f"KeyEncryptionKey({FROZEN['kek_id']})" == repr(kek)


def test_ids_are_listed_in_order() -> None:
    """The ids come in the order of the configuration."""
    keks = [KeyEncryptionKey(bytes([number]) * 32) for number in range(3)]
    assert tuple(kek.id.hex() for kek in keks) == KeyEncryptionKeys(keks).ids


def test_kek_of_another_size_is_refused() -> None:
    """A KEK is never padded or cut."""
    with pytest.raises(ValueError, match="32 bytes"):
        KeyEncryptionKey(b"short")


# --- files ---


@pytest.mark.parametrize(
    "content",
    [SECRET, base64.b64encode(SECRET), b" " + base64.b64encode(SECRET) + b"\r\n"],
    ids=["raw", "base64", "base64 and white space"],
)
def test_file_forms(tmp_path: Path, content: bytes) -> None:
    """A file holds 32 raw bytes or their base64; both are the same key."""
    loaded = load_file(write(tmp_path, content))
    assert (KeyEncryptionKey(SECRET).id, ()) == (loaded.kek.id, loaded.problems)


@pytest.mark.parametrize(
    "content",
    [b"", SECRET[:31], SECRET + b"\n", base64.b64encode(SECRET[:31]), b"%" * 44, SECRET.hex().encode(), b"A" * 100_000],
    ids=["empty", "31 bytes", "33 bytes", "base64 of 31", "not base64", "hexadecimal", "far too long"],
)
def test_file_that_is_no_key(tmp_path: Path, content: bytes) -> None:
    """A file that is not a key stops the start with one line that says what is wanted, and shows nothing of it."""
    path = write(tmp_path, content)
    with pytest.raises(StartupError) as caught:
        load_file(path)
    expected = f"the key-encryption key file {path} is not a key: it must hold 32 bytes, or the base64 of 32 bytes"
    assert (expected, None) == (str(caught.value), caught.value.__cause__)


def test_missing_file(tmp_path: Path) -> None:
    """A missing file stops the start with one line."""
    with pytest.raises(StartupError, match=r"kek does not exist$"):
        load_file(tmp_path / "kek")


def test_unreadable_file(tmp_path: Path) -> None:
    """A file that cannot be read, here a folder, stops the start with one line."""
    with pytest.raises(StartupError, match="cannot be read: Is a directory"):
        load_file(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_open_file_is_reported(tmp_path: Path, mode: int) -> None:
    """A file with any right for group or others loads, with a problem for the operator."""
    path = write(tmp_path, SECRET, mode)
    expected = (
        f"the key-encryption key file {path} is open to its group or others (mode {mode:04o}); make it 0600 or 0400",
    )
    assert expected == load_file(path).problems


def test_printable_raw_key_is_reported(tmp_path: Path) -> None:
    """A file of 32 letters is taken as raw bytes, with a problem for the operator."""
    problems = load_file(write(tmp_path, b"correct horse battery staple 123")).problems
    assert (len(problems), "32 printable characters" in problems[0]) == (1, True)


# --- environment ---


def test_environment_key() -> None:
    """A variable holds the base64 of a key."""
    loaded = load_environment("SIDECAR_KEK", {"SIDECAR_KEK": base64.b64encode(SECRET).decode()})
    assert KeyEncryptionKey(SECRET).id == loaded.kek.id


@pytest.mark.parametrize("text", ["", "secret-that-is-no-key", base64.b64encode(SECRET[:16]).decode(), "é" * 44])
def test_environment_that_is_no_key(text: str) -> None:
    """A variable that is not a key stops the start and is not quoted."""
    with pytest.raises(StartupError) as caught:
        load_environment("SIDECAR_KEK", {"SIDECAR_KEK": text})
    assert str(caught.value) == "the environment variable SIDECAR_KEK is not a key: it must hold the base64 of 32 bytes"


def test_environment_not_set() -> None:
    """A variable that is not set stops the start."""
    with pytest.raises(StartupError, match="SIDECAR_KEK with the key-encryption key is not set"):
        load_environment("SIDECAR_KEK", {})


# --- development keys ---


def test_development_file_is_private(tmp_path: Path) -> None:
    """The generated file is 0600, the folders made for it 0700, whatever the umask; it loads without a problem."""
    path = tmp_path / "state" / "sidecar" / "kek"
    previous = os.umask(0)
    try:
        created = create_development_file(path)
    finally:
        os.umask(previous)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent, path.parent.parent)]
    assert (created, modes, load_file(path).problems) == (True, [0o600, 0o700, 0o700], ())


def test_development_file_is_kept(tmp_path: Path) -> None:
    """A file that is there is left as it is."""
    path = tmp_path / "kek"
    create_development_file(path)
    before = path.read_bytes()
    assert (False, before) == (create_development_file(path), path.read_bytes())


def test_development_file_of_a_faster_sidecar_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that appears while ours is being made wins, and no draft is left behind."""
    path = write(tmp_path, SECRET)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    monkeypatch.setattr("sidecar.crypto.kek._make_folders", lambda _: None)
    created = create_development_file(path)
    assert (created, path.read_bytes(), [one.name for one in tmp_path.iterdir()]) == (False, SECRET, ["kek"])


def test_development_file_that_cannot_be_made(tmp_path: Path) -> None:
    """A folder that cannot be made stops the start with one line."""
    blocker = write(tmp_path, b"a file, no folder")
    with pytest.raises(StartupError, match="cannot be made: "):
        create_development_file(blocker / "sidecar" / "kek")
