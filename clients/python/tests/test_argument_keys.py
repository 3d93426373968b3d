"""Keys that are made of a function's arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidecar_client.argument_keys import MAX_KEY_BYTES, ArgumentKeys, bounded, written

LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


class Colour(Enum):
    """An enumeration."""

    RED = 1


@dataclass(frozen=True)
class Account:
    """A value of several parts."""

    bank: str
    number: int


def subject(account: Any, currency: str = "EUR", *rest: int, **more: int) -> None:
    """Have a signature."""


KEYS = ArgumentKeys(subject, name="subject")


def test_a_key_names_function_and_arguments() -> None:
    """Readably, in the order of the signature, defaults included."""
    expected = "subject(account=7,currency='EUR',rest=tuple(),more=dict())"
    assert [expected] * 3 == [KEYS.key(7), KEYS.key(account=7), KEYS.key(7, "EUR")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "'a'"),
        (True, "True"),
        (Decimal("1.50"), "Decimal('1.50')"),
        (datetime(2026, 1, 2, tzinfo=UTC), "datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)"),
        (Colour.RED, "Colour.RED"),
        ({2, 1}, "set(1,2)"),
        ({"b": 1, "a": 2}, "dict('a':2,'b':1)"),
        (Account("x", 7), "Account(bank='x',number=7)"),
    ],
)
def test_each_kind_of_value_has_a_form(value: Any, expected: str) -> None:
    """The same in each process."""
    assert expected == written(value)


def test_what_has_no_stable_form_is_refused() -> None:
    """Its text would hold an address, and each call have an entry of its own."""
    with pytest.raises(TypeError, match="of subject: values of type object make no stable key; give `key=` or ignore"):
        KEYS.key(object())


@given(VALUES, VALUES)
def test_different_arguments_have_different_keys(one: Any, other: Any) -> None:
    """Types count: 1 is neither True nor '1'."""
    assert (repr(_sorted(one)) == repr(_sorted(other))) == (KEYS.key(one) == KEYS.key(other))


def _sorted(value: Any) -> Any:
    """Order dictionaries, whose order does not count."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return type(value)(_sorted(item) for item in value) if isinstance(value, (list, tuple)) else value


@given(st.text(max_size=2 * MAX_KEY_BYTES))
def test_no_key_is_longer_than_the_sidecar_takes(text: str) -> None:
    """And what fits stays as it is."""
    key = bounded(text)
    assert len(key.encode()) <= MAX_KEY_BYTES
    assert (len(text.encode()) <= MAX_KEY_BYTES) == (key == text)


def test_long_keys_differ_by_their_digest() -> None:
    """Their beginning stays readable, and is cut between characters."""
    one, other = bounded("é" * 300 + "1"), bounded("é" * 300 + "2")
    assert one != other
    assert one.startswith("é" * 220)
