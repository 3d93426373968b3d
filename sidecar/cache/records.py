"""A cache of records: named, typed fields in a Redis hash, PHI sealed field by field.

The hash's field "" holds the header (see `entry.py`). In a PHI cache every field is sealed but those that the policy
lists as clear, and the whole of what is sealed in one write shares one derived key. A read opens only the fields that
it asked for.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.cache.entry import decode_entry
from sidecar.cache.fields import MAX_FIELDS, check_field_names, decode_field, decode_name, encode_field
from sidecar.cache.formats import removed, written
from sidecar.cache.naming import Naming
from sidecar.cache.policy import Outcome, choose_ttl, judge
from sidecar.cache.request import check_size, refuse_if_absent, refuse_longer_life
from sidecar.crypto.envelope import OVERHEAD_BYTES
from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.store import commands, scripts
from sidecar.store.base import ScriptCall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.cache.fields import FieldValue
    from sidecar.cache.formats import Repeat
    from sidecar.cache.policy import CachePolicy, Limits, Written
    from sidecar.cache.request import WriteOptions
    from sidecar.call import Call
    from sidecar.clock import StoreClock
    from sidecar.crypto.sealing import FieldSealer
    from sidecar.store.base import Arg, Store
    from sidecar.store.keys import KeySpace
    from sidecar.telemetry.metrics import Cell, Counter

_HEADER = b""


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """The answer to a read. With a miss only `outcome` counts."""

    outcome: Outcome
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    version: int = 0
    ttl_ms: int | None = None
    age_ms: int | None = None


NO_RECORD = FoundRecord(Outcome.MISS)


class RecordCache:
    """One configured cache, as `RecordService` sees it."""

    def __init__(
        self,
        *,
        policy: CachePolicy,
        limits: Limits,
        store: Store,
        keys: KeySpace,
        clock: StoreClock,
        sealer: FieldSealer | None,
        reads: Counter,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._store = store
        self._keys = keys
        self._clock = clock
        self._sealer = sealer
        self._naming = Naming(limits, sealer)
        self._put = scripts.load("put_record")
        self._patch = scripts.load("patch_record")
        self._delete = scripts.load("delete_record")
        self._read_cells: dict[Outcome, Cell] = {
            outcome: reads.cell(policy.name, outcome.name.lower()) for outcome in Outcome
        }

    async def get(self, key: str, names: Sequence[str], call: Call) -> FoundRecord:
        """Read a record's fields of these names, or all if there are none."""
        check_field_names(list(names), "read_mask")
        name = await self._naming.name(key, call)
        stored = await self._read(self._keys.entry(self._policy.name, name), names, call)
        if sum(map(len, stored.values())) > self._limits.max_answer_bytes:
            raise SidecarError(
                Reason.ANSWER_TOO_LARGE,
                "the record is too large for a message (limits.max_message_bytes); read some of its fields",
                field="read_mask",
            )
        # A hash without a header is some other program's, and as malformed as an empty one.
        header = stored.pop(_HEADER, b"" if stored else None)
        found = judge(decode_entry(header), self._clock.micros(), self._policy.stale_for_ms)
        fields = None
        if found.outcome is not Outcome.MISS:
            fields = await self._open(name, {decode_name(label): content for label, content in stored.items()}, call)
        if fields is None:
            self._read_cells[Outcome.MISS].value += 1
            return NO_RECORD
        self._read_cells[found.outcome].value += 1
        values = {label: decode_field(content) for label, content in fields.items()}
        return FoundRecord(found.outcome, values, found.version, found.ttl_ms, found.age_ms)

    async def put(self, key: str, fields: Mapping[str, FieldValue], options: WriteOptions, call: Call) -> Written:
        """Write a whole record."""
        if not fields:
            raise InvalidArgumentError(Reason.FIELD_COUNT, "a record has at least one field", field="fields")
        encoded = self._encode(fields)
        ttl_ms = choose_ttl(self._policy, options.ttl_ms, random.random())  # noqa: S311 (spreading, no secret)
        name = await self._naming.name(key, call)
        asked = ("put", _canonical(encoded), options.ttl_ms, options.condition)
        repeat = await self._repeat(name, options, asked, call)
        args: list[Arg] = [ttl_ms, self._policy.stale_for_ms, options.condition, repeat.fingerprint, repeat.window_ms]
        args += await self._pairs(name, encoded, call)
        return written(await self._run(self._put, name, args, repeat, call))

    async def patch(
        self,
        key: str,
        fields: Mapping[str, FieldValue],
        remove: Sequence[str],
        options: WriteOptions,
        call: Call,
    ) -> Written:
        """Set and remove single fields of a record that is there."""
        refuse_if_absent(options.condition)
        check_field_names([*fields, *remove], "fields")
        if not fields and not remove:
            raise InvalidArgumentError(
                Reason.FIELD_COUNT,
                "there is no field to set or remove; to renew the TTL, put the record",
                field="fields",
            )
        encoded = self._encode(fields)
        ttl_ms: Arg = ""
        if options.ttl_ms is not None:
            refuse_longer_life(self._policy)
            ttl_ms = choose_ttl(self._policy, options.ttl_ms, random.random())  # noqa: S311 (as above)
        name = await self._naming.name(key, call)
        asked = ("patch", _canonical(encoded), "\0".join(sorted(remove)), options.ttl_ms, options.condition)
        repeat = await self._repeat(name, options, asked, call)
        args: list[Arg] = [ttl_ms, self._policy.stale_for_ms, options.condition, repeat.fingerprint, repeat.window_ms]
        args += [MAX_FIELDS, self._most_bytes(), len(remove), *remove, *await self._pairs(name, encoded, call)]
        return written(await self._run(self._patch, name, args, repeat, call))

    async def delete(self, key: str, options: WriteOptions, call: Call) -> Written:
        """Remove a record."""
        refuse_if_absent(options.condition)
        name = await self._naming.name(key, call)
        repeat = await self._repeat(name, options, ("delete", options.condition), call)
        args: list[Arg] = [options.condition, repeat.fingerprint, repeat.window_ms]
        return removed(await self._run(self._delete, name, args, repeat, call))

    # --- inside ---

    async def _read(self, key: bytes, names: Sequence[str], call: Call) -> dict[bytes, bytes]:
        if not names:
            return dict(await self._store.call(commands.whole_hash(key), call))
        labels = (_HEADER, *(label.encode() for label in names))
        contents = await self._store.call(commands.hash_fields(key, labels), call)
        return {label: content for label, content in zip(labels, contents, strict=True) if content is not None}

    async def _open(self, name: bytes, stored: dict[str, bytes], call: Call) -> dict[str, bytes] | None:
        """Return the fields in the clear, or None if their key is gone; raises CIPHERTEXT_REJECTED."""
        if self._sealer is None:
            return stored
        sealed = {label: content for label, content in stored.items() if label not in self._policy.clear_fields}
        opened = await self._sealer.open(name, sealed, call) if sealed else {}
        return None if opened is None else {**stored, **opened}

    def _encode(self, fields: Mapping[str, FieldValue]) -> dict[str, bytes]:
        check_field_names(list(fields), "fields")
        encoded = {label: encode_field(value) for label, value in fields.items()}
        size = sum(len(label) + len(content) for label, content in encoded.items())
        check_size(size, self._limits.max_value_bytes, "fields")
        return encoded

    async def _pairs(self, name: bytes, encoded: dict[str, bytes], call: Call) -> list[Arg]:
        if self._sealer is not None:
            private = {label: content for label, content in encoded.items() if label not in self._policy.clear_fields}
            encoded = {**encoded, **await self._sealer.seal(name, private, call)}
        return [word for pair in encoded.items() for word in pair]

    async def _repeat(self, name: bytes, options: WriteOptions, asked: tuple[Arg | None, ...], call: Call) -> Repeat:
        def record_key(label: str) -> bytes:
            return self._keys.idempotency(self._policy.name, name, label)

        entry_key = self._keys.entry(self._policy.name, name)
        return await self._naming.repeat(options.idempotency_key, asked, entry_key, record_key, call)

    def _most_bytes(self) -> int:
        """Return what a record may add up to as stored: sealed fields are a little longer than what was put."""
        return self._limits.max_value_bytes + (MAX_FIELDS * OVERHEAD_BYTES if self._sealer is not None else 0)

    async def _run(
        self, script: scripts.Script, name: bytes, args: Sequence[Arg], repeat: Repeat, call: Call
    ) -> object:
        keys = (self._keys.entry(self._policy.name, name), repeat.record_key)
        return await self._store.run(ScriptCall(script, keys, tuple(args), repeat.safe), call)


def _canonical(encoded: Mapping[str, bytes]) -> bytes:
    """Return bytes that are the same for the same fields in any order."""
    return b"".join(
        b"%d:%b%d:%b" % (len(label), label.encode(), len(content), content)
        for label, content in sorted(encoded.items())
    )
