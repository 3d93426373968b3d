"""Who may log in: a JSON file of password hashes, which every instance of the service reads.

With them stands a secret by which names become keys of rate limits: Redis is read by more people than this file, and
should hold neither who logs in nor from where. Instances with the same file count together.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from login.passwords import hashed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SECRET_BYTES = 32

# 128 bits: no two names ever meet, and a key stays short.
_KEY_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The file's content."""

    secret: bytes
    hashes: Mapping[str, str]
    """Of passwords, by the account's name as `canonical` returns it."""

    def key(self, kind: str, name: str) -> str:
        """Return the key under which a name is counted: the same each time, and nobody reads the name in it."""
        digest = hashlib.blake2b(f"{kind}:{name}".encode(), digest_size=_KEY_BYTES, key=self.secret)
        return f"{kind}:{digest.hexdigest()}"

    def with_account(self, name: str, password: str) -> Accounts:
        """Return the accounts with one more, or with another password for one."""
        return replace(self, hashes={**self.hashes, canonical(name): hashed(password)})


def canonical(name: str) -> str:
    """Return the one spelling under which an account is kept, counted and looked up."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def read(path: Path) -> Accounts:
    """Return the accounts of a file; none, with a new secret, if there is no file yet."""
    if not path.exists():
        return Accounts(secret=secrets.token_bytes(_SECRET_BYTES), hashes={})
    content = json.loads(path.read_bytes())
    return Accounts(secret=bytes.fromhex(content["secret"]), hashes=content["hashes"])


def write(path: Path, accounts: Accounts) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    content = {"secret": accounts.secret.hex(), "hashes": dict(accounts.hashes)}
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=2)
    fresh.replace(path)
