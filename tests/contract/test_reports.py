"""Candidates beside live rules, and reports of whom limits refuse, over two sidecars of one store."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import pytest
from sidecar_client.gen.sidecar.v1 import pipeline_pb2
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.contract import Contract, refusal
from support.servers import KINDS, StoreServer
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """
tenant: contract
telemetry: {traces: {sample_ratio: 0.0}}
rate_limits:
  plain: {algorithm: sliding_log, limit: 1, window: 1d}
  ways: {algorithm: sliding_log, limit: 1, window: 1d, denied_keys: [banned]}
  personal: {algorithm: sliding_log, limit: 1, window: 1d, personal: true}
  slots: {algorithm: concurrency, limit: 1, lease: 1m}
  reserved: {algorithm: sliding_log, limit: 1, window: 1d, reservations: {ttl: 1m}, denied_keys: [banned]}
  shadowed: {algorithm: sliding_log, limit: 1, window: 1d, shadow: true}
  stricter:
    algorithm: token_bucket
    rate: 1/d
    burst: 5
    candidate: {algorithm: sliding_log, limit: 3, window: 1d}
    tiers: {pro: {burst: 50}}
    unlimited_keys: [vip]
  looser:
    algorithm: sliding_log
    limit: 2
    window: 1d
    candidate:
      limits:
        steady: {algorithm: gcra, rate: 1/d, burst: 4}
        daily: {algorithm: fixed_window, limit: 3, window: 366d}
  tried:
    algorithm: sliding_log
    limit: 2
    window: 1d
    shadow: true
    personal: true
    candidate: {algorithm: token_bucket, rate: 1/d, burst: 1}
  odd:
    algorithm: sliding_log
    limit: 3
    window: 1d
    candidate: {algorithm: token_bucket, rate: 1/d, burst: 5}
"""
NOW_WITHIN_S = 60


@pytest.fixture(scope="module", params=KINDS)
def both(
    request: pytest.FixtureRequest, engine: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Contract, Contract]]:
    """Return two sidecars over one store."""
    folder = tmp_path_factory.mktemp("store")
    config = folder / "sidecar.yaml"
    config.write_text(CONFIG)
    server = StoreServer(request.param, folder)
    server.start()
    sidecars = [RunningSidecar(server.url, engine=engine, config=config) for _ in range(2)]
    for sidecar in sidecars:
        sidecar.start()
    with Contract(sidecars[0], server) as one, Contract(sidecars[1], server) as other:
        yield one, other
    for sidecar in sidecars:
        sidecar.stop()
    server.stop()


@pytest.fixture
def one(both: tuple[Contract, Contract]) -> Contract:
    """Return the first of the two."""
    return both[0]


@pytest.fixture
def name(one: Contract) -> str:
    """Return a key of this test's own."""
    return one.key()


def check(api: Contract, policy: str, key: str, times: int = 1, *, cost: int = 1, tier: str = "") -> list[bool]:
    """Check a key some times; return whether each was allowed."""
    request = pb.CheckRequest(policy=policy, key=key, cost=cost, tier=tier)
    return [api.limits.Check(request).allowed for _ in range(times)]


def report(api: Contract, policy: str) -> pb.ReportLimitsResponse:
    """Ask for a report."""
    return api.limits.ReportLimits(pb.ReportLimitsRequest(policy=policy))


def refused(api: Contract, policy: str) -> dict[str, int]:
    """Return how often each key was refused, as reported."""
    return {key.key: key.refused for key in report(api, policy).keys}


def compared(api: Contract, policy: str) -> tuple[int, int, int, int, int]:
    """Return how a candidate and the live rule decided, as reported."""
    candidate = report(api, policy).candidate
    return (
        candidate.both_allowed,
        candidate.both_refused,
        candidate.only_candidate_refused,
        candidate.only_live_refused,
        candidate.unanswered,
    )


