"""Settings without pydantic, for processes that only use them.

To judge a configuration takes pydantic, PyYAML and what they need: a third of an idle sidecar's memory, for something
that is done once. So a process that serves has another do it (`reading.py`), and there the classes of settings are
plain: of the same names and attributes, but they check nothing, and no file can be read with them. Such a process says
so before it imports any of these classes, by `use_plain_settings`; in all others they are pydantic's models.

What the classes are written with comes from `words.py`, which has it from pydantic or from here.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Self

_WORDS = "sidecar.config.words"
_MISSING: Any = object()

in_force = False
"""Whether the classes of settings are plain in this process."""


def use_plain_settings() -> None:
    """Have the classes of settings be plain in this process; raises RuntimeError if it is too late for that."""
    global in_force  # noqa: PLW0603 (it is one decision of the whole process)
    if not in_force and _WORDS in sys.modules:
        raise RuntimeError("settings are pydantic's models in this process already")
    in_force = True


class Field:
    """The default of a setting; what else is said of it matters where it is judged."""

    __slots__ = ("default", "default_factory")

    def __init__(self, default: Any = _MISSING, *, default_factory: Any = None, **_said: Any) -> None:
        self.default = default
        self.default_factory = default_factory

    def make(self) -> Any:
        """Return the default; raises TypeError where a setting has none."""
        if self.default_factory is not None:
            return self.default_factory()
        if self.default is _MISSING or self.default is ...:
            raise TypeError("a setting without a default is not given")
        return self.default


class BaseModel:
    """An immutable group of settings."""

    model_fields: ClassVar[dict[str, Field]] = {}
    """Its settings and their defaults, by name."""

    def __init_subclass__(cls, **_said: Any) -> None:
        own = vars(cls).get("__annotations__", {})
        fields = {name: _field(vars(cls).get(name, _MISSING)) for name in own if name != "model_config"}
        for name in fields:
            if name in vars(cls):
                delattr(cls, name)
        inherited = {name: field for base in reversed(cls.__mro__[1:]) for name, field in _fields_of(base).items()}
        cls.model_fields = inherited | fields

    def __init__(self, **given: Any) -> None:
        for name, field in self.model_fields.items():
            self.__dict__[name] = given.pop(name) if name in given else field.make()
        if given:
            raise TypeError(f"no setting is called {min(given)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name}: settings do not change")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what a model was pickled as, here or where it is pydantic's."""
        self.__dict__.update(state["__dict__"])

    def __getstate__(self) -> dict[str, Any]:
        """Return the state as pydantic's models have it, with nothing of what only they know."""
        return {"__dict__": dict(self.__dict__)}

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def model_copy(self, *, update: dict[str, Any]) -> Self:
        """Return a copy in which some settings are others."""
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__, **update)
        return copy

    @classmethod
    def model_rebuild(cls) -> None:
        """Do nothing: what stands in an annotation is of no matter here."""


def _field(said: Any) -> Field:
    return said if isinstance(said, Field) else Field(said)


def _fields_of(base: type) -> dict[str, Field]:
    fields: dict[str, Field] = vars(base).get("model_fields", {})
    return fields


class _Rule:
    """A rule about values, which nothing follows here."""

    __slots__ = ()

    def __init__(self, *_said: Any, **_more: Any) -> None:
        """Take what is said and forget it."""


AfterValidator = BeforeValidator = Strict = StringConstraints = ConfigDict = _Rule
PydanticCustomError = ValueError
core_schema: Any = None


def model_validator(**_said: Any) -> Any:
    """Return a decorator that leaves a rule about a whole section as it is."""
    return lambda rule: rule
