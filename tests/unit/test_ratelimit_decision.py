"""How the answers of several limits are one."""

from __future__ import annotations

import pytest

from sidecar.ratelimit.decision import Decision, LimitStatus, combined
from sidecar.ratelimit.policy import CombinedPolicy, FixedWindowPolicy

ROOMY = Decision(True, 100, 90, 0, 5_000)
TIGHT = Decision(True, 10, 2, 0, 1_000)
REFUSING = Decision(False, 10, 0, 700, 900)
WAITING = Decision(False, 20, 1, 3_000, 4_000)


def test_all_must_allow() -> None:
    """What all allow is allowed, and answered as the limit of which least remains would."""
    assert Decision(True, 10, 2, 0, 1_000) == combined(["a", "b"], [ROOMY, TIGHT])._replace(limits=())


def test_one_refusal_is_enough_and_the_longest_wait_counts() -> None:
    """A call may come again when every limit that refused allows it."""
    decision = combined(["a", "b", "c"], [ROOMY, REFUSING, WAITING])
    assert (False, 3_000) == (decision.allowed, decision.retry_after_us)


def test_what_remains_is_what_the_tightest_leaves() -> None:
    """Limit, rest and reset are of one and the same limit."""
    decision = combined(["a", "b", "c"], [ROOMY, REFUSING, WAITING])
    assert (10, 0, 900) == (decision.limit, decision.remaining, decision.reset_after_us)


def test_of_equally_tight_limits_the_one_that_is_whole_last_counts() -> None:
    """So nobody is told too early that all is back."""
    slower = REFUSING._replace(reset_after_us=5_000)
    assert [5_000, 5_000] == [
        combined(["a", "b"], order).reset_after_us for order in ([REFUSING, slower], [slower, REFUSING])
    ]


def test_each_limit_is_listed_in_order() -> None:
    """By its name, with what it says for itself."""
    expected = (LimitStatus("a", True, 100, 90, 0, 5_000), LimitStatus("b", False, 10, 0, 700, 900))
    assert expected == combined(["a", "b"], [ROOMY, REFUSING]).limits


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "the number of limits must be from 1 to 8, not 0"),
        (["a"] * 2, "each limit needs a name of its own"),
        ([f"l{number}" for number in range(9)], "the number of limits must be from 1 to 8, not 9"),
    ],
)
def test_policy_of_several_limits_out_of_bounds_is_refused(names: list[str], sentence: str) -> None:
    """Each bound has its sentence."""
    limits = tuple(FixedWindowPolicy(name=name, limit=1, window_us=1_000_000) for name in names)
    with pytest.raises(ValueError, match=sentence):
        CombinedPolicy(name="several", limits=limits)
