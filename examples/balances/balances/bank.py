"""What the hospital's cashier does: ask for a balance, by way of the sidecar, and post to an account, in the database.

It knows of no cache: no key is deleted here, and no TTL is chosen. Who posts does not even know that there is one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncpg
    from sidecar_client import SidecarClient


class Balance(NamedTuple):
    """What an account has."""

    account: str
    cents: int
    currency: str
    from_copy: bool
    """Whether the sidecar had it in its own memory."""

    def __str__(self) -> str:
        return f"{self.account}: {self.cents / 100:.2f} {self.currency}"


async def balance(sidecar: SidecarClient, account: str) -> Balance | None:
    """Return an account's balance; None if there is no such account."""
    found = await sidecar.cache("balances").get(account)
    if found.value is None:
        return None
    row = json.loads(found.value)
    return Balance(account, row["cents"], row["currency"], found.from_copy)


async def post(database: asyncpg.Pool, account: str, cents: int, what: str) -> None:
    """Post to an account."""
    await database.execute("INSERT INTO posting (account_id, cents, what) VALUES ($1, $2, $3)", account, cents, what)
