"""Who is logged in: account names in the sidecar's cache `sessions`, under the hash of a token.

The cache is of the class `phi`: names are sealed before they reach Redis. The token itself is nowhere but with its
owner, so whoever reads the store can be nobody.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar_client import SidecarClient

SESSION_SECONDS = 900


class Sessions:
    """The sessions of all instances of the service."""

    def __init__(self, sidecar: SidecarClient) -> None:
        self._sidecar = sidecar

    async def begin(self, account: str) -> str:
        """Return a new token of the account; raises SidecarError."""
        token = secrets.token_urlsafe()
        await self._sidecar.cache("sessions").set(_name(token), account, ttl=SESSION_SECONDS)
        return token

    async def account(self, token: str) -> str | None:
        """Return whose token it is, None if it is nobody's any more; raises SidecarError."""
        return (await self._sidecar.cache("sessions").get(_name(token))).text


def _name(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
