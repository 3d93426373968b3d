"""From an event's fields to what is invalidated. Pure.

All rules whose `when` the fields meet are followed. A rule's texts are rendered one by one, and those that lack a field
give nothing: an update tells of old and new, an insert of new alone. If none of its texts gives anything, or one gives
what can be no key, the event does not fit the rule.

A trigger that cannot name the rows tells of `many` (see `triggers.py`). A rule that cannot name entries for that takes
it as it takes a gap: anything may have changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.template import Path, Template, TooManyTextsError, texts_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MANY = "many"
"""The field that says, true, that no rows are named since there are too many."""

Scalar = str | int | Decimal | bool | None


class Reach(Enum):
    """What of a cache is invalidated."""

    KEYS = "keys"
    TAGS = "tags"
    PREFIX = "prefix"
    ALL = "all"


class Effect(NamedTuple):
    """Something to invalidate."""

    cache: str
    reach: Reach
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What an event that meets `when` invalidates."""

    when: tuple[tuple[Path, Scalar], ...]
    cache: str
    reach: Reach
    templates: tuple[Template, ...] = ()
    max_bytes: int = 512
    """The longest text that may be rendered, in bytes of UTF-8."""
    takes_many: bool = False
    """Whether `many` among the fields may stand for entries that are not named."""

    def applies(self, fields: Mapping[str, Any]) -> bool:
        """Say whether fields meet `when`; of a list one item is enough."""
        return all(any(_equal(found, value) for found in texts_at(fields, path)) for path, value in self.when)


class Judged(NamedTuple):
    """What an event means."""

    effects: tuple[Effect, ...] = ()
    matched: bool = False
    """Whether any rule applies."""
    misfits: tuple[str, ...] = ()
    """Why it does not fit a rule that applies, a sentence each that holds nothing of the event."""
    unnamed: tuple[str, ...] = ()
    """The caches of which any entry may have changed."""


def judge(rules: Sequence[Rule], fields: Mapping[str, Any]) -> Judged:
    """Return what an event means by these rules."""
    applying = [rule for rule in rules if rule.applies(fields)]
    effects: list[Effect] = []
    misfits: list[str] = []
    unnamed: list[str] = []
    for rule in applying:
        effect = _effect(rule, fields)
        if isinstance(effect, Effect):
            effects.append(effect)
        elif rule.takes_many and fields.get(MANY) is True:
            unnamed.append(rule.cache)
        else:
            misfits.append(effect)
    return Judged(tuple(effects), bool(applying), tuple(misfits), tuple(dict.fromkeys(unnamed)))


def _effect(rule: Rule, fields: Mapping[str, Any]) -> Effect | str:
    """Return what a rule that applies invalidates, or why it cannot be said."""
    if rule.reach is Reach.ALL:
        return Effect(rule.cache, Reach.ALL)
    try:
        values = [text for template in rule.templates for text in template.render(fields)]
    except TooManyTextsError:
        return "its lists give too many keys"
    if not values:
        return "a field is missing"
    try:
        longest = max(len(value.encode()) for value in values)
    except UnicodeEncodeError:  # JSON can write half of a character
        return "it gives what is no text"
    if longest > rule.max_bytes:
        return f"it gives a text of more than {rule.max_bytes} bytes"
    return Effect(rule.cache, rule.reach, tuple(dict.fromkeys(values)))


def _equal(found: Any, value: Scalar) -> bool:
    """Say whether a field is what a rule wants: 1 is no true, and no "1"."""
    if isinstance(found, bool) or isinstance(value, bool) or found is None or value is None:
        return found is value
    return isinstance(found, str) == isinstance(value, str) and bool(found == value)
