"""From pydantic's errors to sentences that an operator can act on.

Pydantic reports types, this says what to write instead. Text that may be a secret is not repeated: only numbers and a
word that should have been one of a few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.problems import Path, did_you_mean, nearest, shown
from sidecar.config.shape import Shape, settings_shape, variants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic_core import ErrorDetails

_WANTED = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text; a number or true and false need quotes",
    "string_unicode": "is not UTF-8 text",
    "dict_type": "must be a mapping of names to settings",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list, such as [a, b]",
    "missing": "is missing",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}
# The kind that need not be named.
_COMBINED = "combined"
# So many keys are named to who has written something else in place of a section.
_FEW_KEYS = 5


def locate(location: Sequence[str | int]) -> tuple[Path, Shape | None]:
    """Return the setting that an error is about, without what pydantic adds, and the shape of what encloses it."""
    path: Path = ()
    parent: Shape | None = None
    shape: Shape | None = settings_shape()
    for part in location:
        if shape is not None and part in shape.variants and part not in shape.parts:
            shape = shape.variants[str(part)]
        elif part != "[key]":
            path = (*path, part)
            parent, shape = shape, (shape.at(part) if shape else None)
    return path, parent


def sentence(error: ErrorDetails, path: Path, parent: Shape | None) -> str:
    """Return what is wrong, for people."""
    kind = error["type"]
    if kind == "extra_forbidden":
        name = str(path[-1])
        return f"unknown key `{shown(name)}`{did_you_mean(name, parent.parts if parent else ())}"
    if kind in {"model_type", "model_attributes_type"} and parent is not None:
        return _no_section(parent.at(path[-1]))
    if kind in _WANTED:
        return _WANTED[kind]
    if kind == "union_tag_not_found":
        return _no_tag(error["input"], _tag_name(error["ctx"]), path)
    write = _WRITERS.get(kind)
    return write(error["input"], error.get("ctx", {})) if write else error["msg"]


def meant(path: Path, parent: Shape | None) -> Path | None:
    """Return the setting that an unknown key was most likely meant for."""
    match = nearest(str(path[-1]), parent.parts) if parent else None
    return (*path[:-1], match) if match else None


def _below(written: Any, context: dict[str, Any]) -> str:
    return f"{_number(written)} is below the least allowed, {_number(context['ge'])}"


def _above(written: Any, context: dict[str, Any]) -> str:
    return f"{_number(written)} is above the most allowed, {_number(context['le'])}"


def _number(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else shown(str(number))


def _literal(written: Any, context: dict[str, Any]) -> str:
    return _none_of(written, context["expected"].replace(" or ", ", "))


def _tag(written: Any, context: dict[str, Any]) -> str:
    return _none_of(written.get(_tag_name(context)), context["expected_tags"])


def _tag_name(context: dict[str, Any]) -> str:
    """Return the setting that tells the sections apart that may stand at a place."""
    return str(context["discriminator"]).strip("'")


def _no_tag(written: Any, tag: str, path: Path) -> str:
    for key in written:
        if nearest(str(key), [tag]):
            return f"unknown key `{shown(str(key))}`, did you mean `{tag}`?"
    names = variants(path)
    text = f"needs `{tag}`: one of {', '.join(name for name in names if name != _COMBINED)}"
    return f"{text}; or `limits`, to combine several" if _COMBINED in names else text


def _no_section(shape: Shape | None) -> str:
    if shape is not None and 0 < len(shape.parts) <= _FEW_KEYS:
        return f"must be a mapping with the keys {', '.join(shape.parts)}"
    return _WANTED["model_type"]


def _none_of(written: object, expected: str) -> str:
    choices = expected.replace("'", "").split(", ")
    listed = ", ".join(choices)
    if not isinstance(written, str):
        return f"must be {listed}" if len(choices) == 1 else f"must be one of {listed}"
    return f"`{shown(written)}` is none of {listed}{did_you_mean(written, choices)}"


def _rule(_written: Any, context: dict[str, Any]) -> str:
    return str(context["error"])


def _pattern(_written: Any, context: dict[str, Any]) -> str:
    return f"must match {context['pattern']}"


def _too_many(_written: Any, context: dict[str, Any]) -> str:
    return f"holds more than {context['max_length']} items"


def _too_long(_written: Any, context: dict[str, Any]) -> str:
    return f"is longer than {context['max_length']} characters"


_WRITERS: dict[str, Callable[[Any, dict[str, Any]], str]] = {
    "greater_than_equal": _below,
    "less_than_equal": _above,
    "literal_error": _literal,
    "union_tag_invalid": _tag,
    "value_error": _rule,
    "string_pattern_mismatch": _pattern,
    "too_long": _too_many,
    "string_too_long": _too_long,
}
