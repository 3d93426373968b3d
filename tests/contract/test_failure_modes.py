"""`on_failure`: what a rate limit answers while the store is gone, and when it is back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2
from sidecar_client.gen.sidecar.v1 import error_reason_pb2, pipeline_pb2
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.contract import Contract, refusal
from support.metrics_page import MetricsPage
from support.servers import KINDS, StoreServer
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
tenant: contract
store: {probe_interval: 50ms}
telemetry: {traces: {sample_ratio: 0.0}}
rate_limits:
  failing: {algorithm: token_bucket, rate: 1/h, burst: 5}
  open: {algorithm: token_bucket, rate: 1/h, burst: 5, on_failure: open}
  closed: {algorithm: sliding_window, limit: 5, window: 1d, on_failure: closed}
  shadowed: {algorithm: sliding_window, limit: 5, window: 1d, on_failure: closed, shadow: true, denied_keys: [bad]}
  listed: {algorithm: fixed_window, limit: 5, window: 1d, denied_keys: [bad], unlimited_keys: [good]}
  shared: {algorithm: sliding_log, limit: 5, window: 1d, on_failure: local_share}
  both:
    on_failure: open
    limits:
      steady: {algorithm: gcra, rate: 1/h, burst: 5}
      daily: {algorithm: fixed_window, limit: 9, calendar: day}
"""
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
OPEN, CLOSED, STORE = pb.ENFORCEMENT_FAILED_OPEN, pb.ENFORCEMENT_FAILED_CLOSED, pb.ENFORCEMENT_STORE
SHARE = pb.ENFORCEMENT_LOCAL_SHARE
UNBOUNDED = 2**64 - 1


