"""Requests that are over and count only there, while a window ends between the look and the count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from sidecar.call import Call
from sidecar.clock import StoreClock
from sidecar.ratelimit.envoy.limiter import EnvoyLimiter, EnvoyPolicy
from sidecar.ratelimit.envoy.rules import Asked, Limit, Node, Rule, Unit
from sidecar.ratelimit.envoy.window import Counted, count_window
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.store.base import Command, Reply, ScriptCall

SECOND_US = Unit.SECOND.length_us
RULES = Node(
    children={
        "burst": Node(rule=Rule(limit=Limit(1, Unit.SECOND), label="burst")),
        "day": Node(rule=Rule(limit=Limit(5, Unit.DAY), label="day")),
    }
)
BOTH = [Asked((("burst", ""),), 1), Asked((("day", ""),), 1)]


class Windows:
    """A store of fixed windows, as the model has them, whose clock goes on with each question."""

    def __init__(self, step_us: int) -> None:
        self.now_us = 1_000_000 * SECOND_US + SECOND_US // 2
        self.step_us = step_us
        self.states: dict[bytes, Counted] = {}

    async def call_many(self, requests: Sequence[Command | ScriptCall], _call: Call) -> list[Reply]:
        """Answer each, all at one moment."""
        replies = [self._count(cast("Any", request)) for request in requests]
        self.now_us += self.step_us
        return replies

    async def run(self, request: ScriptCall, call: Call) -> Reply:
        """Answer one."""
        return (await self.call_many([request], call))[0]

    def _count(self, request: ScriptCall) -> Reply:
        length_us, hits = (int(word) for word in request.args)
        step = count_window(length_us, self.states.get(request.keys[0]), self.now_us, hits)
        if step.state is not None:
            self.states[request.keys[0]] = step.state
        return [step.hits, step.reset_after_us, self.now_us]


@pytest.mark.parametrize(("step_us", "passed"), [(SECOND_US // 100, 1), (SECOND_US // 2, 5)])
async def test_what_passes_counts(step_us: int, passed: int) -> None:
    """Where each second ends between a look and what follows, no more pass than a day allows; where none does, one."""
    limiter = EnvoyLimiter(
        store=cast("Any", Windows(step_us)),
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=Metrics(),
        domains={"d": RULES},
        policy=EnvoyPolicy(stop_counting_when_over=True),
    )
    over = [(await limiter.should_rate_limit("d", BOTH, Call("/test"))).answer.over for _ in range(20)]
    assert passed == over.count(False)
