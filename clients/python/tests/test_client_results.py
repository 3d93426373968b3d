"""What calls return, however it was made."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidecar_client import Lookup, Outcome
from sidecar_client.results import lookup_of

if TYPE_CHECKING:
    from datetime import timedelta

SPANS = st.none() | st.timedeltas()


@given(st.sampled_from(Outcome), st.none() | st.binary(), st.integers(0, 2**64 - 1), SPANS, SPANS)
def test_a_lookup_made_the_short_way_is_one_like_any_other(
    outcome: Outcome, value: bytes | None, version: int, ttl: timedelta | None, age: timedelta | None
) -> None:
    """Equal, with the same hash and text."""
    expected = Lookup(outcome=outcome, value=value, version=version, ttl=ttl, age=age)
    made = lookup_of(outcome, value, version, ttl, age)
    assert (expected, hash(expected), repr(expected)) == (made, hash(made), repr(made))
    assert replace(expected, version=1) == replace(made, version=1)


def test_it_cannot_be_changed_and_is_neither_true_nor_false() -> None:
    """As one that its constructor made."""
    made = lookup_of(Outcome.HIT, b"v", 1, None, None)
    with pytest.raises(FrozenInstanceError):
        made.version = 2  # type: ignore[misc] # (the test's point)
    with pytest.raises(TypeError):
        bool(made)
