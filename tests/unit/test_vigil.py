"""When the loop is kept awake, and when it is not."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.vigil import Vigil

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 200e-6
SOON = 50e-6
LATE = 5e-3
# Turns after which any vigil is kept, or tried again.
MANY = 1000


class CountingLoop:
    """Stands for an event loop: keeps what is to be called in its next turn."""

    def __init__(self) -> None:
        self.due: list[Callable[[], Any]] = []

    def call_soon(self, callback: Callable[[], Any]) -> None:
        """Keep a callback."""
        self.due.append(callback)

    def turn(self) -> bool:
        """Call what is due; return whether there was anything, so that a loop would not have slept."""
        due, self.due = self.due, []
        for callback in due:
            callback()
        return bool(due)


class Turns:
    """A vigil, and the moments of what is expected and comes."""

    def __init__(self) -> None:
        self.loop = CountingLoop()
        self.vigil = Vigil(self.loop, PATIENCE)  # type: ignore[arg-type] # (all of a loop that it uses)
        self.now = time.monotonic() - 3600

    def take(self, count: int, waited: float = SOON, between: float = SOON) -> None:
        """Have something expected and come, so many times."""
        for _ in range(count):
            self.now += between
            self.vigil.begin(self.now)
            self.now += waited
            self.vigil.end(self.now)
            while self.loop.turn():
                pass

    def keeps_awake(self, between: float = SOON) -> bool:
        """Expect something, and say whether the loop is awake meanwhile."""
        self.now += between
        self.vigil.begin(self.now)
        awake = bool(self.loop.due)
        self.now += SOON
        self.vigil.end(self.now)
        while self.loop.turn():
            pass
        return awake


def test_what_came_soon_again_and_again_is_watched_for() -> None:
    """And not before."""
    turns = Turns()
    assert not turns.keeps_awake()
    turns.take(MANY)
    assert turns.keeps_awake()


def test_what_takes_its_time_is_not() -> None:
    """As a store far away, or a caller who thinks."""
    for waited, between in ((LATE, SOON), (SOON, LATE)):
        turns = Turns()
        turns.take(MANY, waited, between)
        assert not turns.keeps_awake(between)


def test_a_few_slow_turns_do_not_end_it() -> None:
    """Each is a vigil in vain, and one in seventeen is worth it."""
    turns = Turns()
    turns.take(MANY)
    for _ in range(20):
        turns.take(1, waited=LATE)
        turns.take(20)
        assert turns.keeps_awake()


def test_many_slow_turns_end_it() -> None:
    """Until it has proved itself anew."""
    turns = Turns()
    turns.take(MANY)
    for _ in range(20):
        turns.take(1, waited=LATE)
        turns.take(8)
    assert not turns.keeps_awake()
    turns.take(MANY)
    assert turns.keeps_awake()


def test_two_who_wait_at_once_end_it() -> None:
    """There is other work then."""
    turns = Turns()
    turns.take(MANY)
    turns.vigil.begin(turns.now)
    turns.vigil.begin(turns.now)
    turns.vigil.end(turns.now)
    turns.loop.turn()
    assert not turns.keeps_awake()


def test_a_vigil_in_vain_ends() -> None:
    """After as long as it was told."""
    turns = Turns()
    turns.take(MANY)
    turns.vigil.begin(turns.now)  # an hour ago
    assert turns.loop.turn()
    assert not turns.loop.due


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "turn"]), st.sampled_from([0.0, SOON, LATE])), max_size=200))
def test_it_has_one_callback_at_most(steps: list[tuple[str, float]]) -> None:
    """However it is used, so that a turn of the loop costs no more than that; an end ends it."""
    turns = Turns()
    turns.take(MANY)
    for step, passed in steps:
        turns.now += passed
        if step == "turn":
            turns.loop.turn()
        else:
            getattr(turns.vigil, step)(turns.now)
        assert len(turns.loop.due) <= 1
    turns.vigil.end(turns.now)
    turns.loop.turn()
    assert not turns.loop.due


async def test_a_loop_sleeps_again() -> None:
    """Where nothing comes at all."""
    loop = asyncio.get_running_loop()
    vigil = Vigil(loop, PATIENCE)
    for _ in range(MANY):
        vigil.begin(time.monotonic())
        vigil.end(time.monotonic())
    vigil.begin(time.monotonic())
    used = time.process_time()
    await asyncio.sleep(0.2)
    assert time.process_time() - used < 0.1


def test_it_can_be_forbidden() -> None:
    """By `limits.busy_wait`, where processor time is dear."""
    turns = Turns()
    turns.vigil = Vigil(turns.loop, 0.0)  # type: ignore[arg-type] # (as above)
    turns.take(3 * MANY)
    assert not turns.keeps_awake()
