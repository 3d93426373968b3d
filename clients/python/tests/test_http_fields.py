"""What HTTP answers say of rate limits, against values written by hand and a parser of structured fields."""

from __future__ import annotations

from datetime import timedelta

import http_sf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sidecar_client.http_fields import LimitItem, PolicyItem, rate_limit, rate_limit_policy, retry_after

# What the fields' own draft allows in a name, and numbers and times beyond what a structured field can hold.
names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)
counts = st.integers(0, 2**53)
times = st.timedeltas(timedelta(0), timedelta(days=366))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([PolicyItem(name="logins", quota=10)], '"logins";q=10'),
        ([PolicyItem(name="logins", quota=10, window=timedelta(minutes=1))], '"logins";q=10;w=60'),
        (
            [
                PolicyItem(name="burst", quota=100, window=timedelta(minutes=1)),
                PolicyItem(name="daily", quota=1000, window=timedelta(days=1)),
            ],
            '"burst";q=100;w=60, "daily";q=1000;w=86400',
        ),
        (
            [
                PolicyItem(
                    name="peruser",
                    quota=65535,
                    unit="content-bytes",
                    window=timedelta(seconds=10),
                    partition=b"\x00\xff",
                )
            ],
            '"peruser";q=65535;qu="content-bytes";w=10;pk=:AP8=:',
        ),
        ([PolicyItem(name='a "b" \\', quota=0)], '"a \\"b\\" \\\\";q=0'),
        ([PolicyItem(name="short", quota=3, window=timedelta(milliseconds=10))], '"short";q=3;w=1'),
        ([], ""),
    ],
)
def test_rate_limit_policy(items: list[PolicyItem], expected: str) -> None:
    """Name, quota, unit, window and partition, in the order of the draft's own examples."""
    assert expected == rate_limit_policy(items)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([LimitItem(name="default", remaining=50, reset_after=timedelta(seconds=30))], '"default";r=50;t=30'),
        ([LimitItem(name="default", remaining=999, partition=b"trial121323")], '"default";r=999;pk=:dHJpYWwxMjEzMjM=:'),
        ([LimitItem(name="a", remaining=1), LimitItem(name="b", remaining=2)], '"a";r=1, "b";r=2'),
        ([LimitItem(name="late", remaining=0, reset_after=timedelta(microseconds=1))], '"late";r=0;t=1'),
        ([LimitItem(name="full", remaining=5, reset_after=timedelta(0))], '"full";r=5;t=0'),
        ([], ""),
    ],
)
def test_rate_limit(items: list[LimitItem], expected: str) -> None:
    """Name, what is left, for how long, and partition."""
    assert expected == rate_limit(items)


def test_a_number_is_no_larger_than_a_structured_field_holds() -> None:
    """A limit of 2^53 has sixteen digits, and fifteen is the most."""
    item = PolicyItem(name="all", quota=2**53)
    assert '"all";q=999999999999999' == rate_limit_policy([item])


@pytest.mark.parametrize("name", ["", "größe", "line\nbreak", "\x7f"])
def test_a_name_that_no_field_can_hold_is_refused(name: str) -> None:
    """A line break in a name would end the field and begin another."""
    with pytest.raises(ValueError, match="printable ASCII"):
        rate_limit([LimitItem(name=name, remaining=0)])


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (timedelta(0), "0"),
        (timedelta(microseconds=1), "1"),
        (timedelta(seconds=1), "1"),
        (timedelta(seconds=57, milliseconds=600), "58"),
        (timedelta(days=366), "31622400"),
        (timedelta(seconds=-1), "0"),
    ],
)
def test_retry_after_is_whole_seconds_rounded_up(wait: timedelta, expected: str) -> None:
    """Who comes a fraction too early is refused again."""
    assert expected == retry_after(wait)


@settings(deadline=None)  # a machine may be busy
@given(st.lists(st.tuples(names, counts, st.none() | times, st.none() | st.binary(max_size=64)), min_size=1))
def test_another_parser_reads_rate_limit(drawn: list[tuple[str, int, timedelta | None, bytes | None]]) -> None:
    """Every value that is written is a list of structured fields, and means what was meant."""
    items = [LimitItem(name=name, remaining=left, reset_after=wait, partition=pk) for name, left, wait, pk in drawn]
    expected = [
        (
            item.name,
            {"r": min(item.remaining, 999_999_999_999_999)}
            | ({} if item.reset_after is None else {"t": -(-item.reset_after // timedelta(seconds=1))})
            | ({} if item.partition is None else {"pk": item.partition}),
        )
        for item in items
    ]
    assert expected == http_sf.parse(rate_limit(items).encode(), tltype="list")


@settings(deadline=None)  # a machine may be busy
@given(st.lists(st.tuples(names, counts, st.none() | times, st.none() | names), min_size=1))
def test_another_parser_reads_rate_limit_policy(drawn: list[tuple[str, int, timedelta | None, str | None]]) -> None:
    """A window is never said to be of no length, which the draft forbids."""
    items = [PolicyItem(name=name, quota=quota, window=window, unit=unit) for name, quota, window, unit in drawn]
    expected = [
        (
            item.name,
            {"q": min(item.quota, 999_999_999_999_999)}
            | ({} if item.unit is None else {"qu": item.unit})
            | ({} if item.window is None else {"w": max(1, -(-item.window // timedelta(seconds=1)))}),
        )
        for item in items
    ]
    assert expected == http_sf.parse(rate_limit_policy(items).encode(), tltype="list")
