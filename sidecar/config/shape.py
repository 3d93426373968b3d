"""The form of the settings' tree, read from the models: which names there are at each place.

Two things need it: the suggestion for a name that is not known, and the way from a variable's name to a setting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from sidecar.config.model import Settings

if TYPE_CHECKING:
    from sidecar.config.problems import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One place in the tree: a section with named parts, a map or list of like items, or a single value."""

    parts: dict[str, Shape] = field(default_factory=dict)
    """The settings of a section; those of all its variants when there are several."""
    items: Shape | None = None
    """What a map or list holds."""
    is_map: bool = False
    variants: dict[str, Shape] = field(default_factory=dict)
    """The sections to choose from, by the value of the setting that tells them apart."""
    tag: str = ""
    """The name of that setting."""
    is_text: bool = False
    """Whether a single value is text, so that a variable's content stands for itself."""
    is_nullable: bool = False

    @property
    def is_container(self) -> bool:
        """Whether the place holds other settings."""
        return bool(self.parts) or self.items is not None

    def at(self, part: str | int) -> Shape | None:
        """Return the place below this one, or None if there is none of that name."""
        if self.items is not None and (self.is_map or isinstance(part, int)):
            return self.items
        return self.parts.get(part) if isinstance(part, str) else None


@cache
def settings_shape() -> Shape:
    """Return the whole tree."""
    return _of(Settings)


def shape_at(path: Path) -> Shape | None:
    """Return the place that a path leads to, or None if it leads nowhere."""
    shape: Shape | None = settings_shape()
    for part in path:
        shape = shape.at(part) if shape else None
    return shape


def variants(path: Path) -> list[str]:
    """Return the kinds of section that may stand at a place where there is a choice."""
    shape = shape_at(path)
    return list(shape.variants) if shape else []


# What tells apart rate limits, and origins.
_TAGS = ("algorithm", "kind")
# The one setting whose form is that of what it stands in.
_CANDIDATE = "candidate"


def _of(annotation: Any, *, inner: bool = False) -> Shape:
    """Return the form of a setting; `inner`: of one in a candidate, which has none itself."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in {Union, UnionType}:
        return _of_union([arg for arg in args if arg is not NoneType], nullable=NoneType in args, inner=inner)
    if origin is dict:
        return Shape(items=_of(args[1], inner=inner), is_map=True)
    if origin is tuple:
        return Shape(items=_of(args[0], inner=inner))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {name: info for name, info in annotation.model_fields.items() if not (inner and name == _CANDIDATE)}
        return Shape(
            parts={name: _of(info.annotation, inner=inner or name == _CANDIDATE) for name, info in fields.items()}
        )
    return Shape(is_text=annotation is str or origin is Literal)


def _of_union(members: list[Any], *, nullable: bool, inner: bool) -> Shape:
    if len(members) == 1:
        shape = _of(members[0], inner=inner)
        return Shape(
            parts=shape.parts,
            items=shape.items,
            is_map=shape.is_map,
            variants=shape.variants,
            tag=shape.tag,
            is_text=shape.is_text,
            is_nullable=nullable,
        )
    tag = next(tag for tag in _TAGS if all(tag in member.model_fields for member in members))
    variants = {get_args(member.model_fields[tag].annotation)[0]: _of(member, inner=inner) for member in members}
    parts = {name: part for shape in variants.values() for name, part in shape.parts.items()}
    return Shape(parts=parts, variants=variants, tag=tag)
