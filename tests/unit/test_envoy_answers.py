"""What a request is answered: which limits apply, how they add up, the headers, and what is counted of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.envoy.answer import UNLIMITED_REMAINING, Answer, Status, answer, applied
from sidecar.ratelimit.envoy.counters import Usage
from sidecar.ratelimit.envoy.headers import HeaderKind, HeaderPolicy, headers
from sidecar.ratelimit.envoy.matching import Match
from sidecar.ratelimit.envoy.rules import Limit, Rule, Unit
from sidecar.ratelimit.envoy.tally import MAX_VALUED_LABELS, Tally, shares
from sidecar.ratelimit.envoy.window import Counted, count_window
from sidecar.telemetry.metrics import Counter, Metrics

MINUTE_US = Unit.MINUTE.length_us


def match(
    *,
    name: str = "",
    replaces: tuple[str, ...] = (),
    unlimited: bool = False,
    shadow: bool = False,
    quota: bool = False,
) -> Match:
    """Return a match of a rule of ten a minute."""
    rule = Rule(
        limit=None if unlimited else Limit(10, Unit.MINUTE, name),
        label="rule",
        replaces=frozenset(replaces),
        shadow_mode=shadow,
        quota_mode=quota,
    )
    return Match(rule, (("k", "v"),), "rule")


def used(count: int) -> Usage:
    """Return how a limit of ten stands after that many hits, the last of them just now."""
    over = count > 10
    return Usage(
        over=over,
        remaining=max(0, 10 - count),
        before=count - 1,
        reset_after_us=30_500_000,
        retry_after_us=30_500_000 if over else 0,
    )


def answered(*parts: tuple[Match | None, int], all_shadow: bool = False, all_quota: bool = False) -> Answer:
    """Return the answer to matches with so many hits on each."""
    matches = [found for found, _ in parts]
    limits = applied(matches)
    usages = [None if limit is None else used(count) for limit, (_, count) in zip(limits, parts, strict=True)]
    return answer(matches, limits, usages, all_shadow=all_shadow, all_quota=all_quota)


class TestAnswer:
    """Statuses and the overall code."""

    def test_over_if_any_is(self) -> None:
        """One limit that is over makes the request over; each status is its own."""
        given = answered((match(), 3), (match(), 11), (None, 0))
        assert (True, [False, True, False], [7, 0, 0]) == (
            given.over, [status.over for status in given.statuses], [status.remaining for status in given.statuses]
        )  # fmt: skip

    def test_shadowed_limit_is_never_over(self) -> None:
        """A limit in shadow mode says that nothing is left, and lets through."""
        given = answered((match(shadow=True), 11))
        assert (False, False, 0) == (given.over, given.statuses[0].over, given.statuses[0].remaining)

    def test_everything_in_shadow(self) -> None:
        """With all limits shadows the request is let through, and its statuses say how it stands."""
        given = answered((match(), 11), all_shadow=True)
        assert (False, True, True) == (given.over, given.statuses[0].over, given.shadowed)

    def test_unlimited(self) -> None:
        """An unlimited descriptor has all that there is left, and no limit."""
        (status,) = answered((match(unlimited=True), 0)).statuses
        assert Status(over=False, limit=None, remaining=UNLIMITED_REMAINING) == status

    def test_replaced_limit_does_not_apply(self) -> None:
        """A limit that another match of the request replaces by name neither counts nor refuses."""
        given = answered((match(name="usual"), 11), (match(replaces=("usual",)), 2))
        assert (False, None, 8) == (given.over, given.statuses[0].limit, given.statuses[1].remaining)

    def test_unlimited_replaces_too(self) -> None:
        """A limit can be replaced by none at all."""
        assert [None, None] == applied([match(name="usual"), match(unlimited=True, replaces=("usual",))])

    @pytest.mark.parametrize(
        ("quotas", "plain", "over"),
        [
            ((11,), (), True),
            ((11, 11), (), True),
            ((11, 3), (), False),
            ((11, 3), (11,), True),
            ((11, 11), (3,), True),
            ((3,), (), False),
        ],
    )
    def test_quotas_are_over_together(self, quotas: tuple[int, ...], plain: tuple[int, ...], over: bool) -> None:  # noqa: FBT001 (the expected)
        """A request is over its quotas when all of them are."""
        given = answered(*((match(quota=True), count) for count in quotas), *((match(), count) for count in plain))
        assert over == given.over

    def test_everything_is_a_quota(self) -> None:
        """With all limits quotas, a descriptor without a limit is one that is never over; an unlimited one is none."""
        assert not answered((match(), 11), (None, 0), all_quota=True).over
        assert answered((match(), 11), (match(unlimited=True), 0), all_quota=True).over

    def test_least_is_nearest(self) -> None:
        """Callers hear of the limit with the least left, or of the last that is over."""
        near = answered((match(name="a"), 3), (match(name="b"), 9), (match(name="c"), 9)).least
        over = answered((match(name="a"), 11), (match(name="b"), 12), (match(name="c"), 10)).least
        assert near is not None
        assert near.limit is not None
        assert over is not None
        assert over.limit is not None
        assert ("b", "b") == (near.limit.name, over.limit.name)


class TestHeaders:
    """The headers of an answer."""

    def test_none_by_default(self) -> None:
        """Nothing is sent unless it is asked for."""
        assert [] == headers(HeaderPolicy(), answered((match(), 1)))

    def test_fields(self) -> None:
        """Limit, remaining and seconds to the reset, under the names of the configuration."""
        policy = HeaderPolicy(kind=HeaderKind.FIELDS, limit="X-Limit")
        assert [("X-Limit", "10"), ("RateLimit-Remaining", "7"), ("RateLimit-Reset", "31")] == headers(
            policy, answered((match(), 3), (match(), 2))
        )

    def test_ietf(self) -> None:
        """An item for each limit, by its name or its place; nothing of descriptors without a limit."""
        policy = HeaderPolicy(kind=HeaderKind.IETF)
        assert [
            ("RateLimit-Policy", '"login";q=10;w=60, "descriptor-3";q=10;w=60'),
            ("RateLimit", '"login";r=7;t=31, "descriptor-3";r=0;t=31'),
            ("Retry-After", "31"),
        ] == headers(policy, answered((match(name="login"), 3), (None, 0), (match(), 11)))

    def test_ietf_without_refusal(self) -> None:
        """`Retry-After` comes with a refusal alone."""
        sent = headers(HeaderPolicy(kind=HeaderKind.IETF), answered((match(), 3)))
        assert ["RateLimit-Policy", "RateLimit"] == [name for name, _ in sent]

    @pytest.mark.parametrize("name", ['quo"te', "back\\slash", "né", "new\nline", ""])
    def test_names_that_no_header_can_hold(self, name: str) -> None:
        """Such a name is not sent."""
        sent = headers(HeaderPolicy(kind=HeaderKind.IETF), answered((match(name=name), 3)))
        assert '"descriptor-1";r=7;t=31' == dict(sent)["RateLimit"]

    def test_no_limit_no_headers(self) -> None:
        """Where no limit applies there is nothing to tell."""
        for kind in HeaderKind:
            assert [] == headers(HeaderPolicy(kind=kind), answered((None, 0), (match(unlimited=True), 0)))


class TestWindow:
    """The model of the fixed window."""

    def test_refused_hits_count(self) -> None:
        """Every hit counts, however many there were."""
        state: Counted | None = None
        counts = []
        for _ in range(4):
            step = count_window(MINUTE_US, state, 5, 3)
            state = step.state
            counts.append(step.hits)
        assert [3, 6, 9, 12] == counts

    def test_windows_are_aligned(self) -> None:
        """A window ends at a multiple of its length, and the next begins with nothing."""
        last = count_window(MINUTE_US, None, MINUTE_US - 1, 5)
        assert (1, 1) == (last.reset_after_us, last.ttl_ms)
        assert 1 == count_window(MINUTE_US, last.state, MINUTE_US, 1).hits

    def test_looking_writes_nothing(self) -> None:
        """No hits: the count as it is, and nothing to store."""
        looked = count_window(MINUTE_US, Counted(0, 3), 5, 0)
        assert (3, Counted(0, 3), None) == (looked.hits, looked.state, looked.ttl_ms)

    @given(
        st.lists(st.tuples(st.integers(0, 2 * MINUTE_US), st.integers(0, MINUTE_US), st.integers(0, 9)), max_size=30)
    )
    def test_clock_that_goes_back_opens_no_window_again(self, steps: list[tuple[int, int, int]]) -> None:
        """While the clock is at most a window behind where it was, hits never count in an earlier window again."""
        furthest_us, numbers = 100 * MINUTE_US, []
        state: Counted | None = None
        for ahead_us, back_us, hits in steps:
            furthest_us += ahead_us
            state = count_window(MINUTE_US, state, furthest_us - back_us, hits).state
            if state is not None:
                numbers.append(state.number)
        assert sorted(numbers) == numbers

    def test_clock_that_goes_far_back_starts_anew(self) -> None:
        """Further back, counting starts anew: nobody is shut out for as long as the clock jumped."""
        state = count_window(MINUTE_US, None, 100 * MINUTE_US, 50).state
        assert 1 == count_window(MINUTE_US, state, 98 * MINUTE_US, 1).hits


class TestTally:
    """What is counted of hits."""

    @pytest.mark.parametrize(
        ("before", "hits", "within", "near", "over"),
        [
            (0, 1, 1, 0, 0), (7, 1, 1, 0, 0), (8, 1, 1, 1, 0), (9, 1, 1, 1, 0), (10, 1, 0, 0, 1), (15, 2, 0, 0, 2),
            (6, 4, 4, 2, 0), (8, 5, 2, 2, 3), (0, 20, 10, 2, 10), (5, 0, 0, 0, 0),
        ],
    )  # fmt: skip
    def test_shares_of_a_window(self, before: int, hits: int, within: int, near: int, over: int) -> None:
        """Each hit by itself: within the limit of ten or over it, and near it from the ninth."""
        assert (within, near, over) == shares(10, 8, before, hits, counts_refused=True)

    def test_shares_of_all_or_nothing(self) -> None:
        """Where refused hits do not count, they pass or are refused together."""
        assert (0, 0, 5) == shares(10, 8, 8, 5, counts_refused=False)
        assert (2, 2, 0) == shares(10, 8, 8, 2, counts_refused=False)

    def test_labels_with_values_are_bounded(self) -> None:
        """Names with values of requests are kept up to a bound, long ones not at all; others count as the rule."""
        metrics = Metrics()
        tally = Tally(metrics, near_ratio=0.8)
        limit = Limit(10, Unit.MINUTE)
        for number in range(MAX_VALUED_LABELS + 50):
            tally.add("d", match()._replace(label=f"rule_{number}"), limit, 0, 1)
        Tally(other := Metrics(), near_ratio=0.8).add("d", match()._replace(label="rule_" + "v" * 200), limit, 0, 1)
        long = other.families["sidecar_envoy_hits"]
        assert isinstance(long, Counter)
        assert {"rule"} == {rule for _, rule, _ in long.cells}
        family = metrics.families["sidecar_envoy_hits"]
        assert isinstance(family, Counter)
        assert MAX_VALUED_LABELS + 1 == len({rule for _, rule, _ in family.cells})
        assert 50 == family.cells["d", "rule", "within"].value
