"""Asks the rules of a request, one after the other, on an event loop (`Guard`) or in a thread (`BlockingGuard`).

What the answers mean is decided in `rules.py`.
"""

from __future__ import annotations

import logging
from inspect import isawaitable
from typing import TYPE_CHECKING, Generic

from sidecar_client.errors import SidecarError
from sidecar_client.rules import Answer, Ruling, SubjectT, Verdict, decided, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar_client.blocking import BlockingLimit
    from sidecar_client.durations import Span
    from sidecar_client.limit import Limit
    from sidecar_client.rules import Rule

_log = logging.getLogger("sidecar_client.rate_limits")


class Watch:
    """Tells of answers: each to the observer, and to the log when a rule begins to fail and when it is asked again.

    The log is for people. A line for each request would drown what they look for, just when much is amiss.
    """

    def __init__(self, observe: Callable[[Answer], None] | None) -> None:
        self._observe = observe
        self._failing: set[str] = set()

    def saw(self, answer: Answer) -> Answer:
        """Tell of an answer, and return it."""
        label = answer.rule.label
        if answer.error is not None:
            if label not in self._failing:
                self._failing.add(label)
                meanwhile = "requests pass unlimited" if answer.ruling is Ruling.FAILED_OPEN else "requests are refused"
                _log.warning("the rate limit %r cannot be asked, %s: %s", label, meanwhile, answer.error)
        elif label in self._failing:
            self._failing.discard(label)
            _log.info("the rate limit %r is asked again", label)
        if self._observe is not None:
            self._observe(answer)
        return answer


class Guard(Generic[SubjectT]):
    """The rules before a route, for tasks of an event loop."""

    def __init__(
        self,
        limits: Callable[[str], Limit],
        rules: Sequence[Rule[SubjectT]],
        *,
        timeout: Span | None = None,
        observe: Callable[[Answer], None] | None = None,
    ) -> None:
        self._limits = limits
        self._rules = checked(rules)
        self._timeout = timeout
        self._watch = Watch(observe)

    async def judge(self, subject: SubjectT) -> Verdict:
        """Ask the rules until one does not let `subject` through.

        Raises what a key or a tier raises, and SidecarError for a mistake.
        """
        answers: list[Answer] = []
        for rule in self._rules:
            key = rule.key(subject)
            if isawaitable(key):
                key = await key
            if key is None:
                continue
            tier = "" if rule.tier is None else rule.tier(subject)
            if isawaitable(tier):
                tier = await tier
            answers.append(self._watch.saw(await self._ask(rule, key, tier)))
            if not answers[-1].passes:
                break
        return Verdict(answers=tuple(answers))

    async def _ask(self, rule: Rule[SubjectT], key: str, tier: str) -> Answer:
        limit = self._limits(rule.policy)
        try:
            return decided(rule, await limit.check(key, cost=rule.cost, tier=tier, timeout=self._timeout))
        except SidecarError as error:
            return failed(rule, error)


class BlockingGuard(Generic[SubjectT]):
    """The same for threads; keys and tiers are plain functions."""

    def __init__(
        self,
        limits: Callable[[str], BlockingLimit],
        rules: Sequence[Rule[SubjectT]],
        *,
        timeout: Span | None = None,
        observe: Callable[[Answer], None] | None = None,
    ) -> None:
        self._limits = limits
        self._rules = checked(rules)
        self._timeout = timeout
        self._watch = Watch(observe)

    def judge(self, subject: SubjectT) -> Verdict:
        """Ask the rules until one does not let `subject` through.

        Raises what a key or a tier raises, SidecarError for a mistake, and TypeError for one that wants to be awaited.
        """
        answers: list[Answer] = []
        for rule in self._rules:
            key = rule.key(subject)
            if key is None:
                continue
            tier = "" if rule.tier is None else rule.tier(subject)
            answers.append(self._watch.saw(self._ask(rule, _text("key", rule, key), _text("tier", rule, tier))))
            if not answers[-1].passes:
                break
        return Verdict(answers=tuple(answers))

    def _ask(self, rule: Rule[SubjectT], key: str, tier: str) -> Answer:
        limit = self._limits(rule.policy)
        try:
            return decided(rule, limit.check(key, cost=rule.cost, tier=tier, timeout=self._timeout))
        except SidecarError as error:
            return failed(rule, error)


def _text(what: str, rule: Rule[SubjectT], said: object) -> str:
    if not isinstance(said, str):
        raise TypeError(f"the {what} of {rule.label!r} is no text but a {type(said).__name__}: nobody awaits it here")
    return said


def checked(rules: Sequence[Rule[SubjectT]]) -> tuple[Rule[SubjectT], ...]:
    """Return the rules; raises ValueError if there are none or two of one name."""
    labels = [rule.label for rule in rules]
    if not labels:
        raise ValueError("there are no rules")
    if len(labels) != len(set(labels)):
        raise ValueError(f"two rules have the same name: {', '.join(labels)}")
    return tuple(rules)
