"""Rate limits under fire: eight processes of fifty callers, each with a limiter and a pool of its own, on one key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.limit_takers import LEAST_CALLS, a_window_without_an_edge_now
from support.many_processes import PATIENCE_SECONDS, PROCESSES, outputs_of

if TYPE_CHECKING:
    from support.servers import StoreServer

CALLERS = 50
# Fewer than the callers ask for together, and more than the callers of half the processes do.
LIMIT = 500
ASKED = PROCESSES * CALLERS * LEAST_CALLS
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
pytestmark = [pytest.mark.alone, pytest.mark.timeout(2 * PATIENCE_SECONDS)]


class Taken(NamedTuple):
    """What all processes together got."""

    refused: int
    allowed: list[tuple[int, int]]
    """When each call was asked and when it was answered, in ns of the clock that all share."""


async def under_fire(
    port: int, algorithm: str, limit: int, window_us: int, lasting_ms: int = 0, *, lease: float = 0.0
) -> Taken:
    """Let all callers of all processes begin at once, and return what they got once they are done."""
    outputs = await outputs_of("support.limit_takers", port, algorithm, limit, window_us, CALLERS, lasting_ms, lease)
    told = [json.loads(output) for output in outputs]
    return Taken(
        refused=sum(each["refused"] for each in told),
        allowed=[(asked_ns, answered_ns) for each in told for asked_ns, answered_ns in each["allowed"]],
    )


def most_within(allowed: list[tuple[int, int]], window_us: int) -> int:
    """Return the most calls that were asked and answered within one window, wherever it begins.

    The store decided each between the two, so at least so many were let in within a window.
    """
    return max(
        sum(begin_ns <= asked_ns and answered_ns < begin_ns + window_us * 1_000 for asked_ns, answered_ns in allowed)
        for begin_ns, _ in allowed
    )


@pytest.mark.parametrize("algorithm", ["token_bucket", "gcra"])
async def test_exactly_the_burst_is_allowed(server: StoreServer, algorithm: str) -> None:
    """With a token a day nothing comes back meanwhile: not one call more gets in, and not one fewer."""
    taken = await under_fire(server.port, algorithm, LIMIT, DAY_US)
    assert (LIMIT, ASKED - LIMIT) == (len(taken.allowed), taken.refused)


@pytest.mark.parametrize("algorithm", ["sliding_log", "sliding_window", "fixed_window"])
async def test_exactly_the_limit_of_a_window_is_allowed(server: StoreServer, algorithm: str) -> None:
    """A window that lasts for all of the test holds its limit, to the call."""
    taken = await under_fire(server.port, algorithm, LIMIT, a_window_without_an_edge_now())
    assert (LIMIT, ASKED - LIMIT) == (len(taken.allowed), taken.refused)


@pytest.mark.parametrize("algorithm", ["sliding_log", "sliding_window"])
async def test_never_more_than_the_limit_while_windows_pass(server: StoreServer, algorithm: str) -> None:
    """What falls out of the window is given out again, and no window anywhere holds more than the limit."""
    limit, window_us = 40, SECOND_US // 2
    taken = await under_fire(server.port, algorithm, limit, window_us, lasting_ms=2_000)
    assert most_within(taken.allowed, window_us) <= limit < len(taken.allowed)


@pytest.mark.parametrize("algorithm", ["token_bucket", "gcra", "fixed_window"])
async def test_exactly_the_limit_is_allowed_with_leases(server: StoreServer, algorithm: str) -> None:
    """What is borrowed is spent or goes back: nothing is lost, and nothing is let through twice."""
    window_us = a_window_without_an_edge_now() if algorithm == "fixed_window" else DAY_US
    taken = await under_fire(server.port, algorithm, LIMIT, window_us, lasting_ms=1_500, lease=0.02)
    more = await under_fire(server.port, algorithm, LIMIT, window_us)
    assert LIMIT == len(taken.allowed) + len(more.allowed)
    # Nearly all of it was given out while there were leases.
    assert LIMIT // 2 < len(taken.allowed)


@pytest.mark.parametrize("algorithm", ["token_bucket", "gcra"])
async def test_leases_pass_a_rate_by_no_more_than_all_may_hold(server: StoreServer, algorithm: str) -> None:
    """In any interval: the burst, what comes back in it, and what the processes may have held when it began."""
    burst, token_us, lease = 200, 2_000, 0.05
    taken = await under_fire(server.port, algorithm, burst, token_us, lasting_ms=2_000, lease=lease)
    held = PROCESSES * int(burst * lease)
    for interval_us in (20_000, 200_000, SECOND_US):
        assert most_within(taken.allowed, interval_us) <= burst + interval_us // token_us + 1 + held
    assert burst + SECOND_US // token_us < len(taken.allowed)
