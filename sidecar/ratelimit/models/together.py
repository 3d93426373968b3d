"""Several limits for one call, as a pure function over the models of each: all of them are charged, or none.

A call is allowed if every limit allows its cost. Then each does what it would alone. If one refuses, those that allow
are only looked at: what they say remains is what is there now, since nothing was taken. Those that refuse do what they
do alone, which writes nothing but for a few cases: a bucket whose clock went back takes on the new time, a fixed window
that charges what it refuses goes on counting. All of it is one script, so no other call comes in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.ratelimit.model import Step


class Check(Protocol):
    """The model of one limit, with its policy, the time and the cost."""

    def __call__(self, state: Any, *, commit: bool) -> Step[Any]:
        """Decide; without `commit` nothing is written."""
        ...


def check_together(checks: Sequence[Check], states: Sequence[Any], *, commit: bool) -> list[Step[Any]]:
    """Decide on one call against several limits, each with a state of its own."""
    steps = [check(state, commit=commit) for check, state in zip(checks, states, strict=True)]
    if not commit or all(step.verdict.allowed for step in steps):
        return steps
    return [
        check(state, commit=False) if step.verdict.allowed else step
        for check, state, step in zip(checks, states, steps, strict=True)
    ]
