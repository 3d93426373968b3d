"""What a reservation promises, shown on the model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.model import Verdict, check_token_bucket
from sidecar.ratelimit.models import holds
from sidecar.ratelimit.models.fixed_window import check_fixed_window
from sidecar.ratelimit.models.holds import After, Asked, Became, One
from sidecar.ratelimit.models.sliding_log import check_sliding_log
from sidecar.ratelimit.policy import FixedWindowPolicy, SlidingLogPolicy, TokenBucketPolicy
from sidecar.ratelimit.slots_model import Leases, release

if TYPE_CHECKING:
    from collections.abc import Sequence

SECOND_US = 1_000_000
START_US = 1_700_000_000 * SECOND_US
LOG = SlidingLogPolicy(name="log", limit=10, window_us=60 * SECOND_US)
BUCKET = TokenBucketPolicy(name="bucket", tokens=1, period_us=SECOND_US, burst=10)
FIXED = FixedWindowPolicy(name="fixed", limit=10, window_us=100 * SECOND_US)
MODELS: dict[type, Any] = {
    SlidingLogPolicy: check_sliding_log,
    TokenBucketPolicy: check_token_bucket,
    FixedWindowPolicy: check_fixed_window,
}


class Key:
    """A key of a policy with reservations, its limits' models and holds, at a time that the test moves."""

    def __init__(self, *policies: Any) -> None:
        self.policies = policies
        self.states: Sequence[Any] = [None] * len(policies)
        self.holds: Leases | None = None
        self.now_us = START_US

    def _asked(self, cost: int) -> Asked:
        limits = [
            One(partial(_decide, policy, self.now_us), policy.limit, state)
            for policy, state in zip(self.policies, self.states, strict=True)
        ]
        return Asked(limits, self.holds, cost)

    def _take(self, after: After) -> None:
        self.states, self.holds = after.states, after.holds

    def look(self, cost: int = 0) -> tuple[Verdict, ...]:
        """Say how the limits stand."""
        (after,) = holds.check([self._asked(cost)], self.now_us, commit=False)
        return after.verdicts

    @property
    def remaining(self) -> int:
        """What the tightest limit leaves."""
        return min(remaining for _, remaining, *_ in self.look())

    def check(self, cost: int) -> bool:
        """Take a cost if there is room."""
        (after,) = holds.check([self._asked(cost)], self.now_us, commit=True)
        self._take(after)
        return all(verdict.allowed for verdict in after.verdicts)

    def reserve(self, hold_id: str, cost: int, seconds: float = 30, most: int = 100) -> Became:
        """Hold a cost."""
        length_us = int(seconds * SECOND_US)
        became, _, after = holds.reserve(self._asked(cost), self.now_us, hold_id, length_us=length_us, most=most)
        if after is not None:
            self._take(after)
        return became

    def commit(self, hold_id: str, reserved: int, cost: int) -> int | None:
        """Charge a cost; None if there is no such hold."""
        charged, after = holds.commit(self._asked(cost), self.now_us, hold_id, reserved=reserved)
        if after is None:
            return None
        self._take(after)
        return charged


def _decide(policy: Any, now_us: int, state: Any, cost: int, *, commit: bool) -> Any:
    return MODELS[type(policy)](policy, state, now_us, cost, commit=commit)


def test_what_is_held_is_not_left_to_others() -> None:
    """Neither to checks nor to other reservations."""
    key = Key(LOG)
    key.reserve("r1", 7)
    assert (3, False, Became.REFUSED, True) == (key.remaining, key.check(4), key.reserve("r2", 4), key.check(3))


def test_a_commit_of_less_frees_the_rest_at_once() -> None:
    """And the charge counts from then."""
    key = Key(LOG)
    key.reserve("r1", 7)
    assert (2, 8) == (key.commit("r1", 7, 2), key.remaining)


def test_a_commit_of_more_takes_what_there_is_beside_other_holds() -> None:
    """Six of nine, since four are another's."""
    key = Key(LOG)
    key.reserve("r1", 3)
    key.reserve("r2", 4)
    assert (6, 0, 4) == (key.commit("r1", 3, 9), key.remaining, key.commit("r2", 4, 4))


def test_a_hold_ends_by_itself() -> None:
    """On the microsecond, and is then unknown to a commit, which charges nothing."""
    key = Key(LOG)
    key.reserve("r1", 10, seconds=5)
    key.now_us += 5 * SECOND_US - 1
    before = key.remaining
    key.now_us += 1
    assert (0, 10, None, 10) == (before, key.remaining, key.commit("r1", 10, 1), key.remaining)


def test_a_second_commit_finds_nothing() -> None:
    """So that nothing is charged twice."""
    key = Key(LOG)
    key.reserve("r1", 5)
    key.commit("r1", 5, 5)
    assert (None, 5) == (key.commit("r1", 5, 5), key.remaining)


