"""Python values as fields of a record, and back."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidecar_client.fields import from_field_value, to_field_value
from sidecar_client.gen.sidecar.v1 import record_pb2

if TYPE_CHECKING:
    from sidecar_client import Value

VALUES = st.one_of(
    st.text(),
    st.binary(),
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.floats(allow_nan=False),
    st.datetimes(timezones=st.just(UTC)),
)


@given(VALUES)
def test_a_value_comes_back_as_it_was_put(value: Value) -> None:
    """Value and type survive the wire."""
    sent = to_field_value(value).SerializeToString()
    back = from_field_value(record_pb2.FieldValue.FromString(sent))
    assert (value, type(value)) == (back, type(back))


def test_nan_stays_nan() -> None:
    """A number that is none is kept."""
    back = from_field_value(to_field_value(math.nan))
    assert isinstance(back, float)
    assert math.isnan(back)


def test_a_time_comes_back_in_utc() -> None:
    """It is the same moment, told by another clock."""
    moment = datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    back = from_field_value(to_field_value(moment))
    assert (moment, UTC) == (back, back.tzinfo if isinstance(back, datetime) else None)


def test_a_datetime_without_a_zone_is_refused() -> None:
    """It could be any of two dozen moments."""
    with pytest.raises(ValueError, match="time zone"):
        to_field_value(datetime(2026, 5, 1))  # noqa: DTZ001 (the point)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_an_integer_beyond_64_bits_is_refused(number: int) -> None:
    """It would not come back as it was put."""
    with pytest.raises(ValueError, match="out of range"):
        to_field_value(number)


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, timedelta(1)])
def test_another_type_is_refused(value: Any) -> None:
    """The message names what a field can hold."""
    with pytest.raises(TypeError, match="a field holds str, bytes, int, float, bool or an aware datetime"):
        to_field_value(value)


def test_a_kind_from_the_future_is_refused() -> None:
    """No value is made up for what the client does not know."""
    with pytest.raises(ValueError, match="newer"):
        from_field_value(record_pb2.FieldValue())
