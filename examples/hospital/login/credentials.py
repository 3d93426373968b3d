"""What a caller sends to log in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from login.accounts import canonical

# A name and a password. Longer ones only make us hash more for whoever sends them.
MAX_BODY_BYTES = 4 * 1024
_MAX_LENGTH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An account's name, in its one spelling, and a password, which no log line shows."""

    account: str = field(repr=False)
    password: str = field(repr=False)


def credentials_of(body: bytes) -> Credentials | None:
    """Return what a body holds, `{"account": "...", "password": "..."}`; None if it holds anything else."""
    try:
        content = json.loads(body)
    except ValueError:
        return None
    match content:
        case {"account": str(account), "password": str(password)} if max(len(account), len(password)) <= _MAX_LENGTH:
            name = canonical(account)
            try:
                f"{name}{password}".encode()
            except UnicodeEncodeError:  # half a surrogate pair is valid JSON, and no text
                return None
            return Credentials(account=name, password=password) if name and password else None
    return None
