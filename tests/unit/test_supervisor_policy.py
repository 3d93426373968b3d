"""What is done about a worker that died, and how many there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.store.retry import Backoff
from sidecar.supervisor.cores import workers_for
from sidecar.supervisor.policy import GiveUp, Restart, RestartPolicy, describe_exit, judge_death

POLICY = RestartPolicy(backoff=Backoff(base_ms=100, cap_ms=1000), settled_seconds=10, most_early_deaths=5)
DRAWS = st.integers(0, 99).map(lambda hundredths: hundredths / 100)
SERVED = st.none() | st.floats(0, 100)


class TestDeath:
    """A worker that ended although nobody told it to."""

    def test_waits_double_and_then_it_is_given_up(self) -> None:
        """Deaths at start in a row: longer and longer waits, and the fifth is the last."""
        decisions: list[Restart | GiveUp] = []
        count = 0
        for _ in range(5):
            decision = judge_death(count, None, POLICY, draw=1.0)
            decisions.append(decision)
            count = decision.early_deaths
        assert [Restart(0.1, 1), Restart(0.2, 2), Restart(0.4, 3), Restart(0.8, 4), GiveUp(5)] == decisions

    def test_a_worker_that_served_for_long_begins_a_new_count(self) -> None:
        """A crash a day is no reason to give up."""
        assert Restart(0.1, 0) == judge_death(4, 10.0, POLICY, draw=1.0)

    def test_a_worker_that_served_for_a_moment_does_not(self) -> None:
        """What kills each new worker after a second is a crash at start in all but name."""
        assert isinstance(judge_death(4, 9.9, POLICY), GiveUp)

    @given(early_deaths=st.integers(0, 100), served=SERVED, draw=DRAWS)
    def test_no_wait_exceeds_the_cap(self, early_deaths: int, served: float | None, draw: float) -> None:
        """However many deaths there were."""
        decision = judge_death(early_deaths, served, POLICY, draw)
        assert isinstance(decision, GiveUp) or 0 <= decision.after_seconds <= 1.0

    @given(st.lists(SERVED, max_size=30))
    def test_it_is_given_up_exactly_after_five_early_deaths_in_a_row(self, lives: list[float | None]) -> None:
        """Whatever the lives of a worker were, by a count of another make."""
        count = 0
        for number, served in enumerate(lives):
            decision = judge_death(count, served, POLICY)
            last = lives[max(0, number - 4) : number + 1]
            expected = len(last) == 5 and all(life is None or life < 10 for life in last)
            assert expected == isinstance(decision, GiveUp)
            if expected:
                return
            count = decision.early_deaths


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "ended with code 1"),
        (0, "ended with code 0"),
        (-9, "was killed by SIGKILL"),
        (-99, "was killed by signal 99"),
    ],
)
def test_an_exit_in_words(code: int, words: str) -> None:
    """Signals have names, where the platform knows them."""
    assert words == describe_exit(code)


@pytest.mark.parametrize(
    ("cores", "cpu_max", "expected"),
    [
        (2, "", 2),
        (2, "max 100000\n", 2),
        (8, "200000 100000\n", 2),
        (8, "150000 100000\n", 2),
        (8, "1000 100000\n", 1),
        (2, "400000 100000\n", 2),
        (128, "", 64),
        (4, "nonsense", 4),
        (4, "100000 0", 4),
    ],
)
def test_workers_for_a_machine(cores: int, cpu_max: str, expected: int) -> None:
    """One for each core, as far as the container may use them."""
    assert expected == workers_for(cores, cpu_max, most=64)
