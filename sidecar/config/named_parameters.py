"""SQL with named parameters (`:key`), taken apart into what is sent as it is and the places where a parameter stands.

A statement of the configuration is written once, by the operator; what callers bring is never put into its text, but
sent beside it. So each `:name` becomes a numbered parameter of PostgreSQL's, and to find those the text must be read as
PostgreSQL's own lexer reads it (its manual, 4.1, "Lexical Structure"): a colon within a string, a quoted name, a
comment or a dollar-quoted text means nothing, and `::` is a cast. What is not a parameter stays as it is, to the
character, so that PostgreSQL's complaints are about what the operator wrote.

Strings are read as with `standard_conforming_strings = on`, which connections of the sidecar set.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A letter is also whatever is beyond ASCII, as PostgreSQL has it.
_LETTER = "A-Za-z_\x80-\U0010ffff"
_NAME = re.compile(f"[{_LETTER}][{_LETTER}0-9$]*")
_PARAMETER = re.compile(f":([{_LETTER}][{_LETTER}0-9$]*)")
# What a name or a number may end with. A `$1` right behind it would be a part of it.
_WORD_END = re.compile(f"[{_LETTER}0-9$]")
_DOLLAR_QUOTE = re.compile(rf"\$(?:[{_LETTER}][{_LETTER}0-9]*)?\$")
_STRING_END = re.compile(r"'")
_ESCAPED_STRING_END = re.compile(r"(?:[^'\\]|\\.)*'", re.DOTALL)
_NAME_END = re.compile(r'"')
# Two strings with a line break between them are one, of the first one's kind.
_CONTINUED = re.compile(r"(?:[ \t\r\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'")
_COMMENT_PART = re.compile(r"/\*|\*/")
# What needs a look; all before it is text.
_SPECIAL = re.compile(rf"[{_LETTER}'\"$:/-]")


class Statement(NamedTuple):
    """A statement taken apart: `texts[0]`, the parameter `names[0]`, `texts[1]`, and so on, up to a last text."""

    texts: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters, each once, in the order of their numbers."""
        return tuple(dict.fromkeys(self.names))

    def render(self, write: Callable[[str, int], str] | None = None) -> str:
        """Return the statement with `$1`, `$2`, or what `write` makes of a parameter's name and number."""
        numbers = {name: number for number, name in enumerate(self.parameters, 1)}
        parts = [self.texts[0]]
        for name, text in zip(self.names, self.texts[1:], strict=True):
            parts += [f"${numbers[name]}" if write is None else write(name, numbers[name]), text]
        return "".join(parts)


def take_apart(sql: str, known: Iterable[str]) -> Statement:
    """Find the parameters of a statement; raises ValueError, with a sentence, for what cannot be one.

    That is: a name that is not `known`, a numbered parameter, one that stands right behind a name or a number, and a
    string, name or comment that does not end.
    """
    allowed = tuple(known)
    texts: list[str] = []
    names: list[str] = []
    begun = place = 0
    while found := _SPECIAL.search(sql, place):
        place = found.start()
        name = _parameter_at(sql, place, allowed)
        if name is None:
            place = _past(sql, place)
            continue
        texts.append(sql[begun:place])
        names.append(name)
        begun = place = place + 1 + len(name)
    return Statement((*texts, sql[begun:]), tuple(names))


def _parameter_at(sql: str, place: int, allowed: tuple[str, ...]) -> str | None:
    """Return the name of the parameter that stands at a place, None if there is none."""
    matched = _PARAMETER.match(sql, place)
    if matched is None:
        if sql[place] == "$" and sql[place + 1 : place + 2].isdecimal():
            raise ValueError(f"parameters have names: write {_listed(allowed)} instead of ${sql[place + 1]}")
        return None
    if matched[1] not in allowed:
        raise ValueError(
            f"has no parameter `:{matched[1][:60]}`: there is {_listed(allowed)}; in a slice of an array put a space "
            "after the colon"
        )
    if place and _WORD_END.match(sql, place - 1):
        raise ValueError(
            f"`:{matched[1]}` stands right behind a name or number; in a slice of an array put a space after the colon"
        )
    return matched[1]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f":{name}" for name in names)


def _past(sql: str, place: int) -> int:
    """Return the place after the lexical element that begins at a place, and that is no parameter."""
    past = _PAST.get(sql[place])
    if past is not None:
        return past(sql, place)
    name = _NAME.match(sql, place)
    if name is None:
        return place + 1
    if name[0] in {"E", "e"} and sql.startswith("'", name.end()):
        return _past_string(sql, name.end() + 1, is_escaped=True)
    return name.end()


def _past_dollar(sql: str, place: int) -> int:
    quote = _DOLLAR_QUOTE.match(sql, place)
    if quote is None:
        return place + 1
    end = sql.find(quote[0], quote.end())
    if end < 0:
        raise ValueError(f"a text within {quote[0]} does not end")
    return end + len(quote[0])


def _past_colon(sql: str, place: int) -> int:
    return place + (2 if sql.startswith("::", place) else 1)


def _past_dash(sql: str, place: int) -> int:
    if not sql.startswith("--", place):
        return place + 1
    return min((end for end in (sql.find("\n", place), sql.find("\r", place)) if end >= 0), default=len(sql))


def _past_slash(sql: str, place: int) -> int:
    """Return the place after a comment, which may hold others."""
    if not sql.startswith("/*", place):
        return place + 1
    place += 2
    depth = 1
    while depth:
        matched = _COMMENT_PART.search(sql, place)
        if matched is None:
            raise ValueError("a comment does not end")
        depth += 1 if matched[0] == "/*" else -1
        place = matched.end()
    return place


def _past_string(sql: str, place: int, *, is_escaped: bool) -> int:
    while True:
        if is_escaped:
            matched = _ESCAPED_STRING_END.match(sql, place)
            if matched is None:
                raise ValueError("a string does not end")
            place = matched.end()
        else:
            place = _past_match(_STRING_END, sql, place, "a string")
        # A quote that is doubled stands for itself: the string goes on.
        if sql.startswith("'", place):
            place += 1
        elif continued := _CONTINUED.match(sql, place):
            place = continued.end()
        else:
            return place


def _past_match(end: re.Pattern[str], sql: str, place: int, what: str) -> int:
    matched = end.search(sql, place)
    if matched is None:
        raise ValueError(f"{what} does not end")
    return matched.end()


_PAST: dict[str, Callable[[str, int], int]] = {
    "'": lambda sql, place: _past_string(sql, place + 1, is_escaped=False),
    '"': lambda sql, place: _past_match(_NAME_END, sql, place + 1, "a quoted name"),
    "$": _past_dollar,
    ":": _past_colon,
    "-": _past_dash,
    "/": _past_slash,
}