@pytest.fixture(scope="module", params=KINDS)
def down(request: pytest.FixtureRequest, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    """Return a sidecar whose store was killed; a test that starts it kills it again."""
    folder = tmp_path_factory.mktemp("store")
    config = folder / "sidecar.yaml"
    config.write_text(CONFIG)
    server = StoreServer(request.param, folder)
    server.start()
    sidecar = RunningSidecar(server.url, engine=engine, config=config, metrics=True)
    sidecar.start()
    server.kill()
    sidecar.wait_for(NOT_SERVING)
    with Contract(sidecar, server) as made:
        yield made
    sidecar.stop()
    server.stop()


@pytest.fixture(params=KINDS)
def hung(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> Iterator[Contract]:
    """Return a sidecar whose store has just stopped answering, and which gives it 200 ms."""
    config = tmp_path / "sidecar.yaml"
    config.write_text(CONFIG)
    server = StoreServer(request.param, tmp_path)
    server.start()
    sidecar = RunningSidecar(server.url, engine=engine, config=config, overrides={"store.reply_timeout": "200ms"})
    sidecar.start()
    server.pause()
    with Contract(sidecar, server) as made:
        yield made
    server.resume()
    sidecar.stop()
    server.stop()


def check(api: Contract, policy: str, cost: int = 1, key: str | None = None) -> pb.CheckResponse:
    """Check one key, of its own if none is given."""
    return api.limits.Check(pb.CheckRequest(policy=policy, key=key or api.key(), cost=cost))


def brief(answer: pb.CheckResponse | pb.PeekResponse) -> tuple[bool, int, int]:
    """Return what an answer is about."""
    return answer.allowed, answer.enforcement, answer.max_overshoot


def test_by_default_the_call_fails(down: Contract) -> None:
    """A policy that says nothing leaves the decision to the caller."""
    refused = refusal(lambda: check(down, "failing"))
    assert (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE") == (refused.code, refused.reason)


@pytest.mark.parametrize("policy", ["open", "both"])
def test_open_allows_and_says_that_nothing_holds(down: Contract, policy: str) -> None:
    """More than the limit is allowed, of one key; nothing is claimed to be known."""
    key = down.key()
    answers = [check(down, policy, 5, key) for _ in range(3)]
    assert [(True, OPEN, UNBOUNDED)] * 3 == [brief(answer) for answer in answers]
    assert (5, 0, 0) == (answers[0].limit, answers[0].remaining, len(answers[0].limits))


def test_closed_refuses_and_says_when_to_ask_again(down: Contract) -> None:
    """Nothing is let through, so there is no overshoot; what costs nothing is allowed as always."""
    refused, free = check(down, "closed"), check(down, "closed", 0)
    assert ((False, CLOSED, 0), 1) == (brief(refused), refused.retry_after.ToSeconds())
    assert ((True, CLOSED, 0), 0) == (brief(free), free.retry_after.ToMilliseconds())


def test_shadow_mode_lets_through_what_is_refused(down: Contract) -> None:
    """As it does what the store refuses, and no wait is named."""
    answer = check(down, "shadowed")
    assert ((True, CLOSED, 0), True) == (brief(answer), answer.shadow_denied)
    assert 0 == answer.retry_after.ToMicroseconds()


def test_lists_need_no_store(down: Contract) -> None:
    """Whatever the policy says of the others, whose calls fail here."""
    good, bad = check(down, "listed", key="good"), check(down, "listed", key="bad")
    assert [(True, STORE, 0), (False, STORE, 0)] == [brief(good), brief(bad)]
    assert "STORE_UNAVAILABLE" == refusal(lambda: check(down, "listed")).reason


def test_a_share_is_enforced_without_the_store(down: Contract) -> None:
    """The only sidecar's is the whole limit: it is allowed once, and the answers say what that may come to."""
    key = down.key()
    answers = [check(down, "shared", 3, key), check(down, "shared", 3, key), check(down, "shared", 2, key)]
    assert [(True, SHARE, 5), (False, SHARE, 5), (True, SHARE, 5)] == [brief(answer) for answer in answers]
    assert [(5, 2), (5, 2), (5, 0)] == [(answer.limit, answer.remaining) for answer in answers]
    assert answers[1].retry_after.ToSeconds() > 3600


def test_a_peek_says_what_a_check_would(down: Contract) -> None:
    """In each mode."""
    peeks = [down.limits.Peek(pb.PeekRequest(policy=policy, key="k")) for policy in ("open", "closed")]
    assert [(True, OPEN, UNBOUNDED), (False, CLOSED, 0)] == [brief(peek) for peek in peeks]


@pytest.mark.parametrize("policy", ["open", "closed", "both"])
def test_a_wrong_request_is_still_refused_for_what_it_is(down: Contract, policy: str) -> None:
    """No mode answers a call that could never be allowed."""
    assert "COST_ABOVE_LIMIT" == refusal(lambda: check(down, policy, 10)).reason


def test_checks_that_hang_together_are_decided_together(down: Contract) -> None:
    """One that is refused keeps all from being allowed; each says what its own policy does."""
    checks = [pb.CheckRequest(policy=policy, key="k") for policy in ("open", "closed", "open")]
    answer = down.limits.CheckMany(pb.CheckManyRequest(checks=checks))
    told = [brief(result.decision) for result in answer.results]
    assert (False, [(True, OPEN, UNBOUNDED), (False, CLOSED, 0), (True, OPEN, UNBOUNDED)]) == (answer.allowed, told)


def test_checks_that_hang_together_fail_where_one_does(down: Contract) -> None:
    """A policy that leaves it to the caller leaves the whole to the caller."""
    checks = [pb.CheckRequest(policy=policy, key="k") for policy in ("open", "failing")]
    refused = refusal(lambda: down.limits.CheckMany(pb.CheckManyRequest(checks=checks)))
    assert "STORE_UNAVAILABLE" == refused.reason


def test_checks_apart_are_each_as_alone(down: Contract) -> None:
    """One that fails does not touch the others."""
    checks = [pb.CheckRequest(policy=policy, key="k") for policy in ("failing", "open", "closed")]
    answer = down.limits.CheckMany(pb.CheckManyRequest(checks=checks, mode=pb.CHECK_MODE_EACH))
    failed, opened, closed = answer.results
    assert error_reason_pb2.ERROR_REASON_STORE_UNAVAILABLE == failed.failure.reason
    assert [(True, OPEN, UNBOUNDED), (False, CLOSED, 0)] == [brief(opened.decision), brief(closed.decision)]


def test_a_pipeline_answers_as_the_calls_do(down: Contract) -> None:
    """Its checks and peeks, too, are answered without the store; a reset is not."""
    operations = [
        pipeline_pb2.Operation(check=pb.CheckRequest(policy="open", key="k")),
        pipeline_pb2.Operation(peek=pb.PeekRequest(policy="closed", key="k")),
        pipeline_pb2.Operation(reset=pb.ResetRequest(policy="open", key="k")),
    ]
    answer = down.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=operations))
    opened, closed, failed = answer.results
    assert [(True, OPEN, UNBOUNDED), (False, CLOSED, 0)] == [brief(opened.check), brief(closed.peek)]
    assert error_reason_pb2.ERROR_REASON_STORE_UNAVAILABLE == failed.failure.reason


def test_answers_without_the_store_are_counted(down: Contract) -> None:
    """By policy and mode, beside what was allowed and denied."""

    def counted() -> list[float]:
        page = MetricsPage(down.sidecar.metrics_address or "")
        return [
            page("sidecar_ratelimit_failure_mode_answers_total", policy="closed", mode="closed"),
            page("sidecar_ratelimit_decisions_total", policy="closed", outcome="denied"),
        ]

    before = counted()
    check(down, "closed")
    down.limits.CheckMany(pb.CheckManyRequest(checks=[pb.CheckRequest(policy="closed", key="k")]))
    assert [2.0, 2.0] == [now - then for now, then in zip(counted(), before, strict=True)]


def test_the_store_decides_again_when_it_is_back(down: Contract) -> None:
    """With its own count, in which nothing of what was answered without it stands."""
    key = down.key()
    check(down, "open", 5, key)
    down.server.start()
    down.sidecar.wait_for(SERVING)
    answers = [check(down, "open", 5, key) for _ in range(2)]
    down.server.kill()
    down.sidecar.wait_for(NOT_SERVING)
    assert [(True, STORE, 0), (False, STORE, 0)] == [brief(answer) for answer in answers]


def test_a_store_that_hangs_has_not_answered_either(hung: Contract) -> None:
    """A Check that was sent may have been counted; it is answered without the store, and so are those after it."""
    answers = [check(hung, policy) for policy in ("closed", "open", "shared", "closed")]
    expected = [(False, CLOSED, 0), (True, OPEN, UNBOUNDED), (True, SHARE, 5), (False, CLOSED, 0)]
    assert expected == [brief(answer) for answer in answers]
