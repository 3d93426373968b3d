"""Rows of a load as caches take them. Pure: what a driver gives for a row in, what there is under each key out.

The columns are `key` and `value`, and `ttl_ms` and `tags` if the statement has them. A value is text, JSON or bytes; a
number or a time would be written as this driver happens to write it, so the statement says how, with a cast to text.
No row, or a value that is NULL, is that there is no such thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sidecar.origins.answers import kept
from sidecar.origins.failures import bad_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sidecar.cache.origin import OriginValue
    from sidecar.errors import SidecarError

TEXT_TYPES: Final = frozenset({"text", "varchar", "bpchar", "name", "citext"})
KEY_TYPES: Final = TEXT_TYPES | {"int2", "int4", "int8", "uuid", "bytea"}
VALUE_TYPES: Final = TEXT_TYPES | {"json", "jsonb", "bytea"}
_NUMBER_TYPES: Final = frozenset({"int2", "int4", "int8"})
_TAGS_TYPES: Final = frozenset({f"{name}[]" for name in TEXT_TYPES})


def column_problems(columns: Mapping[str, str]) -> list[str]:
    """Return what is wrong with a load's columns, which are types by name."""
    problems = [f"returns no column `{name}`" for name in ("key", "value") if name not in columns]
    for name, types, advice in (
        ("key", KEY_TYPES, "cast it to text"),
        ("value", VALUE_TYPES, "cast it to text, jsonb or bytea"),
        ("ttl_ms", _NUMBER_TYPES, "cast it to bigint"),
        ("tags", _TAGS_TYPES, "cast it to text[]"),
    ):
        if name in columns and columns[name] not in types:
            problems.append(f"returns `{name}` as {columns[name]}: {advice}")
    return problems


def values_of(
    origin: str, keys: Sequence[str], rows: Iterable[Mapping[str, Any]], *, max_value_bytes: int
) -> list[OriginValue | SidecarError | None]:
    """Return what the rows say of each key.

    After a row for a key that was not asked for, nobody knows whether a key without a row has none: it may be the same
    key, written otherwise.
    """
    found: dict[str, OriginValue | SidecarError | None] = {}
    wanted = set(keys)
    nothing: SidecarError | None = None
    for row in rows:
        key = key_of(row.get("key"))
        if key is None or key not in wanted:
            nothing = bad_answer(origin, "returns a row with a key that was not asked for")
        elif key in found:
            found[key] = bad_answer(origin, "returns more than one row for a key")
        else:
            found[key] = _value_of(origin, row, max_value_bytes)
    return [found.get(key, nothing) for key in keys]


def key_of(key: object) -> str | None:
    """Return the key that a row's column `key` says; None for what is none."""
    if isinstance(key, bytes):
        return key.decode(errors="replace")
    return str(key) if isinstance(key, str | int | UUID) and not isinstance(key, bool) else None


def _value_of(origin: str, row: Mapping[str, Any], max_value_bytes: int) -> OriginValue | SidecarError | None:
    value, ttl_ms, tags = row.get("value"), row.get("ttl_ms"), row.get("tags")
    if value is None:
        return None
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, bytes):
        return bad_answer(origin, "returns a value that is neither text nor JSON nor bytes")
    if ttl_ms is not None and not isinstance(ttl_ms, int):
        return bad_answer(origin, "returns a TTL that is no whole number")
    if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        return bad_answer(origin, "returns tags that are not text")
    return kept(origin, value, max_value_bytes=max_value_bytes, ttl_ms=ttl_ms, tags=tuple(tags or ()))
