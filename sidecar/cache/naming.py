"""Under which name an entry is stored, and how its repeated writes are told from new ones.

In a cache that seals its values, neither the caller's key nor anything that follows from a value may reach the store in
the clear, so both the name and the fingerprint of a request pass through the sealer's keyed hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.cache.formats import Repeat
from sidecar.cache.request import check_idempotency_key, fingerprint
from sidecar.store.keys import check_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.cache.policy import Limits
    from sidecar.call import Call
    from sidecar.crypto.sealing import FieldSealer
    from sidecar.store.base import Arg


class Naming:
    """The names of one cache's entries."""

    def __init__(self, limits: Limits, sealer: FieldSealer | None) -> None:
        self._max_key_bytes = limits.max_key_bytes
        self._window_ms = limits.idempotency_window_ms
        self._sealer = sealer

    async def name(self, key: str, call: Call, field: str = "key") -> bytes:
        """Check a caller's key and return the name under which it is stored; raises KEY_EMPTY, KEY_TOO_LONG."""
        name = check_name(key, self._max_key_bytes, field)
        return name if self._sealer is None else await self._sealer.entry_name(key, call)

    async def repeat(
        self,
        idempotency_key: str,
        asked: tuple[Arg | None, ...],
        entry_key: bytes,
        record_key: Callable[[str], bytes],
        call: Call,
        *,
        turn: int = 0,
    ) -> Repeat:
        """Return how a script knows a repeat of the request that `asked` describes.

        Without an idempotency key it does not: the fingerprint is empty, and the entry's own key stands in for the
        record's. `turn` counts the writes of this entry that stand before in the same batch: each has its own record.
        """
        if not idempotency_key:
            return Repeat(entry_key, b"", 0)
        check_idempotency_key(idempotency_key)
        mark = fingerprint(*asked)
        label = f"{idempotency_key}\0{turn}" if turn else idempotency_key
        if self._sealer is not None:
            # A plain hash of something short can be guessed; one under the cache's secret cannot.
            mark = (await self._sealer.entry_name(f"fingerprint {mark.hex()}", call))[: len(mark)]
            label = (await self._sealer.entry_name(f"idempotency {label}", call)).decode()
        return Repeat(record_key(label), mark, self._window_ms)
