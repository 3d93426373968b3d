"""What a concurrency limit promises, held against its model; the scripts equal the model (tests/differential)."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.slots_model import NAMED, RANDOM, Lease, Leases, Verdict, acquire, peek, release, renew

SECOND_US = 1_000_000
START_US = 1_700_000_000 * SECOND_US + 123_457
LIMIT = 3


class Wish(NamedTuple):
    """One caller's act: what happens to its time before, and what it does then."""

    passed_us: int
    jump_us: int
    """How far the store's clock goes back meanwhile, besides passing; 0 for no jump."""
    kind: str
    place: int
    slots: int
    lease_us: int


wishes = st.lists(
    st.builds(
        Wish,
        passed_us=st.integers(0, 5 * SECOND_US),
        jump_us=st.just(0) | st.just(0) | st.integers(0, 100 * SECOND_US),
        kind=st.sampled_from(["acquire", "acquire", "renew", "release"]),
        place=st.integers(0, 5),
        slots=st.integers(1, LIMIT),
        lease_us=st.integers(10_000, 10 * SECOND_US),
    ),
    max_size=25,
)


@given(wishes, st.booleans())
def test_holders_never_have_more_than_the_limit(taken: list[Wish], named: bool) -> None:  # noqa: FBT001 (hypothesis)
    """Counted by what each was promised in real time, also while the store's clock goes back."""
    state: Leases | None = None
    real_us, clock_us = 0, START_US
    promised: dict[str, tuple[int, int]] = {}
    for number, wish in enumerate(taken):
        real_us += wish.passed_us
        clock_us = max(1, clock_us + wish.passed_us - wish.jump_us)
        if wish.kind == "acquire":
            lease_id = f"{NAMED}{wish.place}" if named else f"{RANDOM}{number}"
            leased = acquire(LIMIT, state, clock_us, lease_id, slots=wish.slots, lease_us=wish.lease_us)
            state = leased.state
            if leased.answer.verdict is Verdict.LEASED:
                promised[lease_id] = (wish.slots, real_us + leased.answer.expires_after_us)
        elif promised:
            lease_id = list(promised)[wish.place % len(promised)]
            slots, _ = promised[lease_id]
            if wish.kind == "renew":
                renewed = renew(state, clock_us, lease_id, slots=slots, lease_us=wish.lease_us)
                state = renewed.state
                if renewed.answer.renewed:
                    promised[lease_id] = (slots, real_us + renewed.answer.expires_after_us)
            else:
                state = release(state, clock_us, lease_id, slots=slots).state
                del promised[lease_id]
        held = sum(slots for slots, until_us in promised.values() if until_us > real_us)
        assert held <= LIMIT


@given(st.integers(1, 50), st.integers(10_000, 10 * SECOND_US))
def test_exactly_the_limit_is_leased(asked: int, lease_us: int) -> None:
    """Of so many who ask at once for a slot, as many get one as there are."""
    state, verdicts = None, []
    for number in range(asked):
        leased = acquire(LIMIT, state, START_US, f"{RANDOM}{number}", slots=1, lease_us=lease_us)
        state = leased.state
        verdicts.append(leased.answer.verdict)
    assert min(asked, LIMIT) == verdicts.count(Verdict.LEASED)


def held(*leases: tuple[str, int, int], longest_us: int = 60 * SECOND_US) -> Leases:
    """Return leases by id, slots and microseconds from the start until they end."""
    return Leases(
        longest_us=longest_us, by_id={name: Lease(slots, START_US + after_us) for name, slots, after_us in leases}
    )


def test_a_wait_is_over_when_enough_leases_have_ended() -> None:
    """The earliest that make room count, not the earliest alone."""
    state = held(("r1", 1, 5), ("r2", 1, 9), ("r3", 1, 7))
    waits = [
        acquire(LIMIT, state, START_US, "r4", slots=slots, lease_us=10).answer.retry_after_us for slots in (1, 2, 3)
    ]
    assert [5, 7, 9] == waits


@given(st.integers(1, LIMIT), st.lists(st.tuples(st.integers(1, 2), st.integers(1, 1_000)), max_size=3))
def test_after_the_wait_there_is_room_and_not_before(slots: int, leases: list[tuple[int, int]]) -> None:
    """If nobody releases or renews, `retry_after` is right to the microsecond."""
    state = held(*((f"r{place}", taken, ends_us) for place, (taken, ends_us) in enumerate(leases))) if leases else None
    wait_us = peek(LIMIT, state, START_US, slots=slots).answer.retry_after_us
    expected = {wait_us: True} | ({wait_us - 1: False} if wait_us else {})
    looks = {after_us: peek(LIMIT, state, START_US + after_us, slots=slots).answer.free_now for after_us in expected}
    assert expected == looks


