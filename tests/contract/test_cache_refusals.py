"""`cache_refusals`: a key that is refused costs the store nothing, and a Reset is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf import duration_pb2
from sidecar_client.gen.sidecar.v1 import pipeline_pb2
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.contract import Contract, refusal
from support.metrics_page import MetricsPage
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import StoreServer

CONFIG = """
tenant: contract
# A probe is a command too.
store: {probe_interval: 10s}
telemetry: {traces: {sample_ratio: 0.0}}
rate_limits:
  asking: {algorithm: sliding_window, limit: 5, window: 1d}
  bucket: {algorithm: token_bucket, rate: 1/h, burst: 5, cache_refusals: true}
  several:
    cache_refusals: true
    limits:
      steady: {algorithm: gcra, rate: 1/h, burst: 5}
      daily: {algorithm: fixed_window, limit: 9, window: 366d}
  shadowed: {algorithm: fixed_window, limit: 5, window: 366d, shadow: true, cache_refusals: true}
  quick: {algorithm: sliding_log, limit: 1, window: 50ms, cache_refusals: true}
"""
REMEMBERED = ["bucket", "several"]
CALLS = 20


@pytest.fixture(scope="module")
def api(shared_store: StoreServer, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    """Return a sidecar whose policies remember refusals."""
    config = tmp_path_factory.mktemp("refusals") / "sidecar.yaml"
    config.write_text(CONFIG)
    sidecar = RunningSidecar(shared_store.url, engine=engine, config=config, metrics=True)
    sidecar.start()
    with Contract(sidecar, shared_store) as made:
        yield made
    sidecar.stop()


@pytest.fixture
def key(api: Contract) -> str:
    """Return a key of this test's own."""
    return api.key()


def check(api: Contract, policy: str, key: str, cost: int = 1) -> pb.CheckResponse:
    """Check a key."""
    return api.limits.Check(pb.CheckRequest(policy=policy, key=key, cost=cost))


def scripts_run(api: Contract) -> int:
    """Return how many scripts the store has run."""
    found = api.oracle.info("commandstats")
    return sum(found.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def override_burst(api: Contract, key: str, burst: int) -> None:
    """Give a key of the bucket another burst for an hour."""
    numbers = pb.OverrideNumbers(limits=[pb.LimitNumbers(limit=burst)])
    hour = duration_pb2.Duration(seconds=3600)
    override = pb.Override(policy="bucket", key=key, numbers=numbers, expires_after=hour)
    api.limits.SetOverride(pb.SetOverrideRequest(override=override))


@pytest.mark.parametrize("policy", REMEMBERED)
def test_a_refused_key_costs_the_store_nothing(api: Contract, key: str, policy: str) -> None:
    """Once it was refused; the answers are the store's, with less and less to wait."""
    check(api, policy, key, 5)
    first = check(api, policy, key)
    before = scripts_run(api)
    answers = [check(api, policy, key, cost) for cost in range(1, 6) for _ in range(CALLS)]
    assert before == scripts_run(api)
    waits = [answer.retry_after.ToMicroseconds() for answer in (first, *answers)]
    assert sorted(waits, reverse=True) == waits
    assert {(False, 0, pb.ENFORCEMENT_STORE)} == {
        (answer.allowed, answer.remaining, answer.enforcement) for answer in answers
    }


def test_a_policy_that_does_not_say_so_asks(api: Contract, key: str) -> None:
    """By default every Check is the store's."""
    check(api, "asking", key, 5)
    before = scripts_run(api)
    assert {False} == {check(api, "asking", key).allowed for _ in range(CALLS)}
    assert before + CALLS == scripts_run(api)


@pytest.mark.parametrize("policy", REMEMBERED)
def test_a_smaller_cost_is_asked_for(api: Contract, key: str, policy: str) -> None:
    """It may be allowed; and the cost that was refused is still known to be."""
    check(api, policy, key, 3)
    assert [False, True, False] == [check(api, policy, key, cost).allowed for cost in (3, 2, 3)]


@pytest.mark.parametrize("policy", REMEMBERED)
def test_what_can_never_be_allowed_is_still_an_error(api: Contract, key: str, policy: str) -> None:
    """Also of a key that is known to be refused."""
    check(api, policy, key, 5)
    check(api, policy, key)
    assert "COST_ABOVE_LIMIT" == refusal(lambda: check(api, policy, key, 6)).reason


@pytest.mark.parametrize("policy", REMEMBERED)
def test_a_reset_is_seen(api: Contract, key: str, policy: str) -> None:
    """The next Check is allowed."""
    check(api, policy, key, 5)
    check(api, policy, key)
    api.limits.Reset(pb.ResetRequest(policy=policy, key=key))
    assert check(api, policy, key, 5).allowed


@pytest.mark.parametrize("policy", REMEMBERED)
def test_a_batch_takes_effect_in_its_order(api: Contract, key: str, policy: str) -> None:
    """Before its Reset what is remembered counts, after it not."""
    check(api, policy, key, 5)
    check(api, policy, key)
    request = pb.CheckRequest(policy=policy, key=key)
    operations = [
        pipeline_pb2.Operation(check=request),
        pipeline_pb2.Operation(reset=pb.ResetRequest(policy=policy, key=key)),
        pipeline_pb2.Operation(check=request),
    ]
    results = api.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=operations)).results
    assert [False, True] == [results[0].check.allowed, results[2].check.allowed]


