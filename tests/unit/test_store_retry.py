"""How long to wait between attempts, and how many to make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.store.retry import Backoff, RetryBudget

DRAWS = st.integers(0, 99).map(lambda hundredths: hundredths / 100)


class TestBackoff:
    """Waits between attempts to connect."""

    @given(attempt=st.integers(0, 10_000), draw=DRAWS)
    def test_a_wait_never_exceeds_the_cap(self, attempt: int, draw: float) -> None:
        """However many attempts have failed."""
        assert 0 <= Backoff(base_ms=10, cap_ms=500).delay_seconds(attempt, draw) <= 0.5

    @given(attempt=st.integers(0, 5), draw=DRAWS)
    def test_its_bound_doubles(self, attempt: int, draw: float) -> None:
        """The jitter is full: a uniform share of the bound."""
        assert pytest.approx(draw * 0.01 * 2**attempt) == Backoff(base_ms=10, cap_ms=10_000).delay_seconds(
            attempt, draw
        )

    def test_without_a_draw_it_is_random(self) -> None:
        """Two sidecars do not wait alike."""
        backoff = Backoff()
        assert len({backoff.delay_seconds(10) for _ in range(20)}) > 1


class TestRetryBudget:
    """F14: what retries may add."""

    @given(
        st.lists(st.tuples(st.integers(0, 200), st.floats(0, 2), st.integers(0, 50)), max_size=40),
        st.floats(0, 1),
        st.floats(0, 100),
    )
    def test_retries_stay_within_the_share_of_calls_and_the_rate(
        self, steps: list[tuple[int, float, int]], ratio: float, per_second: float
    ) -> None:
        """Whatever the order of calls, time and wishes: at most ratio * calls + rate * time + the first second's."""
        budget = RetryBudget(ratio=ratio, per_second=per_second, now=0.0)
        calls, now, granted = 0, 0.0, 0
        for more_calls, seconds, wishes in steps:
            calls += more_calls
            now += seconds
            granted += sum(budget.withdraw(calls=calls, now=now) for _ in range(wishes))
        assert granted <= ratio * calls + per_second * (now + 1) + 1e-6

    def test_a_quiet_sidecar_may_still_retry(self) -> None:
        """The steady rate is there without any calls."""
        budget = RetryBudget(ratio=0.2, per_second=10, now=0.0)
        assert budget.withdraw(calls=1, now=0.0)

    def test_good_weather_buys_no_storm(self) -> None:
        """After a million calls no more than the reserve is there."""
        budget = RetryBudget(ratio=0.2, per_second=10, now=0.0)
        granted = sum(budget.withdraw(calls=1_000_000, now=3600.0) for _ in range(1000))
        assert 100 == granted
