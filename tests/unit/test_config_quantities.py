"""Durations, sizes and rates as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.quantities import Duration, Rate, parse_size, render_size

UNITS = st.sampled_from(["ms", "s", "m", "h", "d"])


@pytest.mark.parametrize(
    ("text", "ms"),
    [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000), ("7d", 604_800_000), ("0s", 0)],
)
def test_duration_units(text: str, ms: int) -> None:
    """Each unit has its length in milliseconds."""
    assert Duration.parse(text) == Duration(ms)


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_duration_round_trip(ms: int) -> None:
    """What a duration is printed as reads back as the same duration."""
    assert Duration.parse(str(Duration(ms))) == Duration(ms)


@given(st.integers(min_value=0, max_value=10**12 - 1), UNITS)
def test_duration_is_printed_in_its_largest_unit(number: int, unit: str) -> None:
    """A duration is never printed longer than it was written, but for leading zeros."""
    written = f"{number}{unit}"
    assert len(str(Duration.parse(written))) <= max(len(written), len("0s"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "-5s",
        "+5s",
        "1.5s",
        "1h30m",
        "5 s",
        " 5s",
        "5S",
        "5sec",
        "\u0665s",
        "5s\n",
        "9" * 16 + "s",
        "PT5M",
    ],
)
def test_duration_refuses(text: str) -> None:
    """Anything but a whole number and a unit is refused."""
    with pytest.raises(ValueError, match="a duration is a whole number"):
        Duration.parse(text)


def test_duration_in_seconds() -> None:
    """Timers get seconds as a float."""
    assert Duration.parse("250ms").seconds == 0.25


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_size_round_trip(size_bytes: int) -> None:
    """What a size is printed as reads back as the same size."""
    assert parse_size(render_size(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("512B", 512), ("64KiB", 65_536), ("1MiB", 1_048_576), ("2GiB", 2_147_483_648)]
)
def test_size_units(text: str, size_bytes: int) -> None:
    """Each unit has its size in bytes."""
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "1", "1MB", "1M", "1.5MiB", "-1MiB", "1 MiB", "9" * 16 + "B"])
def test_size_refuses(text: str) -> None:
    """Anything but a whole number and a binary unit is refused."""
    with pytest.raises(ValueError, match="a size is a whole number"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=10**12 - 1), st.sampled_from(["s", "m", "h", "d"]))
def test_rate_round_trip(amount: int, unit: str) -> None:
    """What a rate is printed as reads back as the same rate."""
    rate = Rate.parse(f"{amount}/{unit}")
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize("text", ["", "100", "100/", "/s", "100/5s", "100/ms", "1.5/s", "-1/s", "100 / s", "100/S"])
def test_rate_refuses(text: str) -> None:
    """Anything but a whole number per unit is refused."""
    with pytest.raises(ValueError, match="a rate is a whole number"):
        Rate.parse(text)
