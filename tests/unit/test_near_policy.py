"""What a caller may ask of a read: tokens of writes, and a bound of staleness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.near.policy import checked_staleness, moment_of, token_of
from sidecar.errors import InvalidArgumentError, Reason


@given(st.integers(1, 2**63))
def test_a_token_holds_a_moment(at_us: int) -> None:
    """What a write gives, a read takes."""
    assert at_us == moment_of(token_of(at_us))


def test_no_token_asks_for_nothing() -> None:
    """As proto3 has it for a field that is not set."""
    assert moment_of("") == 0


@pytest.mark.parametrize(
    "token", ["1", "x", "2" + 16 * "0", "1" + 15 * "0", "1" + 17 * "0", "1" + 15 * "0" + "G", "1" + 15 * "0" + "A"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    """Lest a caller believe to be told what it has written."""
    with pytest.raises(InvalidArgumentError) as refused:
        moment_of(token)

    assert (Reason.READ_TOKEN_MALFORMED, "token") == (refused.value.reason, refused.value.field)


def test_no_answer_is_newer_than_now() -> None:
    """A bound below zero is a mistake; zero asks the store."""
    with pytest.raises(InvalidArgumentError) as refused:
        checked_staleness(-0.001)

    assert Reason.STALENESS_NEGATIVE is refused.value.reason
    assert checked_staleness(0.0) == 0.0
