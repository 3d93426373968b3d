"""Passwords, kept as Argon2id hashes (RFC 9106) in the PHC string format, and compared in the same time for everybody.

Who guesses at accounts must not learn which exist. An unknown account is therefore checked against a decoy, a hash of
the same cost that nobody knows the password of: the answer is the same, and takes as long.
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from functools import cache

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

# OWASP's Password Storage Cheat Sheet: 19 MiB and two passes. A guess costs an attacker as much as it costs us.
_MEMORY_KIB = 19 * 1024
_PASSES = 2
_LANES = 1
_HASH_BYTES = 32
_SALT_BYTES = 16


def hashed(password: str) -> str:
    """Return what is kept of a password: the hash with its salt and its costs."""
    derivation = Argon2id(
        salt=os.urandom(_SALT_BYTES), length=_HASH_BYTES, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB
    )
    return derivation.derive_phc_encoded(_bytes(password))


def matches(password: str, kept: str | None) -> bool:
    """Say whether `password` is the one of which `kept` was made; None, no account, is never, after the same work."""
    try:
        Argon2id.verify_phc_encoded(_bytes(password), _decoy() if kept is None else kept)
    except InvalidKey:
        return False
    return kept is not None


@cache
def _decoy() -> str:
    return hashed(secrets.token_hex())


def _bytes(password: str) -> bytes:
    # The same password typed on two keyboards may be two texts (NIST SP 800-63B, section 3.1.1.2).
    return unicodedata.normalize("NFKC", password).encode()
