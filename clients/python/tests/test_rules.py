"""Which limits a request must pass, and what becomes of it when one cannot be asked."""

from __future__ import annotations

import asyncio
import logging
import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from decisions import (
    COST_TOO_HIGH,
    LONG_KEY,
    NOTHING_ALLOWED,
    OVERLOADED,
    UNAVAILABLE,
    UNKNOWN_POLICY,
    allowed,
    refused,
)
from sidecar_client import (
    Answer,
    BlockingGuard,
    BlockingSidecar,
    Guard,
    InvalidRequestError,
    NotConfiguredError,
    OutcomeUnknownError,
    Rule,
    Ruling,
    SidecarClient,
    Verdict,
)
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from played_sidecar import Play
    from sidecar_client import OnFailure


def rule(name: str = "", *, policy: str = "auth", on_failure: OnFailure = "closed", **more: Any) -> Rule[str]:
    """Return a rule whose key is the subject itself."""
    return Rule(policy=policy, name=name, on_failure=on_failure, **({"key": str} | more))


async def judged(play: Play, sidecar: SidecarClient, *rules: Rule[str], steps: tuple[object, ...]) -> Verdict:
    """Return what the rules say of "ada" when the sidecar answers so."""
    play.answer(*steps)
    return await Guard(sidecar.limit, rules).judge("ada")


async def test_a_rule_asks_its_policy_about_its_key(play: Play, sidecar: SidecarClient) -> None:
    """Policy, key and cost travel."""
    await judged(play, sidecar, rule(cost=3), steps=(allowed(),))
    expected = rate_limit_pb2.CheckRequest(policy="auth", key="ada", cost=3)
    assert expected == play.received[0].request


async def test_a_rule_says_the_tier(play: Play, sidecar: SidecarClient) -> None:
    """At once or when it is awaited; empty is none."""

    async def looked_up(subject: str) -> str:
        return f"of-{subject}"

    rules = [rule("a", tier=lambda _: "pro"), rule("b", tier=looked_up), rule("c", tier=lambda _: "")]
    await judged(play, sidecar, *rules, steps=(allowed(), allowed(), allowed()))
    assert ["pro", "of-ada", ""] == [received.request.tier for received in play.received]


async def test_rules_are_asked_in_their_order(play: Play, sidecar: SidecarClient) -> None:
    """What all of them allow passes."""
    verdict = await judged(play, sidecar, rule("a"), rule("b", policy="api"), steps=(allowed(), allowed()))
    assert ["auth", "api"] == [received.request.policy for received in play.received]
    assert [Ruling.ALLOWED] * 2 == [answer.ruling for answer in verdict.answers]
    assert verdict.stopped_by is None


async def test_the_first_refusal_ends_it(play: Play, sidecar: SidecarClient) -> None:
    """The rules after it are not charged."""
    verdict = await judged(play, sidecar, rule("a"), rule("b"), rule("c"), steps=(allowed(), refused(1500)))
    assert 2 == len(play.received)
    assert verdict.stopped_by is not None
    assert ("b", Ruling.REFUSED, timedelta(seconds=1.5)) == (
        verdict.stopped_by.rule.label,
        verdict.stopped_by.ruling,
        verdict.stopped_by.wait,
    )


async def test_a_rule_without_a_key_does_not_concern_the_request(play: Play, sidecar: SidecarClient) -> None:
    """Nothing is asked for it."""
    verdict = await judged(play, sidecar, rule("a", key=lambda _: None), steps=())
    assert (Verdict(), []) == (verdict, play.received)


async def test_a_key_may_be_awaited(play: Play, sidecar: SidecarClient) -> None:
    """It may need the body, or a database."""

    async def found(subject: str) -> str:
        await asyncio.sleep(0)
        return f"account:{subject}"

    await judged(play, sidecar, rule(key=found), steps=(allowed(),))
    assert "account:ada" == play.received[0].request.key


@pytest.mark.parametrize("failure", [UNAVAILABLE, OVERLOADED], ids=["unavailable", "overloaded"])
@pytest.mark.parametrize(("on_failure", "expected"), [("open", Ruling.FAILED_OPEN), ("closed", Ruling.FAILED_CLOSED)])
async def test_a_limit_that_cannot_be_asked_is_open_or_closed(
    play: Play, sidecar: SidecarClient, on_failure: OnFailure, expected: Ruling, failure: object
) -> None:
    """Each rule says which."""
    verdict = await judged(play, sidecar, rule(on_failure=on_failure), steps=(failure,))
    assert [expected] == [answer.ruling for answer in verdict.answers]
    assert (on_failure == "open") == (verdict.stopped_by is None)


