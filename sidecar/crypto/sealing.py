"""What a cache with sealed fields asks for: seal these values, open those, name this entry.

One `FieldSealer` serves one cache. The fields of one call to `seal` share a salt, so a write costs one key
derivation, and so does reading what was written together; a record patched since has several salts, each derived once
in a call.

An entry's name is an HMAC of the caller's key, since keys such as "patient:4711" or a social security number tell as
much as the value. The HMAC key is the cache's own, so equal keys of two caches have different names.
"""

from __future__ import annotations

import base64
import hmac
import os
from functools import lru_cache
from typing import TYPE_CHECKING

from sidecar.crypto.envelope import (
    MESSAGES_PER_SALT,
    NONCE_BYTES,
    SALT_BYTES,
    EnvelopeError,
    MessageKey,
    frame,
    read_write,
    start_write,
)
from sidecar.crypto.keyring import NAMES
from sidecar.errors import Reason, SidecarError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.call import Call
    from sidecar.crypto.envelope import DataKey
    from sidecar.crypto.keyring import KeyRing
    from sidecar.telemetry.metrics import Metrics

# 192 bits of HMAC-SHA-256: no two names meet, and 24 bytes are 32 base64 characters without padding.
_NAME_BYTES = 24


# A schema has tens of field names. The bound is for callers who invent them.
@lru_cache(maxsize=4096)
def _frame_field(field: str) -> bytes:
    return frame(field.encode())


class CryptoCounters:
    """The counters of all sealers; make one for a process."""

    def __init__(self, metrics: Metrics) -> None:
        self.fields = metrics.counter(
            "sidecar_crypto_fields",
            "Field values sealed, opened, and rejected because they do not authenticate.",
            "cache",
            "operation",
        )
        self.data_keys_missing = metrics.counter(
            "sidecar_crypto_data_keys_missing",
            "Reads of sealed values whose data key is gone; each was answered as a miss.",
            "cache",
        )


class FieldSealer:
    """Seals and opens the fields of one cache's entries.

    `max_life_ms` is the longest time that an entry stays in the store: the longest TTL with its jitter, and the
    stale time.
    `schema_version` is authenticated with each value: a sealer of another version opens none of them.
    """

    def __init__(
        self,
        *,
        ring: KeyRing,
        cache: str,
        max_life_ms: int,
        counters: CryptoCounters,
        schema_version: int = 1,
    ) -> None:
        self._ring = ring
        self._cache = cache
        self._max_life_ms = max_life_ms
        self._scope = frame(ring.tenant.encode(), cache.encode())
        self._schema = frame(schema_version.to_bytes(4, "big"))
        self._sealed = counters.fields.cell(cache, "sealed")
        self._opened = counters.fields.cell(cache, "opened")
        self._rejected = counters.fields.cell(cache, "rejected")
        self._missing = counters.data_keys_missing.cell(cache)

    async def seal(self, name: bytes, values: Mapping[str, bytes], call: Call) -> dict[str, bytes]:
        """Return the envelopes of an entry's clear values, by field. `name` is the entry's name in the store.

        Raises `SidecarError`: KEY_ENCRYPTION_KEY_UNKNOWN, or the store's if the data key has to be asked for.
        """
        epoch = self._ring.current_epoch()
        key = self._ring.cached(self._cache, epoch) or await self._obtain(epoch, call)
        context = self._scope + frame(name)
        schema = self._schema
        sealed = {}
        for number, (field, value) in enumerate(values.items()):
            if number % MESSAGES_PER_SALT == 0:
                message_key = MessageKey(key, start_write(key, epoch, os.urandom(SALT_BYTES)))
            sealed[field] = message_key.seal(value, context + _frame_field(field) + schema, os.urandom(NONCE_BYTES))
        self._sealed.value += len(sealed)
        return sealed

    async def open(self, name: bytes, sealed: Mapping[str, bytes], call: Call) -> dict[str, bytes] | None:
        """Return the clear values in an entry's envelopes, or None if the data key of one is gone.

        Raises `SidecarError`: CIPHERTEXT_REJECTED if one does not authenticate (then none is returned),
        KEY_ENCRYPTION_KEY_UNKNOWN, or the store's if a data key has to be asked for.
        """
        context = self._scope + frame(name)
        schema = self._schema
        message_keys: dict[bytes, MessageKey] = {}
        opened = {}
        try:
            for field, envelope in sealed.items():
                write, epoch, key_id = read_write(envelope)
                message_key = message_keys.get(write)
                if message_key is None:
                    key = await self._find(epoch, key_id, call)
                    if key is None:
                        self._missing.value += 1
                        return None
                    message_key = message_keys[write] = MessageKey(key, write)
                opened[field] = message_key.open(envelope, context + _frame_field(field) + schema)
        except EnvelopeError:
            self._rejected.value += 1
            raise SidecarError(
                Reason.CIPHERTEXT_REJECTED,
                "a sealed value does not authenticate: it was altered, cut or moved; nothing was returned",
            ) from None
        self._opened.value += len(opened)
        return opened

    async def entry_name(self, key: str, call: Call) -> bytes:
        """Return the name under which the entry of a caller's key is stored: 32 characters of base64url.

        Raises `SidecarError` as `seal` does.
        """
        name_key = self._ring.cached(self._cache, NAMES) or await self._obtain(NAMES, call)
        digest = hmac.digest(name_key.secret, key.encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:_NAME_BYTES])

    # --- data keys ---

    async def _obtain(self, epoch: int, call: Call) -> DataKey:
        try:
            return await self._ring.obtain(self._cache, epoch, self._max_life_ms, call)
        except SidecarError as error:
            self._count_rejected(error)
            raise

    async def _find(self, epoch: int, key_id: bytes, call: Call) -> DataKey | None:
        key = self._ring.cached(self._cache, epoch)
        if key is not None and key.id == key_id:
            return key
        try:
            return await self._ring.find(self._cache, epoch, key_id, self._max_life_ms, call)
        except SidecarError as error:
            self._count_rejected(error)
            raise

    def _count_rejected(self, error: SidecarError) -> None:
        if error.reason is Reason.CIPHERTEXT_REJECTED:
            self._rejected.value += 1
