"""What of a store does not suit write-behind, as far as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import SidecarError
from sidecar.store import commands

if TYPE_CHECKING:
    from sidecar.call import Call
    from sidecar.store.base import Store

_POLICY = b"maxmemory_policy:"


async def warnings_of(store: Store, call: Call) -> list[str]:
    """Return what an operator has to know, a sentence each; nothing of a store that is not there."""
    try:
        told = await store.call(commands.info("memory"), call)
    except SidecarError:
        return []
    text = told if isinstance(told, bytes) else str(told).encode()
    policy = next((line[len(_POLICY) :] for line in text.splitlines() if line.startswith(_POLICY)), b"")
    if not policy.startswith(b"allkeys-"):
        return []
    warning = (
        f"the store's maxmemory-policy is {policy.decode()}, which may evict what write-behind caches have not stored "
        "yet; set one of volatile-*, or noeviction"
    )
    return [warning]
