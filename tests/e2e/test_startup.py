"""Starting, and starting again: what an operator sees and what is still there."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, rate_limit_pb2
from support.programs import HOSPITAL, SidecarProgram, is_alive, run_sidecar, wait_until
from support.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def program(tmp_path: Path) -> Iterator[SidecarProgram]:
    """Return a sidecar without any configuration, not started yet."""
    made = SidecarProgram(tmp_path / "sidecar")
    yield made
    made.stop()


def _set(program: SidecarProgram, key: str, value: bytes) -> None:
    request = cache_pb2.SetRequest(cache="default", key=key, value=value)
    assert common_pb2.WRITE_OUTCOME_APPLIED == program.api().cache.Set(request, timeout=30).outcome


def _get(program: SidecarProgram, key: str) -> bytes:
    return bytes(program.api().cache.Get(cache_pb2.GetRequest(cache="default", key=key), timeout=30).value)


def test_serves_without_any_configuration(program: SidecarProgram) -> None:
    """With no configuration there is a cache and a rate limit, both named default."""
    program.start()
    _set(program, "k", b"v")
    checked = program.api().limits.Check(rate_limit_pb2.CheckRequest(policy="default", key="k"), timeout=30)
    assert (b"v", True, 200) == (_get(program, "k"), checked.allowed, checked.limit)


def test_is_ready_within_five_seconds(program: SidecarProgram) -> None:
    """From nothing to ready, with an embedded store to be made, takes no more than 5 s."""
    watch = Stopwatch(program.spawn().process_id)
    program.wait_ready()
    assert watch.seconds <= 5


def test_keeps_its_store_in_the_state_directory(program: SidecarProgram) -> None:
    """The embedded store's data lie under SIDECAR_STATE_DIR, which is for the owner alone."""
    program.start()
    assert list((program.state / "embedded" / "appendonlydir").iterdir())
    assert 0o700 == stat.S_IMODE((program.state / "embedded").stat().st_mode)


def test_summary_says_what_is_served_and_where(shared_sidecar: SidecarProgram) -> None:
    """The summary names address, store, caches, limits and metrics, a line each."""
    summary = shared_sidecar.summary
    state = shared_sidecar.state / "embedded"
    caches = "default (5m), balances (30s), wards (1m), patients (phi, 10m), sessions (phi, 15m), shared (raw, 1h)"
    assert summary[0].startswith("sidecar ")
    assert " is ready after " in summary[0]
    assert [
        f"  serves   {shared_sidecar.address}  (gRPC, health, reflection)",
        f"  store    embedded Valkey (process {shared_sidecar.store_process_id}) in {state}",
        f"  caches   {caches}",
        "  limits   auth, api, reports, exports, bench_bucket, bench_window",
        f"  metrics  http://{shared_sidecar.metrics_address}/metrics",
        "  not safe for production:",
    ] == summary[1:7]


def test_summary_warns_of_the_development_key_and_the_embedded_store(shared_sidecar: SidecarProgram) -> None:
    """What start-up made up for want of settings is named, each with the setting that ends it."""
    key = shared_sidecar.state / "development.kek"
    assert [
        f"    - PHI is sealed with a development key in {key}; set encryption.keys",
        "    - the store is embedded: one server, on this machine alone; set store.url",
    ] == shared_sidecar.summary[7:]


def test_summary_warns_of_an_address_that_others_reach(tmp_path: Path) -> None:
    """Listening on all of the machine's addresses is called unsafe."""
    with SidecarProgram(tmp_path, listen="0.0.0.0:0") as program:
        warnings = [line for line in program.summary if "takes calls from other machines" in line]
    assert 1 == len(warnings)


def test_summary_warns_of_a_bare_store_and_hides_its_password(tmp_path: Path) -> None:
    """An unencrypted connection is called unsafe; a password in the URL is shown nowhere."""
    url = "redis://user:pass-canary@127.0.0.1:1/0"
    with SidecarProgram(tmp_path, arguments=["--redis", url]) as program:
        wait_until(lambda: "cannot connect" in program.errors, "the sidecar says that it cannot connect")
        said = program.output + program.errors
    assert "redis://127.0.0.1:1\n" in said
    assert "    - the connection to the store is not encrypted; use rediss://\n" in said
    assert "pass-canary" not in said


def test_development_key_is_for_its_owner_alone(shared_sidecar: SidecarProgram) -> None:
    """The generated key-encryption key has mode 0600."""
    assert 0o600 == stat.S_IMODE((shared_sidecar.state / "development.kek").stat().st_mode)


def test_data_survive_a_restart(program: SidecarProgram) -> None:
    """What was written is there after SIGTERM and a new start."""
    program.start()
    _set(program, "k", b"kept")
    assert 0 == program.terminate()
    program.start()
    assert b"kept" == _get(program, "k")


def test_sealed_data_survive_a_restart(tmp_path: Path) -> None:
    """The development key is made once: what it sealed is readable after a new start."""
    program = SidecarProgram(tmp_path, config=HOSPITAL).start()
    try:
        program.api().cache.Set(cache_pb2.SetRequest(cache="patients", key="k", value=b"kept"), timeout=30)
        assert 0 == program.terminate()
        program.start()
        assert b"kept" == program.api().cache.Get(cache_pb2.GetRequest(cache="patients", key="k"), timeout=30).value
    finally:
        program.stop()


