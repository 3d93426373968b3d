"""`on_failure: local_share` over several sidecars and one store that goes and comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from support.metrics_page import MetricsPage
from support.programs import SidecarProgram, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.api import Api
    from support.servers import StoreServer

LIMIT, SIDECARS, SHARE = 14, 4, 3
CONFIG = f"""
listen: ["{{address}}"]
rate_limits:
  shared: {{algorithm: sliding_window, limit: {LIMIT}, window: 1d, on_failure: local_share}}
"""
MEMBERS = "sc:default:m:{sidecars}"


@pytest.fixture
def fleet(tmp_path: Path, store: StoreServer) -> Iterator[list[SidecarProgram]]:
    """Return sidecars that know of each other."""
    store.start()
    programs = [
        SidecarProgram(tmp_path / f"sidecar-{number}", config=CONFIG, arguments=["--redis", store.url])
        for number in range(SIDECARS)
    ]
    try:
        for program in programs:
            program.start()
        for program in programs:
            wait_until(lambda at=program: known_to(at) == SIDECARS, "each has heard of all")  # type: ignore[misc]  # a loop's own value
        yield programs
    finally:
        for program in programs:
            program.stop()


def known_to(program: SidecarProgram) -> float:
    """Return how many sidecars one knows of."""
    return MetricsPage(program.metrics_address)("sidecar_ratelimit_live_sidecars")


def check(api: Api, cost: int = 1) -> pb.CheckResponse:
    """Check the one key."""
    return api.limits.Check(pb.CheckRequest(policy="shared", key="k", cost=cost), timeout=30)


def test_the_fleet_keeps_the_limit_without_the_store(fleet: list[SidecarProgram], store: StoreServer) -> None:
    """Each of four gives a quarter of fourteen; together that is no more than the limit, and each says so.

    The store comes back without its data, and is told of the twelve that were let through.
    """
    apis = [program.api() for program in fleet]
    store.kill()
    for api in apis:
        wait_until(lambda at=api: not at.is_serving(), "the sidecar has noticed")  # type: ignore[misc]  # a loop's own value
    answers = [check(api) for api in apis for _ in range(LIMIT)]
    starts = range(0, len(answers), LIMIT)
    assert SIDECARS * [SHARE] == [sum(one.allowed for one in answers[start : start + LIMIT]) for start in starts]
    assert {(pb.ENFORCEMENT_LOCAL_SHARE, SIDECARS * SHARE)} == {
        (answer.enforcement, answer.max_overshoot) for answer in answers
    }
    store.start()
    wait_until(lambda: _remaining(apis[0]) == LIMIT - SIDECARS * SHARE, "the store has been told")


def test_only_who_shares_a_limit_says_that_it_is_alive(tmp_path: Path, store: StoreServer) -> None:
    """Each worker does, from the reload on that makes it necessary."""
    store.start()
    folder = tmp_path / "sidecar"
    more = ["--redis", store.url, "--workers", "2"]
    with SidecarProgram(folder, config=CONFIG.replace("local_share", "open"), arguments=more) as program:
        assert not check(program.api()).max_overshoot
        assert 0 == store.oracle().exists(MEMBERS)
        config = folder / "sidecar.yaml"
        config.write_text(config.read_text().replace("on_failure: open", "on_failure: local_share"))
        wait_until(lambda: store.oracle().zcard(MEMBERS) == 2, "both workers have been heard of")


def _remaining(api: Api) -> int | None:
    """Return what the store says is left of the one key; None while it says nothing."""
    answer = api.limits.Peek(pb.PeekRequest(policy="shared", key="k"), timeout=30)
    return answer.remaining if answer.enforcement == pb.ENFORCEMENT_STORE else None
