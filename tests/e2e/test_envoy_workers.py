"""Envoy's limits with several workers: all have the same rules, whatever becomes of the files."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import grpc
from support.envoy import EnvoyClient, descriptor
from support.programs import SidecarProgram, run_sidecar, wait_until
from support.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path

RULES = """
domain: shop
descriptors:
  - key: client
    rate_limit: {unit: year, requests_per_unit: 5}
"""


def test_workers_keep_the_rules_that_they_began_with(tmp_path: Path) -> None:
    """A worker that replaces a dead one serves the rules that its siblings serve, even if the files are gone."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "shop.yaml").write_text(RULES)
    arguments = ["--workers", "2", "--envoy-config", str(rules)]
    with SidecarProgram(tmp_path / "sidecar", arguments=arguments) as program:
        (rules / "shop.yaml").write_text("domain: [")
        before = program.worker_ids
        for process in before:
            os.kill(process, signal.SIGKILL)
        wait_until(lambda: len(set(program.worker_ids) - set(before)) == 2, "both workers are replaced")
        passed = 0
        for _ in range(8):
            with grpc.insecure_channel(program.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                grpc.channel_ready_future(channel).result(10)
                passed += not EnvoyClient(channel).ask("shop", descriptor(("client", "ann"))).over
    assert 5 == passed


def test_exact_under_fire(tmp_path: Path) -> None:
    """Of a thousand calls from fifty callers at once, on two workers, exactly the limit is let through."""
    (tmp_path / "shop.yaml").write_text(RULES.replace("requests_per_unit: 5", "requests_per_unit: 137"))
    arguments = ["--workers", "2", "--envoy-config", str(tmp_path)]
    with SidecarProgram(tmp_path / "sidecar", arguments=arguments) as program, ExitStack() as stack:
        channels = [
            stack.enter_context(grpc.insecure_channel(program.address, [("grpc.use_local_subchannel_pool", 1)]))
            for _ in range(16)
        ]
        clients = [EnvoyClient(channel) for channel in channels]

        def call(number: int) -> bool:
            return clients[number % len(clients)].ask("shop", descriptor(("client", "ann"))).over

        with ThreadPoolExecutor(50) as pool:
            over = list(pool.map(call, range(1000)))
    assert 137 == over.count(False)


def test_wrong_rules_do_not_start(tmp_path: Path) -> None:
    """With workers too, rules that are wrong keep the sidecar from starting: code 2, and each problem a line."""
    (tmp_path / "shop.yaml").write_text("domain: shop\ndescriptors: [{value: v}]")
    ended = run_sidecar(
        "serve", "--workers", "2", "--listen", f"127.0.0.1:{free_port()}", "--envoy-config", str(tmp_path)
    )
    assert (2, f"{tmp_path}/shop.yaml:2: descriptors[0].key: is missing\n") == (ended.returncode, ended.stderr)


def test_summary_names_the_rules(tmp_path: Path) -> None:
    """Who starts the sidecar is told where Envoy's limits are from."""
    (tmp_path / "shop.yaml").write_text(RULES)
    with SidecarProgram(tmp_path / "sidecar", arguments=["--envoy-config", str(tmp_path)]) as program:
        assert f"  envoy    limits of {tmp_path}" in program.summary