def test_store_ends_with_a_sidecar_that_is_killed(program: SidecarProgram) -> None:
    """A kill -9 of the sidecar leaves no Valkey behind, and loses nothing written a second before."""
    program.start()
    store = program.store_process_id
    _set(program, "k", b"kept")
    time.sleep(1.1)  # the promise is about what is older than the second between two fsyncs
    program.kill()
    wait_until(lambda: not is_alive(store), "the embedded Valkey is gone")
    program.start()
    assert b"kept" == _get(program, "k")


def test_starts_at_once_after_a_kill(program: SidecarProgram) -> None:
    """A new sidecar waits for the killed one's Valkey instead of refusing the directory."""
    program.start()
    _set(program, "k", b"kept")
    program.kill()
    program.start()
    assert b"kept" == _get(program, "k")


def test_killed_store_is_started_again(program: SidecarProgram) -> None:
    """When Valkey alone is killed, the sidecar starts it again over the same data."""
    program.start()
    _set(program, "k", b"kept")
    os.kill(program.store_process_id, signal.SIGKILL)
    health = program.api()
    wait_until(lambda: not health.is_serving(), "the sidecar has noticed")
    wait_until(health.is_serving, "the sidecar serves again")
    assert b"kept" == _get(program, "k")


def test_second_sidecar_on_the_same_directory_is_refused(program: SidecarProgram, tmp_path: Path) -> None:
    """Two sidecars do not share an embedded store: the second says whose it is and exits with 2."""
    program.start()
    second = SidecarProgram(tmp_path / "second", state=program.state).spawn()
    assert 2 == second.wait()
    assert 1 == len(second.errors.splitlines())
    assert f"belongs to another sidecar (process {program.process_id})" in second.errors


def test_long_state_directory(tmp_path: Path) -> None:
    """A state directory too long for a Unix socket's path works; the socket is kept elsewhere, and data stay."""
    state = tmp_path / ("long-" * 20) / ("name-" * 20)
    program = SidecarProgram(tmp_path / "sidecar", state=state)
    try:
        program.start()
        _set(program, "k", b"kept")
        assert 0 == program.terminate()
        program.start()
        assert b"kept" == _get(program, "k")
    finally:
        program.stop()


def test_folder_of_a_socket_that_belongs_to_others_is_refused(tmp_path: Path) -> None:
    """The folder that stands in for a long state directory must be the owner's alone, or others could replace it."""
    state = tmp_path / ("long-" * 20) / ("name-" * 20)
    with tempfile.TemporaryDirectory() as temporary:
        program = SidecarProgram(tmp_path / "sidecar", state=state, environ={"TMPDIR": temporary})
        try:
            program.start()
            assert 0 == program.terminate()
            (made,) = Path(temporary).glob("sidecar-*")
            made.chmod(0o777)
            assert 2 == program.spawn().wait()
            assert f"{made} must be a folder that only this user can use; remove it, or set TMPDIR\n" == program.errors
        finally:
            program.stop()


def test_no_path_is_short_enough_for_a_socket(tmp_path: Path) -> None:
    """When the folder for temporary files is too long as well, one line says what to set."""
    long = tmp_path / ("long-" * 20) / ("name-" * 20)
    long.mkdir(parents=True)
    program = SidecarProgram(tmp_path / "sidecar", state=long, environ={"TMPDIR": str(long)}).spawn()
    assert 2 == program.wait()
    assert 1 == len(program.errors.splitlines())
    assert "set SIDECAR_STATE_DIR or TMPDIR to a shorter one" in program.errors


def test_relative_state_directory(tmp_path: Path) -> None:
    """A relative state directory starts at the working directory."""
    with SidecarProgram(tmp_path, state=Path("here")) as program:
        _set(program, "k", b"v")
        assert b"v" == _get(program, "k")
    assert (tmp_path / "here" / "embedded").is_dir()


def test_state_directory_with_odd_characters(tmp_path: Path) -> None:
    """Blanks and quotes in the state directory's name do no harm."""
    with SidecarProgram(tmp_path / "sidecar", state=tmp_path / 'it\'s "odd" \\ here') as program:
        _set(program, "k", b"v")
        assert b"v" == _get(program, "k")


def test_unix_socket_is_for_owner_and_group(tmp_path: Path) -> None:
    """A Unix socket serves, and lets in nobody but the owner and the group."""
    path = tmp_path / "s.sock"
    with SidecarProgram(tmp_path / "sidecar", listen=f"unix:{path}") as program:
        assert 0o660 == stat.S_IMODE(path.stat().st_mode)
        assert 0 == run_sidecar("health", "--address", program.address).returncode


def test_two_listeners(tmp_path: Path) -> None:
    """--listen may be given several times."""
    path = tmp_path / "s.sock"
    with SidecarProgram(tmp_path / "sidecar", arguments=["--listen", f"unix:{path}"]) as program:
        addresses = [program.address, f"unix:{path}"]
        assert [0, 0] == [run_sidecar("health", "--address", address).returncode for address in addresses]


def test_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    """The socket that a killed sidecar left behind does not keep the next one from starting."""
    program = SidecarProgram(tmp_path / "sidecar", listen=f"unix:{tmp_path / 's.sock'}")
    try:
        program.start().kill()
        program.start()
        assert program.api().is_serving()
    finally:
        program.stop()
