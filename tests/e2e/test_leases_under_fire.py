"""F10 with leases: several sidecars and workers, one store, many callers, and an exact count of what got through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.hammered import allowed_by, hammered
from support.metrics_page import MetricsPage
from support.programs import SidecarProgram, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import StoreServer

pytestmark = pytest.mark.alone

LIMIT, MOST = 1_000, 50
PROCESSES, CALLERS, CALLS = 8, 20, 15
LEASE = "lease: {max_fraction: 0.05, ttl: 100ms}"
CONFIG = f"""
listen: ["{{address}}"]
rate_limits:
  bucket: {{algorithm: token_bucket, rate: 1/d, burst: {LIMIT}, {LEASE}}}
  gcra: {{algorithm: gcra, rate: 1/d, burst: {LIMIT}, {LEASE}}}
  fixed: {{algorithm: fixed_window, limit: {LIMIT}, window: 366d, {LEASE}}}
  yearly: {{algorithm: fixed_window, limit: {LIMIT}, calendar: year, time_zone: Asia/Tokyo, {LEASE}}}
"""
POLICIES = ["bucket", "gcra", "fixed", "yearly"]


def remaining(program: SidecarProgram, policy: str) -> int:
    """Return what the store has left of the one key."""
    with program.api() as api:
        return api.limits.Peek(pb.PeekRequest(policy=policy, key="key"), timeout=5).remaining


def tokens(program: SidecarProgram, outcome: str) -> float:
    """Return how many tokens of leases ended so, of all policies."""
    page = MetricsPage(program.metrics_address)
    return sum(page("sidecar_ratelimit_lease_tokens_total", policy=name, outcome=outcome) for name in POLICIES)


def held(program: SidecarProgram, policy: str) -> float:
    """Return what a sidecar of one process has borrowed and not spent."""
    return MetricsPage(program.metrics_address)("sidecar_ratelimit_lease_size", policy=policy)


def test_what_gets_through_and_what_is_left_are_the_limit(store: StoreServer, tmp_path: Path) -> None:
    """Over four sidecars, one of two workers: where nothing comes back meanwhile no call more than the limit passes.

    What was borrowed and not spent is there again a ttl later.
    """
    store.start()
    more = ["--redis", store.url]
    with (
        SidecarProgram(tmp_path / "one", config=CONFIG, arguments=more) as one,
        SidecarProgram(tmp_path / "two", config=CONFIG, arguments=[*more, "--workers", "2"]) as two,
        SidecarProgram(tmp_path / "three", config=CONFIG, arguments=more) as three,
        SidecarProgram(tmp_path / "four", config=CONFIG, arguments=more) as four,
    ):
        allowed = allowed_by(hammered(PROCESSES, CALLERS, CALLS, POLICIES, [one, two, three, four]))
        assert tokens(one, "spent") > 0
        for policy in POLICIES:
            wait_until(
                lambda name=policy: allowed[name] + remaining(one, name) == LIMIT,  # type: ignore[misc]  # a loop's own value
                f"what was held of {policy} has come back",
            )


def test_who_is_told_to_stop_gives_back(store: StoreServer, tmp_path: Path) -> None:
    """A sidecar that ends leaves nothing lent: also one whose leases would have lasted."""
    store.start()
    more = ["--redis", store.url]
    long = CONFIG.replace("ttl: 100ms", "ttl: 10s")
    with SidecarProgram(tmp_path / "stays", config=CONFIG, arguments=more) as stays:
        with (
            SidecarProgram(tmp_path / "stops", config=long, arguments=[*more, "--workers", "2"]) as stops,
            stops.api() as api,
        ):
            for name in POLICIES:
                for _ in range(25):
                    api.limits.Check(pb.CheckRequest(policy=name, key="key"), timeout=5)
            assert all(remaining(stays, name) < LIMIT - 25 for name in POLICIES)
        assert dict.fromkeys(POLICIES, LIMIT - 25) == {name: remaining(stays, name) for name in POLICIES}


def test_a_killed_sidecar_makes_no_call_more_pass(store: StoreServer, tmp_path: Path) -> None:
    """What it held is not used, which is what each process may hold of a key at the most."""
    store.start()
    more = ["--redis", store.url]
    with (
        SidecarProgram(tmp_path / "stays", config=CONFIG, arguments=more) as stays,
        SidecarProgram(tmp_path / "dies", config=CONFIG, arguments=more) as dies,
        stays.api() as safe,
        dies.api() as doomed,
    ):
        passed = 0
        for number in range(2 * LIMIT):
            api = doomed if number % 2 and number < LIMIT else safe
            passed += api.limits.Check(pb.CheckRequest(policy="gcra", key="key"), timeout=5).allowed
            if number == LIMIT:
                dies.kill()
        wait_until(lambda: held(stays, "gcra") == 0, "what the other holds has come back")
        for _ in range(2 * MOST):
            passed += safe.limits.Check(pb.CheckRequest(policy="gcra", key="key"), timeout=5).allowed
        assert LIMIT - MOST <= passed <= LIMIT


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_reload_gives_back(store: StoreServer, tmp_path: Path, workers: str) -> None:
    """And what follows is decided as the new policy says: here without leases."""
    store.start()
    folder = tmp_path / "sidecar"
    arguments = ["--redis", store.url, "--workers", workers]
    with (
        SidecarProgram(folder, config=CONFIG.replace("ttl: 100ms", "ttl: 10s"), arguments=arguments) as program,
        program.api() as api,
    ):
        for _ in range(25):
            api.limits.Check(pb.CheckRequest(policy="bucket", key="key"), timeout=5)
        assert remaining(program, "bucket") < LIMIT - 25
        config = folder / "sidecar.yaml"
        config.write_text(config.read_text().replace("lease: {max_fraction: 0.05, ttl: 10s}", "near_limit: 0.9"))
        wait_until(lambda: remaining(program, "bucket") == LIMIT - 25, "what was held has come back")
        answers = [api.limits.Check(pb.CheckRequest(policy="bucket", key="key"), timeout=5) for _ in range(5)]
        assert {pb.ENFORCEMENT_STORE} == {answer.enforcement for answer in answers}