def test_a_lease_that_ends_now_has_ended() -> None:
    """Its holder is told, and its slot is another's."""
    state = held(("r1", 3, 5))
    renewed = renew(state, START_US + 5, "r1", slots=3, lease_us=SECOND_US)
    leased = acquire(LIMIT, state, START_US + 5, "r2", slots=3, lease_us=SECOND_US)
    assert (False, None, Verdict.LEASED) == (renewed.answer.renewed, renewed.state, leased.answer.verdict)


def test_renewing_never_brings_the_end_nearer() -> None:
    """A late copy of a renewal for less does no harm."""
    renewed = renew(held(("r1", 1, 10 * SECOND_US)), START_US, "r1", slots=1, lease_us=SECOND_US)
    assert 10 * SECOND_US == renewed.answer.expires_after_us


def test_a_named_caller_gets_its_own_lease_again_even_where_nothing_is_free() -> None:
    """It is renewed, and counts once."""
    state = held(("hme", 3, SECOND_US))
    leased = acquire(LIMIT, state, START_US, "hme", slots=3, lease_us=2 * SECOND_US)
    assert (Verdict.LEASED, 3, 2 * SECOND_US, 0) == leased.answer


def test_a_named_caller_with_another_wish_is_told() -> None:
    """Its lease stays as it is."""
    state = held(("hme", 2, SECOND_US))
    leased = acquire(LIMIT, state, START_US, "hme", slots=1, lease_us=2 * SECOND_US)
    assert (Verdict.OTHER_SIZE, state, None) == (leased.answer.verdict, leased.state, leased.ttl_ms)


def test_a_lowered_limit_keeps_what_is_leased_and_gives_nothing() -> None:
    """Until enough have ended; the answer says how many are in use."""
    state = held(("r1", 1, 5), ("r2", 2, 9))
    assert (Verdict.REFUSED, 3, 0, 9) == acquire(1, state, START_US, "r3", slots=1, lease_us=10).answer


@pytest.mark.parametrize("back_us", [1, SECOND_US, 86_400 * SECOND_US])
def test_after_the_clock_went_back_nobody_waits_longer_than_the_longest_lease(back_us: int) -> None:
    """All ends are brought to that; the refused call writes it down, or they would go on with the clock."""
    state = held(("r1", 3, 9 * SECOND_US), longest_us=10 * SECOND_US)
    now_us = START_US - back_us
    refused = acquire(LIMIT, state, now_us, "r2", slots=1, lease_us=SECOND_US)
    wait_us = refused.answer.retry_after_us
    after = acquire(LIMIT, refused.state, now_us + wait_us, "r2", slots=1, lease_us=SECOND_US)
    expected = (True, Verdict.LEASED)
    assert expected == (wait_us <= 10 * SECOND_US, after.answer.verdict)
    assert min(9 * SECOND_US + back_us, 10 * SECOND_US) == wait_us


def test_a_refusal_writes_nothing() -> None:
    """The state stays as it was, without a new TTL."""
    state = held(("r1", 3, SECOND_US))
    refused = acquire(LIMIT, state, START_US, "r2", slots=1, lease_us=SECOND_US)
    assert (state, None) == (refused.state, refused.ttl_ms)


def test_the_key_lives_as_long_as_its_last_lease() -> None:
    """Rounded up to the millisecond; a release may shorten it."""
    state = held(("r1", 1, 1_500), ("r2", 1, 3_001))
    kept = acquire(LIMIT, state, START_US, "r3", slots=1, lease_us=1_000)
    released = release(state, START_US, "r2", slots=1)
    assert (4, 2) == (kept.ttl_ms, released.ttl_ms)


def test_the_last_release_leaves_nothing() -> None:
    """No key, not an empty one."""
    released = release(held(("r1", 1, 5)), START_US, "r1", slots=1)
    assert ((True, 0), None) == (released.answer, released.state)


@pytest.mark.parametrize(("lease_id", "slots"), [("r2", 1), ("r1", 2)])
def test_what_is_no_lease_is_neither_renewed_nor_released(lease_id: str, slots: int) -> None:
    """Another id, or another size than the token of the lease says."""
    state = held(("r1", 1, 5))
    renewed = renew(state, START_US, lease_id, slots=slots, lease_us=SECOND_US)
    released = release(state, START_US, lease_id, slots=slots)
    assert (False, state, False, state) == (
        renewed.answer.renewed,
        renewed.state,
        released.answer.released,
        released.state,
    )
