"""`lease`: a hot key is served by what the sidecar has borrowed, and every call says so."""

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

# None gives anything back within the test, and no lease ends by itself.
CONFIG = """
tenant: contract
store: {probe_interval: 10s}
telemetry: {traces: {sample_ratio: 0.0}}
rate_limits:
  asking: {algorithm: token_bucket, rate: 1/h, burst: 100}
  bucket: {algorithm: token_bucket, rate: 1/h, burst: 100, lease: {max_fraction: 0.2, ttl: 10s}}
  gcra: {algorithm: gcra, rate: 1/h, burst: 100, lease: {max_fraction: 0.2, ttl: 10s}}
  fixed: {algorithm: fixed_window, limit: 100, window: 366d, lease: {max_fraction: 0.2, ttl: 10s}}
  yearly: {algorithm: fixed_window, limit: 100, calendar: year, lease: {max_fraction: 0.2, ttl: 10s}}
"""
LEASED = ["bucket", "gcra", "fixed", "yearly"]
LIMIT, MOST = 100, 20


@pytest.fixture(scope="module")
def api(shared_store: StoreServer, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    """Return a sidecar whose policies are lent from."""
    config = tmp_path_factory.mktemp("leases") / "sidecar.yaml"
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


def heat(api: Contract, policy: str, key: str) -> None:
    """Check a key seven times: four tokens of it are then borrowed, and not spent."""
    for _ in range(7):
        assert check(api, policy, key).allowed


def scripts_run(api: Contract) -> int:
    """Return how many scripts the store has run."""
    found = api.oracle.info("commandstats")
    return sum(found.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


@pytest.mark.parametrize("policy", LEASED)
def test_a_hot_key_costs_the_store_nothing(api: Contract, key: str, policy: str) -> None:
    """While what was borrowed lasts; each answer counts down, and says what it rests on."""
    heat(api, policy, key)
    before = scripts_run(api)
    answers = [check(api, policy, key) for _ in range(4)]
    assert before == scripts_run(api)
    assert [92, 91, 90, 89] == [answer.remaining for answer in answers]
    assert {(True, LIMIT, pb.ENFORCEMENT_LEASE)} == {
        (answer.allowed, answer.limit, answer.enforcement) for answer in answers
    }


@pytest.mark.parametrize(("policy", "bounded"), [("bucket", True), ("gcra", True), ("fixed", False)])
def test_how_much_more_may_get_through(api: Contract, key: str, policy: str, *, bounded: bool) -> None:
    """What each sidecar that is taken to be alive may hold; those of the tests before are, for a while."""
    heat(api, policy, key)
    over = check(api, policy, key).max_overshoot
    assert (bounded, 0) == (over > 0, over % MOST)


def test_a_policy_that_does_not_say_so_asks(api: Contract, key: str) -> None:
    """By default every Check is the store's."""
    heat(api, "asking", key)
    before = scripts_run(api)
    assert {pb.ENFORCEMENT_STORE} == {check(api, "asking", key).enforcement for _ in range(5)}
    assert before + 5 == scripts_run(api)


@pytest.mark.parametrize("policy", LEASED)
def test_the_whole_limit_is_given_and_no_more(api: Contract, key: str, policy: str) -> None:
    """By one sidecar, whether what it lets through is borrowed or not."""
    assert LIMIT == sum(check(api, policy, key).allowed for _ in range(LIMIT + 20))


@pytest.mark.parametrize("policy", LEASED)
def test_who_looks_asks_the_store(api: Contract, key: str, policy: str) -> None:
    """For which what is borrowed is taken."""
    heat(api, policy, key)
    peeked = api.limits.Peek(pb.PeekRequest(policy=policy, key=key))
    explained = api.limits.Explain(pb.ExplainRequest(policy=policy, key=key))
    assert (LIMIT - 7 - 4, pb.ENFORCEMENT_STORE) == (peeked.remaining, peeked.enforcement)
    # The costs are 1, 10 and 100.
    assert [True, True, False] == [outcome.allowed for outcome in explained.outcomes]


def test_checks_that_hang_together_ask_the_store(api: Contract, key: str) -> None:
    """Those for themselves spend what is there."""
    heat(api, "bucket", key)
    checks = [pb.CheckRequest(policy="bucket", key=key)] * 2
    apart = api.limits.CheckMany(pb.CheckManyRequest(checks=checks, mode=pb.CHECK_MODE_EACH))
    together = api.limits.CheckMany(pb.CheckManyRequest(checks=checks))
    assert [pb.ENFORCEMENT_LEASE] * 2 == [result.decision.enforcement for result in apart.results]
    assert [pb.ENFORCEMENT_STORE] * 2 == [result.decision.enforcement for result in together.results]


def test_a_batch_takes_effect_in_its_order(api: Contract, key: str) -> None:
    """Before a Reset what is borrowed is spent, and after it the store gives the whole limit."""
    heat(api, "bucket", key)
    request = pb.CheckRequest(policy="bucket", key=key)
    operations = [
        pipeline_pb2.Operation(check=request),
        pipeline_pb2.Operation(reset=pb.ResetRequest(policy="bucket", key=key)),
        pipeline_pb2.Operation(check=request),
    ]
    results = api.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=operations)).results
    assert [(92, pb.ENFORCEMENT_LEASE), (99, pb.ENFORCEMENT_STORE)] == [
        (results[place].check.remaining, results[place].check.enforcement) for place in (0, 2)
    ]