def test_a_refusal_waits_for_the_hold_that_ends_in_time() -> None:
    """The second of three: with it gone there is room."""
    key = Key(LOG)
    for place, seconds in enumerate((10, 20, 30)):
        key.reserve(f"r{place}", 3, seconds=seconds)
    ((allowed, remaining, wait_us, reset_us),) = key.look(6)
    assert (False, 1, 20 * SECOND_US, 30 * SECOND_US) == (allowed, remaining, wait_us, reset_us)


def test_a_refusal_waits_for_the_bucket_where_that_is_sooner() -> None:
    """Two tokens come before the hold ends."""
    key = Key(BUCKET)
    key.check(6)
    key.reserve("r1", 2, seconds=30)
    assert 2 * SECOND_US == key.look(4)[0][2]


def test_a_refusal_may_wait_for_some_of_both() -> None:
    """Six more than there are: the hold ends after five seconds, and five tokens have come by then, a sixth after."""
    key = Key(BUCKET)
    key.check(8)
    key.reserve("r1", 1, seconds=5)
    assert (5 * SECOND_US, 6 * SECOND_US) == (key.look(7)[0][2], key.look(8)[0][2])


def test_one_named_hold_is_found_again() -> None:
    """Its cost counts once; another cost under the name is refused, and it stays as it is."""
    key = Key(LOG)
    became = [key.reserve("h1", cost) for cost in (10, 10, 9)]
    assert ([Became.HELD, Became.HELD, Became.OTHER_COST], 0) == (became, key.remaining)


def test_there_are_never_too_many() -> None:
    """However little they hold."""
    key = Key(LOG)
    assert [Became.HELD, Became.TOO_MANY] == [key.reserve(f"r{place}", 1, most=1) for place in range(2)]


def test_several_limits_are_held_and_charged_alike() -> None:
    """What the tighter one has room for is charged to both."""
    key = Key(LOG, FixedWindowPolicy(name="fixed", limit=20, window_us=100 * SECOND_US))
    key.reserve("r1", 4)
    assert (10, [0, 10]) == (key.commit("r1", 4, 15), [remaining for _, remaining, *_ in key.look()])


def test_a_smaller_limit_leaves_others_holds_their_room() -> None:
    """Of a limit that has shrunk to six, a commit gets what another's hold of four leaves."""
    key = Key(LOG)
    key.reserve("r1", 4)
    key.reserve("r2", 4)
    key.policies = (SlidingLogPolicy(name="log", limit=6, window_us=LOG.window_us),)
    assert (2, 4) == (key.commit("r1", 4, 4), key.commit("r2", 4, 4))


def test_a_hold_outlives_a_window() -> None:
    """Its room is kept in the next one too, and what comes of it is charged there."""
    key = Key(FIXED)
    key.check(2)
    key.reserve("r1", 5, seconds=150)
    before = key.remaining
    key.now_us += FIXED.window_us or 0
    assert (3, 5, 4, 6) == (before, key.remaining, key.commit("r1", 5, 4), key.remaining)


STEPS = st.lists(
    st.tuples(st.sampled_from(["check", "reserve", "commit", "cancel"]), st.integers(1, 12), st.integers(0, 20)),
    max_size=30,
)


@given(steps=STEPS, policy=st.sampled_from([LOG, FIXED]))
def test_charged_and_held_are_never_above_the_limit(steps: list[tuple[str, int, int]], policy: Any) -> None:
    """In no window, whatever is asked and committed; and a commit of no more than was reserved is charged in full."""
    key = Key(policy)
    charges: list[tuple[int, int]] = []
    reserved: dict[str, int] = {}
    for place, (kind, cost, seconds) in enumerate(steps):
        key.now_us += seconds * SECOND_US
        if kind == "check" and cost <= policy.limit and key.check(cost):
            charges.append((key.now_us, cost))
        elif kind == "reserve" and cost <= policy.limit and key.reserve(f"r{place}", cost) == Became.HELD:
            reserved[f"r{place}"] = cost
        elif kind == "commit" and reserved:
            hold_id, was = reserved.popitem()
            charged = key.commit(hold_id, was, cost)
            assert charged is None or charged >= min(cost, was)
            charges.append((key.now_us, charged or 0))
        elif kind == "cancel" and reserved:
            hold_id, was = reserved.popitem()
            key.holds = release(key.holds, key.now_us, hold_id, slots=was).state
        live = holds.live(key.holds, key.now_us)
        since_us = key.now_us - (policy.window_us if policy is LOG else key.now_us % policy.window_us)
        used = sum(charged for at_us, charged in charges if at_us >= since_us)
        assert used + (live.used if live else 0) <= policy.limit