async def test_a_sidecar_that_is_not_there_is_a_failure() -> None:
    """So is one that does not answer in time."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        async with SidecarClient(f"127.0.0.1:{taken.getsockname()[1]}") as sidecar:
            verdict = await Guard(sidecar.limit, [rule()]).judge("ada")
    assert [Ruling.FAILED_CLOSED] == [answer.ruling for answer in verdict.answers]


async def test_a_sidecar_that_is_too_slow_is_a_failure(play: Play, sidecar: SidecarClient) -> None:
    """The guard's timeout bounds each check."""
    never = asyncio.Event()

    async def hang() -> None:
        await never.wait()

    play.answer(hang)
    verdict = await Guard(sidecar.limit, [rule(on_failure="open")], timeout=0.1).judge("ada")
    assert [Ruling.FAILED_OPEN] == [answer.ruling for answer in verdict.answers]


async def test_after_one_that_failed_open_the_next_is_asked(play: Play, sidecar: SidecarClient) -> None:
    """Another policy may have another store's fate."""
    verdict = await judged(play, sidecar, rule("a", on_failure="open"), rule("b"), steps=(UNAVAILABLE, refused()))
    assert [Ruling.FAILED_OPEN, Ruling.REFUSED] == [answer.ruling for answer in verdict.answers]


@pytest.mark.parametrize(
    ("failure", "expected"), [(UNAVAILABLE, timedelta(seconds=2.5)), (OVERLOADED, timedelta(seconds=1))]
)
async def test_a_failure_says_how_long_to_wait(
    play: Play, sidecar: SidecarClient, failure: object, expected: timedelta
) -> None:
    """What the sidecar asks for, or else a second."""
    verdict = await judged(play, sidecar, rule(), steps=(failure,))
    assert expected == verdict.answers[0].wait


@pytest.mark.parametrize("nothing", [NOTHING_ALLOWED, refused(0, limit=0)], ids=["above the limit", "refused"])
async def test_a_limit_of_nothing_refuses_without_a_wait(play: Play, sidecar: SidecarClient, nothing: object) -> None:
    """It is neither a failure nor a mistake."""
    verdict = await judged(play, sidecar, rule(on_failure="open"), steps=(nothing,))
    assert [(Ruling.REFUSED, None)] == [(answer.ruling, answer.wait) for answer in verdict.answers]


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [(UNKNOWN_POLICY, NotConfiguredError), (LONG_KEY, InvalidRequestError), (COST_TOO_HIGH, InvalidRequestError)],
)
async def test_a_mistake_does_not_fail_open(
    play: Play, sidecar: SidecarClient, mistake: object, expected: type[Exception]
) -> None:
    """A misspelt policy would be no limit at all, and nobody would know."""
    with pytest.raises(expected):
        await judged(play, sidecar, rule(on_failure="open"), steps=(mistake,))


async def test_a_check_is_made_once(play: Play, sidecar: SidecarClient) -> None:
    """One whose fate is unknown is not asked again: it may have been charged."""
    unknown = type(UNAVAILABLE)(code=OVERLOADED.code, reason="OUTCOME_UNKNOWN")
    verdict = await judged(play, sidecar, rule(), steps=(unknown, allowed()))
    assert (1, True) == (len(play.received), isinstance(verdict.answers[0].error, OutcomeUnknownError))


async def test_an_observer_hears_of_every_answer(play: Play, sidecar: SidecarClient) -> None:
    """Enough for a counter by rule and ruling; the key is not in it."""
    heard: list[Answer] = []
    play.answer(allowed(), UNAVAILABLE, refused())
    guard = Guard(sidecar.limit, [rule("logins", on_failure="open")], observe=heard.append)
    for _ in range(3):
        await guard.judge("ada")
    assert [("logins", "allowed"), ("logins", "failed_open"), ("logins", "refused")] == [
        (answer.rule.label, answer.ruling.value) for answer in heard
    ]
    assert not any("ada" in repr(answer) for answer in heard)


