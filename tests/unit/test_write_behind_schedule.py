"""What an owner does with the changes that it has taken, in every order of answers."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.write_behind.changes import Taken
from sidecar.cache.write_behind.policy import BehindPolicy
from sidecar.cache.write_behind.schedule import BATCH_BYTES, MOST_TAKEN, Schedule, Verdict
from sidecar.errors import Reason, SidecarError
from sidecar.origins.applied import TOKEN_DAYS

POLICY = BehindPolicy(batch=4, concurrency=2, max_attempts=3, retry_base_ms=100, retry_cap_ms=1_000)
STORED = None
AWAY = Reason.ORIGIN_UNAVAILABLE
HANGS = Reason.ORIGIN_TIMED_OUT
REFUSED = Reason.ORIGIN_REFUSED
FAULT = Reason.INTERNAL
MISCONFIGURED = SidecarError(AWAY, "no", metadata={"code": "42501"})
ANSWERS = st.sampled_from([STORED, STORED, AWAY, HANGS, REFUSED, FAULT])


DAY_MS = 24 * 3600 * 1000


def test_no_change_outlives_its_token() -> None:
    """It is sent for less long than what makes the table has its token kept, though clocks differ."""
    assert TOKEN_DAYS * DAY_MS >= BehindPolicy().change_life_ms + DAY_MS


def change(number: int, partition: int = 0, size: int = 1) -> Taken:
    """Return a change of a name of its own."""
    return Taken(partition, f"{number}-0", b"k%d" % number, 0, b"v" * size)


def schedule(*changes: Taken, policy: BehindPolicy = POLICY) -> Schedule:
    """Return a schedule that has taken these; waits are as long as they can be."""
    made = Schedule(policy, lambda: 1.0)
    made.add(changes, 0.0)
    return made


def answer(made: Schedule, batch: list[Taken], reasons: list[Reason | None], now: float) -> list[Verdict]:
    """Answer a batch, and have the store told; return the verdicts."""
    errors = [None if reason is None else SidecarError(reason, "no") for reason in reasons]
    settled = made.answered(batch, errors, now)
    made.settle(settled)
    return [one.verdict for one in settled]


class TestBatches:
    """How many changes go together."""

    def test_a_batch_has_the_first_that_were_taken(self) -> None:
        """As many as the policy says."""
        made = schedule(*map(change, range(6)))
        assert [change(n) for n in range(4)] == made.next_batch(0.0)
        assert [change(4), change(5)] == made.next_batch(0.0)

    def test_there_are_no_more_calls_than_the_policy_says(self) -> None:
        """Until one has ended."""
        made = schedule(*map(change, range(12)))
        first = made.next_batch(0.0)
        made.next_batch(0.0)
        assert [] == made.next_batch(0.0)
        answer(made, first, [STORED] * 4, 0.0)
        assert 4 == len(made.next_batch(0.0))

    def test_a_batch_fits_into_a_message(self) -> None:
        """But a change that is larger goes alone."""
        made = schedule(change(0, size=BATCH_BYTES), change(1, size=BATCH_BYTES), change(2))
        assert [["0-0"], ["1-0"]] == [[one.id for one in made.next_batch(0.0)] for _ in range(2)]

    def test_a_failed_batch_is_halved(self) -> None:
        """Until the faulty change is alone."""
        made = schedule(*map(change, range(4)))
        sizes = []
        now = 0.0
        while made.size:
            batch = made.next_batch(now)
            if not batch:
                now += 10
                continue
            sizes.append(len(batch))
            answer(made, batch, [FAULT if any(one.id == "0-0" for one in batch) else STORED] * len(batch), now)
        assert [4, 2, 2, 1] == sizes[:4]


class TestFaults:
    """What a failure costs."""

    def test_a_refused_change_is_dead_at_once(self) -> None:
        """And is not sent again."""
        made = schedule(change(0))
        assert [Verdict.DEAD] == answer(made, made.next_batch(0.0), [REFUSED], 0.0)
        assert (0, None) == (made.size, made.wake_at())

    def test_what_an_origin_cannot_do_as_it_is_configured_costs_nothing(self) -> None:
        """However often it is tried; and no change is dead by it while the origin makes none at all."""
        made = schedule(*map(change, range(4)))
        now = 0.0
        for _ in range(20 * POLICY.max_attempts):
            batch = made.next_batch(now)
            assert [] == made.answered(batch, [MISCONFIGURED] * len(batch), now) if batch else True
            now += 10.0
        assert made.size == 4

    def test_a_change_that_alone_meets_such_a_fault_holds_up_no_other(self) -> None:
        """It may be its own: while others are made it is dead after so many attempts, and nobody waits for it."""
        made = schedule(change(0))
        now, verdicts = 0.0, []
        for number in range(1, 20):
            made.add([change(number)], now)
            while batch := made.next_batch(now):
                answers = [MISCONFIGURED if one.id == "0-0" else None for one in batch]
                settled = made.answered(batch, answers, now)
                made.settle(settled)
                verdicts += [one for one in settled if one.verdict is Verdict.DEAD]
                assert not made.origin_is_away
            now += 10.0
        assert ["ORIGIN_UNAVAILABLE 42501"] == [one.reason for one in verdicts]
        assert made.size == 0

    def test_an_origin_that_is_away_counts_nothing(self) -> None:
        """One call at a time asks, after waits that grow."""
        made = schedule(*map(change, range(12)))
        now, waits = 0.0, []
        batch = made.next_batch(now)
        for _ in range(20):
            assert [] == answer(made, batch, [AWAY] * len(batch), now)
            assert made.origin_is_away
            wake_at = made.wake_at()
            assert wake_at is not None
            waits.append(round(wake_at - now, 3))
            now = wake_at
            batch = made.next_batch(now)
            assert [] == made.next_batch(now)
        assert [0.1, 0.2, 0.4, 0.8, 1.0, 1.0] == waits[:6]

    def test_an_origin_that_hangs_counts_nothing(self) -> None:
        """It has made no other change meanwhile."""
        made = schedule(change(0))
        for turn in range(20):
            assert [] == answer(made, made.next_batch(turn * 10.0), [HANGS], turn * 10.0)

    def test_a_change_that_hangs_while_others_are_made_is_dead_in_the_end(self) -> None:
        """It is at fault itself."""
        made = schedule(change(0), policy=BehindPolicy(batch=1, max_attempts=3))
        verdicts = []
        for turn in range(1, 5):
            now = turn * 100.0
            verdicts += answer(made, made.next_batch(now), [HANGS], now)
            made.add([change(turn)], now)
            answer(made, made.next_batch(now), [STORED], now)
        assert [Verdict.RETRY, Verdict.RETRY, Verdict.DEAD] == verdicts

    def test_a_fault_counts_each_time(self) -> None:
        """Up to the policy's attempts."""
        made = schedule(change(0))
        verdicts = [answer(made, made.next_batch(turn * 10.0), [FAULT], turn * 10.0) for turn in range(3)]
        assert [[Verdict.RETRY], [Verdict.RETRY], [Verdict.DEAD]] == verdicts

    def test_what_fails_holds_up_nothing_else(self) -> None:
        """Others go on while it waits."""
        made = schedule(change(0), change(1))
        answer(made, made.next_batch(0.0), [FAULT, STORED], 0.0)
        made.add([change(2)], 0.0)
        assert ["2-0"] == [one.id for one in made.next_batch(0.0)]


