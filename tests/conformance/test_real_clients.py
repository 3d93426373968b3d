"""Real clients of five HTTP/2 stacks make the steps of the common plan, over TCP and a Unix socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from conformance import toolbox
from conformance.plan import STEPS, PlanService
from conformance.running import run, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

CLIENTS: dict[str, Callable[[], Sequence[str]]] = {
    "grpcio": toolbox.python_client,
    "grpc-go": toolbox.go_client,
    "grpc-js": toolbox.node_client,
    "grpc-java": toolbox.java_client,
    "tonic": toolbox.rust_client,
}
# All steps take about two seconds; a machine under load takes longer.
PLAN_SECONDS = 120


# A client is built in its test, once.
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("listener", ["tcp", "unix"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_every_step_goes_well(engine: str, client: str, listener: str, tmp_path: Path) -> None:
    """As the plan has it, and in its order."""
    command = CLIENTS[client]()
    address = "127.0.0.1:0" if listener == "tcp" else f"unix:{tmp_path}/s"
    async with serving(engine, PlanService().table(), address) as where:
        done = await run([*command, where], PLAN_SECONDS)
    steps = [line for line in done.output.splitlines() if line.startswith(("ok ", "FAIL "))]
    assert ([f"ok {step}" for step in STEPS], 0) == (steps, done.code), done.output