async def test_the_log_tells_of_an_outage_once(
    play: Play, sidecar: SidecarClient, caplog: pytest.LogCaptureFixture
) -> None:
    """When it begins and when it ends, whatever the number of requests."""
    caplog.set_level(logging.INFO, "sidecar_client.rate_limits")
    play.answer(UNAVAILABLE, UNAVAILABLE, allowed(), allowed())
    guard = Guard(sidecar.limit, [rule("logins", on_failure="open")])
    for _ in range(4):
        await guard.judge("ada")
    assert [
        "the rate limit 'logins' cannot be asked, requests pass unlimited: STORE_UNAVAILABLE: no luck",
        "the rate limit 'logins' is asked again",
    ] == caplog.messages


async def test_threads_ask_the_same(play: Play) -> None:
    """Decisions, failures and mistakes are as on an event loop."""
    play.answer(allowed(), refused(), UNAVAILABLE, UNKNOWN_POLICY)

    def judge_four() -> tuple[list[list[Ruling]], str]:
        with BlockingSidecar(play.address, timeout=30) as sidecar:
            guard = BlockingGuard(sidecar.limit, [rule()])
            seen = [[answer.ruling for answer in guard.judge("ada").answers] for _ in range(3)]
            with pytest.raises(NotConfiguredError) as caught:
                guard.judge("ada")
        return seen, caught.value.reason

    expected = ([[Ruling.ALLOWED], [Ruling.REFUSED], [Ruling.FAILED_CLOSED]], "POLICY_UNKNOWN")
    assert expected == await asyncio.to_thread(judge_four)


async def test_threads_skip_a_rule_without_a_key_and_refuse_one_that_waits(play: Play) -> None:
    """There is no loop to await it on."""

    def judge(key: Callable[[str], Any]) -> Verdict:
        with BlockingSidecar(play.address, timeout=30) as sidecar:
            return BlockingGuard(sidecar.limit, [rule(key=key)]).judge("ada")

    assert Verdict() == await asyncio.to_thread(judge, lambda _: None)
    future = asyncio.get_running_loop().create_future()
    with pytest.raises(TypeError, match="nobody awaits it here"):
        await asyncio.to_thread(judge, lambda _: future)


async def test_threads_say_the_tier(play: Play) -> None:
    """As on an event loop, but nobody awaits it."""
    play.answer(allowed())

    def judge(tier: Callable[[str], Any]) -> Verdict:
        with BlockingSidecar(play.address) as sidecar:
            return BlockingGuard(sidecar.limit, [rule(tier=tier)]).judge("ada")

    await asyncio.to_thread(judge, lambda _: "pro")
    assert ["pro"] == [received.request.tier for received in play.received]
    future = asyncio.get_running_loop().create_future()
    with pytest.raises(TypeError, match="the tier of 'auth' is no text"):
        await asyncio.to_thread(judge, lambda _: future)


def test_a_blocking_client_that_is_not_open_says_so() -> None:
    """Before and after `with` there is no channel."""
    sidecar = BlockingSidecar("127.0.0.1:1")
    with pytest.raises(RuntimeError, match="not open"):
        sidecar.limit("auth")
    with sidecar:
        assert sidecar.channel is not None
        with pytest.raises(RuntimeError, match="open already"):
            sidecar.__enter__()
    with pytest.raises(RuntimeError, match="not open"):
        _ = sidecar.channel


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"policy": ""}, "printable ASCII"),
        ({"name": "zwölf"}, "printable ASCII"),
        ({"on_failure": "ajar"}, '"open" or "closed"'),
        ({"cost": 0}, "at least 1"),
        ({"window": 0}, "window must be positive"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_at_once(wrong: dict[str, Any], says: str) -> None:
    """Not with the first request."""
    with pytest.raises(ValueError, match=says):
        rule(**wrong)


@pytest.mark.parametrize(("rules", "says"), [([], "no rules"), ([rule("a"), rule("a")], "same name")])
async def test_rules_that_cannot_be_told_apart_are_refused(
    sidecar: SidecarClient, rules: list[Rule[str]], says: str
) -> None:
    """Two items of one name in a field would mean nothing."""
    with pytest.raises(ValueError, match=says):
        Guard(sidecar.limit, rules)
