"""What calls return, however it was made."""

from __future__ import annotations

import pickle
from copy import copy, deepcopy
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidecar_client import Lookup, Outcome
from sidecar_client.durations import to_duration
from sidecar_client.gen.sidecar.v1 import cache_pb2
from sidecar_client.results import lookup_of

SPANS = st.none() | st.timedeltas(timedelta(0), timedelta(days=3650))


@given(st.sampled_from([Outcome.HIT, Outcome.STALE]), st.binary(), st.integers(0, 2**64 - 1), SPANS, SPANS)
def test_a_lookup_says_what_the_answer_said(
    outcome: Outcome, value: bytes, version: int, ttl: timedelta | None, age: timedelta | None
) -> None:
    """However it was made; and so does a copy of it."""
    made = Lookup(outcome=outcome, value=value, version=version, ttl=ttl, age=age)
    arrived = lookup_of(
        cache_pb2.GetResponse(
            outcome=outcome.value, value=value, version=version, ttl=to_duration(ttl), age=to_duration(age)
        )
    )
    assert (outcome, value, version, ttl, age) == (made.outcome, made.value, made.version, made.ttl, made.age)
    for other in (arrived, copy(made), deepcopy(made), pickle.loads(pickle.dumps(made))):  # noqa: S301 (our own)
        assert (made, hash(made), repr(made)) == (other, hash(other), repr(other))
    assert Lookup(outcome=outcome, value=value + b"x", version=version, ttl=ttl, age=age) != made


def test_a_miss_has_nothing() -> None:
    """Least of all an empty value."""
    missed = lookup_of(cache_pb2.GetResponse(outcome=Outcome.MISS.value))
    assert missed == Lookup(outcome=Outcome.MISS)
    assert (missed.value, missed.text, missed.version, missed.ttl, missed.age) == (None, None, 0, None, None)
    assert [missed.found, missed.hit, missed.stale] == [False, False, False]


def test_it_cannot_be_changed_and_is_neither_true_nor_false() -> None:
    """As all results."""
    made = lookup_of(cache_pb2.GetResponse(outcome=Outcome.HIT.value, value=b"v"))
    with pytest.raises(AttributeError):
        made.version = 2  # type: ignore[misc] # (the test's point)
    with pytest.raises(AttributeError):
        made._answer = cache_pb2.GetResponse()
    with pytest.raises(TypeError):
        bool(made)
    assert made != "v"
