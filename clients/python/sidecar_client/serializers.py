"""How values become the bytes of cache entries, and values again.

JSON by default, written by msgspec after the function's return type: programs in other languages read it, and so does
an operator. What is stored may be an earlier version's of the program: msgspec checks it against the type as it decodes
it, and what does not fit is no value.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

ValueT = TypeVar("ValueT")


class Serializer(Protocol[ValueT]):
    """Writes values and reads them; None never comes to it."""

    def encode(self, value: ValueT, /) -> bytes:
        """Return the value as it is stored; whatever this raises, the caller of the function gets."""
        ...

    def decode(self, octets: bytes, /) -> ValueT:
        """Return what was stored; whatever this raises means that it is no such value, and it is loaded anew."""
        ...


class MsgspecSerializer(Generic[ValueT]):
    """JSON of a type that msgspec knows: plain and dated values, containers, dataclasses, its Structs.

    Raises ImportError, which says what to install, if there is no msgspec, and TypeError for other types.
    """

    def __init__(self, kind: Any) -> None:
        try:
            import msgspec  # noqa: PLC0415 (an extra: whoever brings a serializer needs none)
        except ImportError as error:
            raise _not_installed() from error
        self._encoder = msgspec.json.Encoder()
        self._decoder: msgspec.json.Decoder[ValueT] = msgspec.json.Decoder(kind)

    def encode(self, value: ValueT, /) -> bytes:
        """Return the value as JSON."""
        return self._encoder.encode(value)

    def decode(self, octets: bytes, /) -> ValueT:
        """Return the value, checked against the type; raises msgspec.DecodeError."""
        return self._decoder.decode(octets)


def check_annotated(function: Callable[..., Any]) -> None:
    """Raise TypeError if a function does not say what it returns, ImportError if there is no msgspec.

    Only that: an annotation may name what its module defines further down.
    """
    if "return" not in getattr(function, "__annotations__", {}):
        raise TypeError(f"{function.__qualname__} has no return annotation: add one, or give `serializer=`")
    if find_spec("msgspec") is None:
        raise _not_installed()


def by_annotation(function: Callable[..., Any]) -> MsgspecSerializer[Any]:
    """Return a serializer of what a function returns; raises TypeError if msgspec does not know the type."""
    try:
        kind = get_type_hints(function, include_extras=True)["return"]
    except NameError as error:
        raise TypeError(
            f"the return annotation of {function.__qualname__} cannot be resolved ({error}): "
            "import what it names at run time, or give `serializer=`"
        ) from error
    return MsgspecSerializer(kind)


def _not_installed() -> ImportError:
    return ImportError(
        "cached values are written by msgspec, which is not installed: "
        "pip install 'sidecar-client[cached]', or give `serializer=`"
    )
