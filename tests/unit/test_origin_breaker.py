"""The circuit breaker of origins: against a model that knows its history, and each of its rules by itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from sidecar.origins.breaker import Breaker, BreakerPolicy, State

POLICY = BreakerPolicy(failures=3, window=10.0, pause=4.0)


def breaker(draw: float = 0.0) -> Breaker:
    """Return a closed breaker."""
    return Breaker(POLICY, lambda: draw)


def opened(now: float = 0.0) -> Breaker:
    """Return a breaker that has just opened."""
    made = breaker()
    for _ in range(POLICY.failures):
        leave = made.begin(now)
        assert leave is not None
        made.fail(leave, now)
    return made


def test_so_many_failures_in_a_row_open_it() -> None:
    """The last of them does, and no call passes until the pause is over."""
    made = opened()
    assert (State.OPEN, None, 4.0) == (made.state, made.begin(3.9), made.wait(0.0))


def test_a_success_between_them_does_not() -> None:
    """An origin that fails now and then is served."""
    made = breaker()
    for _ in range(10):
        leave = made.begin(0.0)
        assert leave is not None
        made.fail(leave, 0.0)
        made.fail(leave, 0.0)
        made.succeed(leave)
    assert State.CLOSED is made.state


def test_failures_over_a_longer_time_do_not() -> None:
    """Failures that are too far apart are no outage."""
    made = breaker()
    for now in (0.0, 6.0, 12.0, 18.0):
        leave = made.begin(now)
        assert leave is not None
        made.fail(leave, now)
    assert State.CLOSED is made.state


def test_one_call_tries_whether_it_is_back() -> None:
    """After the pause one call passes and no second one, until the first has ended."""
    made = opened()
    probe = made.begin(4.0)
    assert probe is not None
    assert made.begin(4.0) is None
    made.succeed(probe)
    assert (State.CLOSED, 0.0) == (made.state, made.wait(4.0))


def test_a_probe_that_fails_opens_it_anew() -> None:
    """Then there is another pause, however few failures that were."""
    made = opened()
    probe = made.begin(4.0)
    assert probe is not None
    made.fail(probe, 5.0)
    assert 4.0 == made.wait(5.0)


def test_a_probe_that_nobody_waits_for() -> None:
    """It says nothing, and another call may try."""
    made = opened()
    probe = made.begin(4.0)
    assert probe is not None
    made.abandon(probe)
    assert made.begin(4.0) is not None


def test_the_pause_is_longer_at_random() -> None:
    """By up to a half."""
    made = breaker(draw=1.0)
    for _ in range(POLICY.failures):
        leave = made.begin(0.0)
        assert leave is not None
        made.fail(leave, 0.0)
    assert 6.0 == made.wait(0.0)


def test_what_began_before_is_not_heard() -> None:
    """A call that began while it was closed neither closes nor opens it later."""
    made = breaker()
    late = made.begin(0.0)
    assert late is not None
    for _ in range(POLICY.failures):
        leave = made.begin(0.0)
        assert leave is not None
        made.fail(leave, 0.0)
    made.succeed(late)
    seen = [made.state]
    probe = made.begin(4.0)
    made.succeed(late)
    made.fail(late, 4.0)
    assert [State.OPEN, State.HALF_OPEN] == [*seen, made.state]
    assert probe is not None


@dataclass
class Model:
    """The same by brute force: all that was heard since the last change, and when it opened."""

    heard: list[tuple[bool, float]] = field(default_factory=list)
    opened_at: float | None = None
    probe: int | None = None
    era: int = 0

    def passes(self, now: float) -> bool:
        """Say whether a call may begin."""
        return self.opened_at is None or (now >= self.opened_at + POLICY.pause and self.probe is None)

    def hear(self, call: int, era: int, now: float, *, is_success: bool) -> None:
        """Take in how a call ended that began in an era."""
        if self.opened_at is not None:
            if call == self.probe:
                self.probe, self.heard = None, []
                self.opened_at = None if is_success else now
                self.era += 1
            return
        if era != self.era:
            return
        self.heard.append((is_success, now))
        last = self.heard[-POLICY.failures :]
        if len(last) == POLICY.failures and not any(ok for ok, _ in last) and now - last[0][1] <= POLICY.window:
            self.opened_at, self.heard, self.era = now, [], self.era + 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "succeed", "fail", "fail", "abandon"]),
        st.integers(0, 5),
        st.sampled_from([0.0, 0.0, 0.5, 2.0, 4.0, 11.0]),
    ),
    max_size=60,
)


@given(STEPS)
def test_it_does_what_the_model_does(steps: list[tuple[str, int, float]]) -> None:
    """Whatever comes in whatever order: the same calls pass."""
    made, model, now = breaker(), Model(), 0.0
    under_way: list[tuple[int, int, int]] = []
    for number, (step, which, passed) in enumerate(steps):
        now += passed
        if step == "begin":
            expected = model.passes(now)
            leave = made.begin(now)
            assert expected == (leave is not None)
            if leave is not None:
                if model.opened_at is not None:
                    model.probe = number
                under_way.append((number, leave, model.era))
            continue
        if not under_way:
            continue
        call, leave, era = under_way.pop(which % len(under_way))
        if step == "abandon":
            made.abandon(leave)
            if call == model.probe:
                model.probe = None
        elif step == "succeed":
            made.succeed(leave)
            model.hear(call, era, now, is_success=True)
        else:
            made.fail(leave, now)
            model.hear(call, era, now, is_success=False)
        assert (made.wait(now) == 0.0) == model.passes(now)