def more(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
    """Return what has come since."""
    return tuple(now - then for then, now in zip(before, after, strict=True))


class TestRefusedKeys:
    """The keys that a policy refused most."""

    def test_refusals_of_all_are_added_up(self, both: tuple[Contract, Contract], name: str) -> None:
        """Those of each process, whichever is asked; what is allowed is not among them."""
        one, other = both
        check(one, "plain", name, 4)
        check(other, "plain", name, 2)
        report(one, "plain")  # it tells its own then, and not five seconds later
        assert (5, 5) == (refused(other, "plain")[name], refused(one, "plain")[name])

    def test_the_most_refused_come_first(self, one: Contract, name: str) -> None:
        """At most twenty."""
        for number in range(22):
            check(one, "plain", f"{name}:{number}", 7 + number)
        told = [key.key for key in report(one, "plain").keys]
        own = [key for key in told if key.startswith(name)]
        assert ([f"{name}:{number}" for number in range(21, -1, -1)][: len(own)], True) == (own, len(told) == 20)

    def test_the_report_says_what_it_is_of(self, both: tuple[Contract, Contract], name: str) -> None:
        """Of how many processes, how old, and since when."""
        for api in both:
            check(api, "plain", name, 2)
            answer = report(api, "plain")
        (policy,) = both[0].limits.ListPolicies(pb.ListPoliciesRequest(policy="plain")).policies
        seconds, _ = both[0].oracle.time()
        assert (2, policy.version, False, False) == (
            answer.processes, answer.version, answer.hashed, answer.HasField("candidate")
        )  # fmt: skip
        assert 0 <= answer.age.ToMilliseconds() < 15_000
        assert 0 <= seconds - answer.since.seconds < NOW_WITHIN_S
        assert answer.refused >= sum(key.refused - key.excess for key in answer.keys)

    def test_every_way_to_be_refused_counts(self, one: Contract, name: str) -> None:
        """Several at once, of which one each is refused, a pipeline, and a list."""
        asked = pb.CheckRequest(policy="ways", key=name)
        one.limits.CheckMany(pb.CheckManyRequest(checks=[asked, asked], mode=pb.CHECK_MODE_EACH))
        one.limits.CheckMany(pb.CheckManyRequest(checks=[asked]))
        one.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=[pipeline_pb2.Operation(check=asked)]))
        before = refused(one, "ways").get("banned", 0)
        check(one, "ways", "banned", 3)
        assert (3, 3) == (refused(one, "ways")[name], refused(one, "ways")["banned"] - before)

    def test_looks_are_not_counted(self, one: Contract, name: str) -> None:
        """Nobody was refused by a Peek."""
        check(one, "plain", name)
        one.limits.Peek(pb.PeekRequest(policy="plain", key=name))
        assert name not in refused(one, "plain")

    def test_shadow_mode_refuses_nobody(self, one: Contract, name: str) -> None:
        """So there is nobody to name."""
        check(one, "shadowed", name, 3)
        assert {} == refused(one, "shadowed")

    def test_a_refused_acquire_counts(self, one: Contract, name: str) -> None:
        """Slots have a report too."""
        for _ in range(3):
            one.limits.Acquire(pb.AcquireRequest(policy="slots", key=name))
        assert 2 == refused(one, "slots")[name]

    def test_a_refused_reserve_counts(self, one: Contract, name: str) -> None:
        """By what is held, as a Check would be, and by a list."""
        before = refused(one, "reserved").get("banned", 0)
        for key in (name, name, name, "banned"):
            one.limits.Reserve(pb.ReserveRequest(policy="reserved", key=key))
        now = refused(one, "reserved")
        assert (2, 1) == (now.get(name), now.get("banned", 0) - before)

    def test_personal_keys_are_hashed(self, one: Contract, name: str) -> None:
        """In the answer, and in what is stored for it."""
        check(one, "personal", name, 3)
        expected = hmac.digest(b"contract", name.encode(), hashlib.sha256).hex()[:16]
        answer = report(one, "personal")
        assert (True, {expected: 2}) == (
            answer.hashed, {key.key: key.refused for key in answer.keys if key.key == expected}
        )  # fmt: skip
        stored = [one.oracle.get(key) for key in one.oracle.scan_iter("sc:contract:r:{personal}:*")]
        assert (True, []) == (bool(stored), [text for text in stored if name.encode() in text])

    def test_reports_expire(self, one: Contract, name: str) -> None:
        """Nobody has to remove what a process leaves."""
        check(one, "plain", name, 2)
        report(one, "plain")
        lifetimes = [one.oracle.pttl(key) for key in one.oracle.scan_iter("sc:contract:r:*")]
        assert (True, []) == (bool(lifetimes), [left for left in lifetimes if not 0 < left <= 15_000])

    def test_an_unknown_policy_has_no_report(self, one: Contract) -> None:
        """As for every method; a report is of one policy."""
        assert ["POLICY_UNKNOWN"] * 2 == [
            refusal(lambda asked=asked: report(one, asked)).reason for asked in ("plan", "")  # type: ignore[misc]  # a loop's lambda
        ]  # fmt: skip

    def test_nothing_is_to_be_said_at_first(self, one: Contract) -> None:
        """A policy that has refused nobody says so."""
        answer = report(one, "looser")
        assert (0, []) == (answer.refused, list(answer.keys))