def test_a_batch_of_what_is_known_needs_no_store(api: Contract, key: str) -> None:
    """Each check for itself is answered like one alone."""
    check(api, "bucket", key, 5)
    check(api, "bucket", key)
    before = scripts_run(api)
    checks = [pb.CheckRequest(policy="bucket", key=key)] * 3
    answer = api.limits.CheckMany(pb.CheckManyRequest(checks=checks, mode=pb.CHECK_MODE_EACH))
    assert (before, [False] * 3) == (scripts_run(api), [result.decision.allowed for result in answer.results])


def test_an_override_is_seen(api: Contract, key: str) -> None:
    """It holds at once; what its key was refused before is forgotten, and what it is refused under it is not kept."""
    check(api, "bucket", key, 5)
    check(api, "bucket", key)
    override_burst(api, key, 8)
    raised = [check(api, "bucket", key, 8).allowed, check(api, "bucket", key, 1).allowed]
    before = scripts_run(api)
    check(api, "bucket", key)
    asked = scripts_run(api) - before
    api.limits.DeleteOverride(pb.DeleteOverrideRequest(policy="bucket", key=key))
    before = scripts_run(api)
    ended = check(api, "bucket", key)
    assert ([False, False], 1) == (raised, asked)
    assert (False, pb.DECIDED_BY_UNSPECIFIED, True) == (ended.allowed, ended.decided_by, scripts_run(api) > before)


def test_shadow_mode_has_nothing_to_remember(api: Contract, key: str) -> None:
    """Each Check is the store's."""
    check(api, "shadowed", key, 5)
    before = scripts_run(api)
    answers = [check(api, "shadowed", key) for _ in range(3)]
    assert before + 3 == scripts_run(api)
    assert {(True, True)} == {(answer.allowed, answer.shadow_denied) for answer in answers}


def test_it_ends_when_the_wait_does(api: Contract, key: str) -> None:
    """A caller who comes back when told is allowed, again and again."""
    allowed = 0
    for _ in range(200):
        allowed += check(api, "quick", key).allowed
        if allowed > 3:
            break
        while (answer := check(api, "quick", key)) and not answer.allowed:
            assert answer.retry_after.ToMilliseconds() <= 50
        allowed += 1
    assert allowed > 3


def test_they_are_counted_among_the_denied(api: Contract, key: str) -> None:
    """And by themselves."""

    def counted() -> list[float]:
        page = MetricsPage(api.sidecar.metrics_address or "")
        return [
            page("sidecar_ratelimit_remembered_refusals_total", policy="bucket"),
            page("sidecar_ratelimit_decisions_total", policy="bucket", outcome="denied"),
        ]

    check(api, "bucket", key, 5)
    before = counted()
    for _ in range(3):
        check(api, "bucket", key)
    assert [2.0, 3.0] == [now - then for now, then in zip(counted(), before, strict=True)]