@pytest.mark.parametrize("policy", LEASED)
def test_a_reset_gives_the_whole_limit(api: Contract, key: str, policy: str) -> None:
    """What was borrowed is not given twice."""
    heat(api, policy, key)
    api.limits.Reset(pb.ResetRequest(policy=policy, key=key))
    assert LIMIT == sum(check(api, policy, key).allowed for _ in range(LIMIT + 20))


def test_an_override_holds_at_once(api: Contract, key: str) -> None:
    """Its key is not lent from."""
    heat(api, "gcra", key)
    numbers = pb.OverrideNumbers(limits=[pb.LimitNumbers(limit=10)])
    hour = duration_pb2.Duration(seconds=3600)
    override = pb.Override(policy="gcra", key=key, numbers=numbers, expires_after=hour)
    api.limits.SetOverride(pb.SetOverrideRequest(override=override))
    answers = [check(api, "gcra", key) for _ in range(5)]
    assert {(10, pb.ENFORCEMENT_STORE)} == {(answer.limit, answer.enforcement) for answer in answers}
    api.limits.DeleteOverride(pb.DeleteOverrideRequest(policy="gcra", key=key))


@pytest.mark.parametrize("policy", LEASED)
def test_what_is_wrong_with_a_call_stays_wrong(api: Contract, key: str, policy: str) -> None:
    """Also about a hot key."""
    heat(api, policy, key)
    assert "COST_ABOVE_LIMIT" == refusal(lambda: check(api, policy, key, LIMIT + 1)).reason
    assert "KEY_EMPTY" == refusal(lambda: check(api, policy, "")).reason


def test_policies_say_how_they_are_lent_from(api: Contract) -> None:
    """Those that are."""
    listed = {policy.name: policy for policy in api.limits.ListPolicies(pb.ListPoliciesRequest()).policies}
    lease = listed["bucket"].lease
    assert (0.2, MOST, 10) == (lease.max_fraction, lease.max_tokens, lease.ttl.seconds)
    assert not listed["asking"].HasField("lease")


def test_tokens_are_counted(api: Contract, key: str) -> None:
    """What was lent and spent, what is held, and how much more than the limit there may be."""

    def counted() -> list[float]:
        page = MetricsPage(api.sidecar.metrics_address or "")
        tokens = "sidecar_ratelimit_lease_tokens_total"
        return [
            page(tokens, policy="yearly", outcome="lent"),
            page(tokens, policy="yearly", outcome="spent"),
            page("sidecar_ratelimit_lease_size", policy="yearly"),
            page("sidecar_ratelimit_leases", policy="yearly"),
        ]

    before = counted()
    heat(api, "yearly", key)
    assert [7, 3, 4, 1] == [after - first for first, after in zip(before, counted(), strict=True)]
    page = MetricsPage(api.sidecar.metrics_address or "")
    over = [page("sidecar_ratelimit_lease_max_overshoot", policy=name) for name in ("bucket", "yearly")]
    assert [True, False] == [most > 0 for most in over]