class TestCandidate:
    """A limit that is tried beside the live one."""

    def test_it_refuses_nobody(self, one: Contract, name: str) -> None:
        """Five are let through of five, where it would have let through three; the answer knows nothing of it."""
        answers = [one.limits.Check(pb.CheckRequest(policy="stricter", key=name)) for _ in range(6)]
        assert [(True, 5, 5 - used) for used in range(1, 6)] + [(False, 5, 0)] == [
            (answer.allowed, answer.limit, answer.remaining) for answer in answers
        ]

    def test_calls_are_compared(self, one: Contract, name: str) -> None:
        """Both allow three, the candidate alone refuses two, both refuse one."""
        before = compared(one, "stricter")
        check(one, "stricter", name, 6)
        assert (3, 1, 2, 0, 0) == more(before, compared(one, "stricter"))

    def test_several_limits_are_tried_together(self, one: Contract, name: str) -> None:
        """Both allow two, the live rule alone refuses one, both refuse one."""
        before = compared(one, "looser")
        check(one, "looser", name, 4)
        assert (2, 1, 0, 1, 0) == more(before, compared(one, "looser"))

    def test_a_cost_that_it_could_never_allow_is_refused_by_it(self, one: Contract, name: str) -> None:
        """Without a word to the caller."""
        before = compared(one, "stricter")
        assert [True] == check(one, "stricter", name, cost=4)
        assert (0, 0, 1, 0, 0) == more(before, compared(one, "stricter"))

    def test_whom_it_alone_would_have_refused_is_sampled(self, both: tuple[Contract, Contract], name: str) -> None:
        """By each process, in the order of their times."""
        for number, api in enumerate(both):
            check(api, "stricter", f"{name}:{number}", 4)
            answer = report(api, "stricter")
        sample = [(one.key, one.time.ToMicroseconds()) for one in answer.candidate.sample]
        seconds, _ = both[0].oracle.time()
        own = [key for key, _ in sample if key.startswith(name)]
        assert ([f"{name}:0", f"{name}:1"], 2) == (own, answer.candidate.processes)
        assert sorted(at_us for _, at_us in sample) == [at_us for _, at_us in sample]
        assert [] == [at_us for _, at_us in sample if not 0 <= seconds - at_us // 1_000_000 <= NOW_WITHIN_S]

    def test_shadow_mode_is_compared_by_what_it_would_refuse(self, one: Contract, name: str) -> None:
        """Both allow one, the candidate alone refuses the second, both the third; and personal keys are hashed."""
        before = compared(one, "tried")
        assert [True] * 3 == check(one, "tried", name, 3)
        assert (1, 1, 1, 0, 0) == more(before, compared(one, "tried"))
        expected = hmac.digest(b"contract", name.encode(), hashlib.sha256).hex()[:16]
        assert expected in [sampled.key for sampled in report(one, "tried").candidate.sample]

    @pytest.mark.parametrize(("key", "tier"), [("vip", ""), ("", "pro")])
    def test_it_is_tried_where_the_policys_own_numbers_decide(
        self, one: Contract, name: str, key: str, tier: str
    ) -> None:
        """Not for a list or a tier; nor for a Peek."""
        before = compared(one, "stricter")
        check(one, "stricter", key or name, 5, tier=tier)
        one.limits.Peek(pb.PeekRequest(policy="stricter", key=name))
        assert (0,) * 5 == more(before, compared(one, "stricter"))

    def test_a_pipeline_is_compared_too(self, one: Contract, name: str) -> None:
        """Each operation by itself."""
        before = compared(one, "stricter")
        operations = [pipeline_pb2.Operation(check=pb.CheckRequest(policy="stricter", key=name))] * 5
        answer = one.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=operations))
        assert [4, 3, 2, 1, 0] == [result.check.remaining for result in answer.results]
        assert (3, 0, 2, 0, 0) == more(before, compared(one, "stricter"))

    def test_its_failure_fails_nothing(self, one: Contract, name: str) -> None:
        """A foreign value under its key is its own affair; the call is counted as unanswered."""
        before = compared(one, "odd")
        one.oracle.set(f"sc:contract:lct:{{odd:{name}}}", "foreign")
        operations = [pipeline_pb2.Operation(check=pb.CheckRequest(policy="odd", key=name))]
        assert [True] * 2 == check(one, "odd", name, 2)
        (result,) = one.pipeline.Execute(pipeline_pb2.ExecuteRequest(operations=operations)).results
        assert (True, (0, 0, 0, 0, 3)) == (result.check.allowed, more(before, compared(one, "odd")))

    def test_a_reset_is_its_own_too(self, one: Contract, name: str) -> None:
        """Or it would refuse whom the live rule lets begin anew."""
        check(one, "stricter", name, 3)
        one.limits.Reset(pb.ResetRequest(policy="stricter", key=name))
        before = compared(one, "stricter")
        check(one, "stricter", name, 3)
        assert (3, 0, 0, 0, 0) == more(before, compared(one, "stricter"))

    def test_it_is_counted_in_metrics(self, one: Contract, name: str) -> None:
        """By policy and outcome, and by nothing that grows."""
        families: Any = one.sidecar._app._metrics.families
        cells = families["sidecar_ratelimit_candidate_checks"]
        before = cells.cell("stricter", "only_candidate_refused").value
        check(one, "stricter", name, 4)
        assert 1 == cells.cell("stricter", "only_candidate_refused").value - before

    def test_it_is_described(self, one: Contract) -> None:
        """As the policy's own limits are."""
        policies = {policy.name: policy for policy in one.limits.ListPolicies(pb.ListPoliciesRequest()).policies}
        told = {name: [limit.limit for limit in policies[name].candidate] for name in ("plain", "stricter", "looser")}
        assert {"plain": [], "stricter": [3], "looser": [4, 3]} == told
        assert [True, False] == [policies[name].personal for name in ("tried", "stricter")]