class TestRoom:
    """How much more is to be taken."""

    def test_there_is_room_for_a_batch(self) -> None:
        """Of each partition, beside those that wait after a failure."""
        made = schedule(change(0), change(1))
        assert (2, 4) == (made.room(0), made.room(1))
        answer(made, made.next_batch(0.0), [FAULT, STORED], 0.0)
        assert 4 == made.room(0)

    def test_there_is_none_while_the_origin_is_away(self) -> None:
        """What was taken is enough to ask with."""
        made = schedule(change(0))
        answer(made, made.next_batch(0.0), [AWAY], 0.0)
        assert 0 == made.room(1)

    def test_failures_have_an_end(self) -> None:
        """A partition holds only so many."""
        policy = BehindPolicy(batch=1_000, max_attempts=100)
        made = schedule(*map(change, range(MOST_TAKEN)), policy=policy)
        answer(made, batch := made.next_batch(0.0), [FAULT] * len(batch), 0.0)
        assert 0 == made.room(0)

    def test_a_lost_partition_is_forgotten(self) -> None:
        """With what is under way of it."""
        made = schedule(change(0, partition=1), change(1, partition=2))
        batch = made.next_batch(0.0)
        made.drop(1)
        assert [Verdict.STORED, Verdict.STORED] == answer(made, batch, [STORED, STORED], 0.0)
        assert 0 == made.size


@given(st.integers(1, 30), st.lists(ANSWERS, max_size=400))
def test_every_change_ends_once(number: int, answers: list[Reason | None]) -> None:
    """Whatever the origin answers; nothing is sent twice at a time, or after it has ended."""
    made = schedule(*map(change, range(number)))
    under_way: list[list[Taken]] = []
    ended: Counter[str] = Counter()
    now = 0.0
    draws = iter(answers)
    while made.size:
        while batch := made.next_batch(now):
            sent = [one.id for one in batch]
            assert not {one.id for other in under_way for one in other} & set(sent)
            assert not ended.keys() & set(sent)
            assert len(batch) <= POLICY.batch
            under_way.append(batch)
        assert len(under_way) <= POLICY.concurrency
        if not under_way:
            wake_at = made.wake_at()
            assert wake_at is not None
            assert wake_at > now
            now = wake_at
            continue
        batch = under_way.pop(0)
        reasons = [next(draws, STORED) for _ in batch]
        errors = [None if reason is None else SidecarError(reason, "no") for reason in reasons]
        settled = made.answered(batch, errors, now)
        for one in settled:
            reason = reasons[batch.index(one.taken)]
            if one.verdict is Verdict.STORED:
                assert reason is STORED
            else:
                assert reason is not AWAY
            if one.verdict is not Verdict.RETRY:
                ended[one.taken.id] += 1
        made.settle(settled)
    assert {f"{n}-0": 1 for n in range(number)} == dict(ended)
