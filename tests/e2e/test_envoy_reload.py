"""Envoy's limits that change while the sidecar runs."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
from support.envoy import EnvoyClient, Told, descriptor
from support.metrics_page import MetricsPage
from support.programs import SidecarProgram, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WORKERS: dict[str, list[str]] = {"one process": [], "two workers": ["--workers", "2"]}
ASKED = (descriptor(("client", "ann"), hits=0), descriptor(("user", "ann"), hits=0))


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Return a folder of two files, with limits of five each."""
    folder = tmp_path / "rules"
    folder.mkdir()
    _write(folder, 5)
    return folder


@pytest.fixture(params=_WORKERS)
def program(request: pytest.FixtureRequest, rules: Path, tmp_path: Path) -> Iterator[SidecarProgram]:
    """Return a running sidecar with these."""
    arguments = [*_WORKERS[request.param], "--envoy-config", str(rules)]
    config = "envoy: {merge_domains: true}\n"
    with SidecarProgram(tmp_path / "sidecar", config=config, arguments=arguments) as made:
        yield made


def _write(folder: Path, requests: int, more: str = "") -> None:
    """Put other files in the place of both, one after the other."""
    for key in ("client", "user"):
        limit = f"{{unit: year, requests_per_unit: {requests}}}"
        new = folder / "new"
        new.write_text(f"domain: shop\ndescriptors:\n  - {{key: {key}, rate_limit: {limit}}}\n{more}")
        new.rename(folder / f"{key}.yaml")


@contextmanager
def _client(program: SidecarProgram) -> Iterator[EnvoyClient]:
    """Return a client over a connection of its own."""
    with grpc.insecure_channel(program.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield EnvoyClient(channel)


def _told(program: SidecarProgram) -> list[Told]:
    """Return what is told of both limits over some connections, so that each worker is asked."""
    told: list[Told] = []
    for _ in range(12):
        with _client(program) as envoy:
            told += envoy.ask("shop", *ASKED).told
    return told


def _limits(program: SidecarProgram) -> set[int]:
    return {told.limit[0] for told in _told(program) if told.limit is not None}


def _reloads(program: SidecarProgram, outcome: str) -> float:
    return MetricsPage(program.metrics_address)("sidecar_config_reloads_total", outcome=outcome)


def test_changed_files_are_taken_in(program: SidecarProgram, rules: Path) -> None:
    """By themselves, by every worker, and by those that are started later; what was counted stays counted."""
    with _client(program) as envoy:
        assert 2 == envoy.ask("shop", descriptor(("client", "ann")), hits=3).told[0].remaining
    _write(rules, 8)
    wait_until(lambda: _limits(program) == {8}, "the new limits are in force")
    assert {5, 8} == {told.remaining for told in _told(program)}
    for process_id in program.worker_ids[:1]:
        os.kill(process_id, signal.SIGKILL)
        wait_until(lambda: len(program.worker_ids) == 2, "another worker is there")
        wait_until(lambda: MetricsPage(program.metrics_address)("sidecar_workers", state="serving") == 2, "it serves")
        assert {8} == _limits(program)


def test_files_with_problems_are_refused_whole(program: SidecarProgram, rules: Path) -> None:
    """Each problem is logged with its place, what was in force stays, and the sidecar goes on looking."""
    _write(rules, 8, more="  - {value: v}\n  - {key: k, rate_limit: {unit: dya}}\n")
    program.signal(signal.SIGHUP)
    wait_until(lambda: _reloads(program, "refused") >= 1, "the files were refused")
    assert {5} == _limits(program)
    for name in ("client", "user"):
        for said in ("4: descriptors[1].key: is missing", "5: descriptors[2].rate_limit.unit: `dya` is none of "):
            assert f"{rules}/{name}.yaml:{said}" in program.errors
    _write(rules, 6)
    wait_until(lambda: _limits(program) == {6}, "the mended files are in force")


def test_a_signal_reloads_at_once(program: SidecarProgram, rules: Path) -> None:
    """SIGHUP, also where nothing has changed."""
    program.signal(signal.SIGHUP)
    wait_until(lambda: _reloads(program, "unchanged") == 1, "the signal was heard")
    _write(rules, 7)
    program.signal(signal.SIGHUP)
    wait_until(lambda: _limits(program) == {7}, "the new limits are in force", 10)
    assert 1 == _reloads(program, "applied")


def test_settings_change_too(program: SidecarProgram) -> None:
    """`envoy.shadow_mode` and the like, in every worker; what was counted stays counted."""
    with _client(program) as envoy:
        assert envoy.ask("shop", descriptor(("client", "ann")), hits=9).over
    config = "envoy: {merge_domains: true, shadow_mode: true, cache_refusals: true, response_headers: {kind: fields}}\n"
    new = program.folder / "new.yaml"
    new.write_text(config)
    new.rename(program.folder / "sidecar.yaml")

    def replies() -> set[tuple[bool, bool, int]]:
        found = set()
        for _ in range(12):
            with _client(program) as envoy:
                reply = envoy.ask("shop", *ASKED)
                found.add((reply.over, reply.told[0].over, len(reply.headers)))
        return found

    wait_until(lambda: replies() == {(False, True, 3)}, "the new settings are in force")
    page = MetricsPage(program.metrics_address)
    assert page("sidecar_envoy_calls_total", outcome="shadowed") >= 12


def test_a_call_sees_one_set_of_rules(program: SidecarProgram, rules: Path) -> None:
    """Under calls that go on, the rules change a dozen times: none fails, and none sees some old and some new."""
    stop = threading.Event()
    seen: set[frozenset[int]] = set()
    failures: list[grpc.RpcError] = []

    def call(envoy: EnvoyClient) -> None:
        while not stop.is_set():
            try:
                reply = envoy.ask("shop", *ASKED)
            except grpc.RpcError as error:
                failures.append(error)
                return
            seen.add(frozenset(told.limit[0] for told in reply.told if told.limit is not None))

    with ExitStack() as stack:
        threads = [threading.Thread(target=call, args=(stack.enter_context(_client(program)),)) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            for count in range(1, 13):
                both = "".join(
                    f"  - {{key: {key}, rate_limit: {{unit: year, requests_per_unit: {100 + count}}}}}\n"
                    for key in ("client", "user")
                )
                (rules / "new").write_text(f"domain: shop\ndescriptors:\n{both}")
                (rules / "user.yaml").unlink(missing_ok=True)
                (rules / "new").rename(rules / "client.yaml")
                program.signal(signal.SIGHUP)
                wait_until(lambda count=count: _reloads(program, "applied") >= count, "it is taken in")  # type: ignore[misc]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert [] == failures
    assert {1} == {len(limits) for limits in seen}
    assert len(seen) > 2
