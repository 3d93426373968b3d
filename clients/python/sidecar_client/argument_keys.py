"""Keys of cache entries, made from a function's arguments.

A key must be the same in each process, today and tomorrow, for the same arguments, and another for others. So it is
written from values whose text is known to be stable, each in a form that tells its type (`1` and `'1'` differ, as do
a list and a tuple), and what has no such form is refused: the `repr` of most objects holds their address, and each call
would have an entry of its own.

A key is readable as long as it fits into what the sidecar takes. A longer one keeps its beginning, for people, and ends
with the SHA-256 of the whole, which is what tells it from others.
"""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# What the sidecar takes at most (cache.proto).
MAX_KEY_BYTES = 512
# "~" and the digest in hexadecimal.
_DIGEST_BYTES = 1 + 64

# What a method's first parameter is called: the object is not what the entry is about.
_RECEIVERS = frozenset({"self", "cls"})

_PLAIN = frozenset({type(None), bool, int, float, str, bytes, Decimal, UUID, date, time, timedelta, datetime})
_SEQUENCES = frozenset({list, tuple})
_SETS = frozenset({set, frozenset})


def bounded(key: str) -> str:
    """Return a key as it is if the sidecar takes it, otherwise its beginning with a digest of the whole."""
    octets = key.encode()
    if len(octets) <= MAX_KEY_BYTES:
        return key
    beginning = octets[: MAX_KEY_BYTES - _DIGEST_BYTES].decode(errors="ignore")
    return f"{beginning}~{hashlib.sha256(octets).hexdigest()}"


class ArgumentKeys:
    """Makes keys of one function's arguments: `name(account=7,currency='EUR')`."""

    def __init__(self, function: Callable[..., Any], *, name: str, ignore: Iterable[str] = ()) -> None:
        self._name = name
        self._signature = inspect.signature(function)
        parameters = list(self._signature.parameters)
        ignored = set(ignore)
        unknown = ignored.difference(parameters)
        if unknown:
            raise ValueError(f"{name} has no parameters {sorted(unknown)} to ignore")
        self._ignored = ignored | _RECEIVERS.intersection(parameters[:1])

    def key(self, *args: Any, **kwargs: Any) -> str:
        """Return the key, the same however the arguments are passed; raises TypeError if one has no stable form."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        parts = [
            f"{parameter}={self._written(parameter, value)}"
            for parameter, value in bound.arguments.items()
            if parameter not in self._ignored
        ]
        return bounded(f"{self._name}({','.join(parts)})")

    def _written(self, parameter: str, value: Any) -> str:
        try:
            return written(value)
        except TypeError as error:
            raise TypeError(f"{parameter} of {self._name}: {error}; give `key=` or ignore it") from None


def written(value: Any) -> str:
    """Return the stable form of a value, which tells its type; raises TypeError if there is none."""
    kind = type(value)
    if kind in _PLAIN:
        return repr(value)
    if isinstance(value, Enum):
        return f"{kind.__qualname__}.{value.name}"
    if kind in _SEQUENCES:
        return f"{kind.__name__}({','.join([written(item) for item in value])})"
    if kind in _SETS:
        return f"{kind.__name__}({','.join(sorted(written(item) for item in value))})"
    if kind is dict:
        return f"dict({','.join(sorted(f'{written(key)}:{written(item)}' for key, item in value.items()))})"
    if is_dataclass(value):
        items = [f"{field.name}={written(getattr(value, field.name))}" for field in fields(value) if field.compare]
        return f"{kind.__qualname__}({','.join(items)})"
    raise TypeError(f"values of type {kind.__qualname__} make no stable key")
