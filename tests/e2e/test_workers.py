"""Several workers behind one address: they share the work, and none takes the others down with it."""

from __future__ import annotations

import os
import signal
import socket
import stat
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2
from sidecar_client.gen.sidecar.v1 import cache_pb2
from support.metrics_page import MetricsPage, health_code
from support.programs import HOSPITAL, SidecarProgram, children_of, is_alive, run_sidecar, wait_until
from support.servers import free_port
from support.stopwatch import Stopwatch
from support.traffic import Traffic, connections_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import StoreServer

_TWO = ["--workers", "2"]
# Enough that both workers get some, whatever the kernel's hash: 2^-15 that one gets none.
_CONNECTIONS = 16
# What a call is told that came too late for a stopping server. grpcio cancels those that it had read but not begun.
_TOO_LATE = {
    "fast": {grpc.StatusCode.UNAVAILABLE},
    "grpcio": {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED},
}
_CONFIG = """
listen: [{address: "{address}", engine: ENGINE}]
caches: {counts: {format: raw, key_prefix: "count:", ttl: 1h}}
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[SidecarProgram]:
    """Return a sidecar of two workers with an embedded store, not started yet."""
    made = SidecarProgram(tmp_path / "sidecar", arguments=_TWO)
    yield made
    made.stop()


@pytest.fixture(params=_TOO_LATE)
def engine(request: pytest.FixtureRequest) -> str:
    """Return the name of each engine."""
    return str(request.param)


@pytest.fixture
def loaded(tmp_path: Path, store: StoreServer, engine: str) -> Iterator[SidecarProgram]:
    """Return a running sidecar of two workers with a cache of plain counters, over a store that outlives it."""
    store.start()
    config = _CONFIG.replace("ENGINE", engine)
    patient = {"SIDECAR_STORE__REPLY_TIMEOUT": "30s"}
    arguments = [*_TWO, "--redis", store.url]
    with SidecarProgram(tmp_path / "sidecar", config=config, arguments=arguments, environ=patient) as made:
        yield made


@pytest.fixture
def socket_program(tmp_path: Path) -> Iterator[SidecarProgram]:
    """Return a sidecar of two workers at a Unix socket, not started yet."""
    made = SidecarProgram(tmp_path / "sidecar", listen=f"unix:{tmp_path}/s", arguments=_TWO)
    yield made
    made.stop()


def _end_all(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        os.kill(process, number)
    wait_until(lambda: not any(map(is_alive, processes)), "all have ended")


def _path_of(program: SidecarProgram) -> Path:
    return Path(program.address.removeprefix("unix:"))


def _page(program: SidecarProgram) -> MetricsPage:
    return MetricsPage(program.metrics_address)


def _serving(program: SidecarProgram) -> float:
    return _page(program)("sidecar_workers", state="serving")


def _in_flight(program: SidecarProgram) -> float:
    page = _page(program)
    return sum(page("sidecar_calls_in_flight", worker=worker) for worker in "12")


def _gets(program: SidecarProgram, times: int = 1) -> None:
    """Call over connections of their own, so that the kernel spreads them."""
    for _ in range(times):
        with program.api() as api:
            api.cache.Get(cache_pb2.GetRequest(cache="default", key="k"), timeout=30)


def _refused(program: SidecarProgram) -> str:
    """Start a sidecar that must not come up; return its one line."""
    code = program.spawn().wait()
    assert (2, "", 1) == (code, program.output, len(program.errors.splitlines())), program.errors
    return program.errors.rstrip("\n")


class TestSharing:
    """Two workers at one port."""

    def test_both_get_calls(self, program: SidecarProgram) -> None:
        """Connections are spread over them; what is under way is shown for each."""
        program.start()
        with ExitStack() as held:
            for _ in range(_CONNECTIONS):
                stream = program.api().health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
                assert health_pb2.HealthCheckResponse.SERVING == next(stream).status
                held.callback(stream.cancel)
            shown = [_page(program)("sidecar_calls_in_flight", worker=worker) for worker in "12"]
        assert sum(shown) == _CONNECTIONS
        assert min(shown) > 0

    def test_the_summary_names_them(self, program: SidecarProgram) -> None:
        """One summary for all, with their processes; nothing else is printed."""
        program.start()
        ids = ", ".join(str(process_id) for process_id in program.worker_ids)
        assert f"  workers  2 (processes {ids})" in program.summary
        assert 1 == program.output.count("is ready")

    def test_they_share_one_embedded_store(self, program: SidecarProgram) -> None:
        """It is the supervisor's child, and the only one; what one worker wrote the other reads."""
        program.start()
        children = children_of(program.process_id)
        assert {program.store_process_id, *program.worker_ids} == set(children)
        assert [] == [child for worker in program.worker_ids for child in children_of(worker)]
        with program.api() as api:
            api.cache.Set(cache_pb2.SetRequest(cache="default", key="k", value=b"v"), timeout=30)
        for _ in range(_CONNECTIONS):
            with program.api() as api:
                answer = api.cache.Get(cache_pb2.GetRequest(cache="default", key="k"), timeout=30)
            assert b"v" == answer.value

    def test_they_share_one_development_key(self, tmp_path: Path) -> None:
        """It is made once, and warned of once."""
        with SidecarProgram(tmp_path, config=HOSPITAL, arguments=_TWO) as program:
            assert 1 == sum("development key" in line for line in program.summary)
            assert ["development.kek", "embedded"] == sorted(path.name for path in program.state.iterdir())

    def test_port_0_is_one_port(self, tmp_path: Path) -> None:
        """It is found once, named in the summary, and served by both."""
        with SidecarProgram(tmp_path, listen="127.0.0.1:0", arguments=_TWO) as program:
            (line,) = [line for line in program.summary if line.startswith("  serves")]
            address = line.split()[1]
            assert "127.0.0.1:0" != address
            assert 0 == run_sidecar("health", "--address", address).returncode
            assert [True, True] == [_listens(worker, address) for worker in program.worker_ids]

    def test_as_many_as_make_use_of_the_machine(self, tmp_path: Path) -> None:
        """`auto` starts, whatever the machine is."""
        with SidecarProgram(tmp_path, arguments=["--workers", "auto"]) as program:
            assert program.api().is_serving()

    def test_one_worker_is_one_process(self, tmp_path: Path) -> None:
        """Without workers there is no supervisor: the program itself takes the calls."""
        with SidecarProgram(tmp_path, arguments=["--workers", "1"]) as program:
            assert [program.store_process_id] == list(children_of(program.process_id))
            assert not any(line.startswith("  workers") for line in program.summary)


def _listens(process_id: int, address: str) -> bool:
    return bool(connections_of(process_id, int(address.rpartition(":")[2]), listening=True))


class TestUnixSocket:
    """Two workers at one Unix socket, which both inherit."""

    def test_both_get_calls(self, socket_program: SidecarProgram) -> None:
        """Whichever accepts first: with one of them stopped, the other takes what the first does not."""
        program = socket_program.start()
        for stopped in program.worker_ids:
            os.kill(stopped, signal.SIGSTOP)
            try:
                with program.api() as api:
                    assert api.is_serving()
            finally:
                os.kill(stopped, signal.SIGCONT)

    def test_owner_and_group_may_use_it(self, socket_program: SidecarProgram) -> None:
        """Nobody else may; the summary names it, and it is gone afterwards."""
        program = socket_program.start()
        assert f"  serves   {program.address}  (gRPC, health, reflection)" in program.summary
        assert 0o660 == stat.S_IMODE(_path_of(program).stat().st_mode)
        assert 0 == program.terminate()
        assert not _path_of(program).exists()

    def test_it_outlives_its_workers(self, socket_program: SidecarProgram) -> None:
        """One that ends, and one that is killed, leave it to those that follow."""
        program = socket_program.start()
        for number in (signal.SIGTERM, signal.SIGKILL):
            _end_all(program.worker_ids, number)
            with program.api() as api:
                wait_until(api.is_serving, "their successors serve")

    def test_a_stale_one_is_taken_over(self, socket_program: SidecarProgram) -> None:
        """A sidecar that was killed leaves its socket behind; the next one serves there."""
        program = socket_program.start()
        processes = [program.store_process_id, *program.worker_ids]
        program.kill()
        wait_until(lambda: not any(map(is_alive, processes)), "all have ended")
        assert _path_of(program).is_socket()
        assert program.start().api().is_serving()

    def test_a_live_one_is_refused(self, socket_program: SidecarProgram, tmp_path: Path) -> None:
        """Its server goes on."""
        program = socket_program.start()
        second = SidecarProgram(tmp_path / "second", listen=program.address, arguments=_TWO)
        assert _refused(second).startswith(f"cannot listen on {program.address}: another server answers there")
        assert program.api().is_serving()


class TestDeath:
    """A worker that dies."""

    def test_it_loses_nothing_but_its_own_calls(self, loaded: SidecarProgram, store: StoreServer) -> None:
        """Killed under load: callers on its connections lose what was under way, others nothing; it is replaced."""
        with Traffic(loaded, connections=_CONNECTIONS) as traffic:
            traffic.wait_for(10 * _CONNECTIONS)
            victim = loaded.worker_ids[0]
            owned = len(connections_of(victim, int(loaded.address.rpartition(":")[2])))
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: victim not in loaded.worker_ids, "the worker is gone")
            wait_until(lambda: 2 == len(loaded.worker_ids), "there are two workers again")
            wait_until(lambda: 2 == _serving(loaded), "both serve")
            traffic.wait_for(10 * _CONNECTIONS)
        # A client may write one more call into a connection before it sees that nobody is there.
        lost = [caller for caller in traffic.callers if caller.failures]
        assert {grpc.StatusCode.UNAVAILABLE} >= traffic.codes
        assert len(lost) <= owned < _CONNECTIONS
        counted = int(store.oracle().get("count:k") or 0)
        assert traffic.answered <= counted <= traffic.answered + len(lost)
        assert " was killed by SIGKILL; starting it again in " in loaded.errors

    def test_totals_do_not_fall(self, loaded: SidecarProgram) -> None:
        """What it had told stays on the page, and its successor's counts are added."""
        with Traffic(loaded, connections=4) as traffic:
            traffic.wait_for(100)
        method = {"method": "sidecar.v1.CacheService/Increment", "code": "OK"}
        before = _page(loaded)("sidecar_calls_total", **method)
        assert traffic.answered == before
        for victim in loaded.worker_ids:
            os.kill(victim, signal.SIGKILL)
        wait_until(lambda: 2 == _serving(loaded), "both serve again")
        assert before == _page(loaded)("sidecar_calls_total", **method)
        with Traffic(loaded, connections=4) as more:
            more.wait_for(100)
        page = _page(loaded)
        assert before + more.answered == page("sidecar_calls_total", **method)
        assert before + more.answered == page("sidecar_call_duration_seconds_count", method=method["method"])
        assert [1, 1] == [page("sidecar_worker_restarts_total", worker=worker) for worker in "12"]

    def test_it_may_be_told_to_end(self, loaded: SidecarProgram, store: StoreServer, engine: str) -> None:
        """SIGTERM to one worker drains it, and it is replaced; every call that did anything is answered."""
        with Traffic(loaded, connections=_CONNECTIONS) as traffic:
            traffic.wait_for(10 * _CONNECTIONS)
            victim = loaded.worker_ids[0]
            os.kill(victim, signal.SIGTERM)
            wait_until(lambda: not is_alive(victim), "it has ended")
            wait_until(lambda: 2 == _serving(loaded), "both serve")
            traffic.wait_for(10 * _CONNECTIONS)
        assert traffic.answered == int(store.oracle().get("count:k") or 0)
        assert _TOO_LATE[engine] >= traffic.codes
        assert "ended with code 0; starting it again" in loaded.errors

    def test_workers_that_keep_dying_are_given_up(self, program: SidecarProgram) -> None:
        """Each is killed as soon as it is there: the sidecar ends, and its store too; the last line says why."""
        program.start()
        store = program.store_process_id

        def is_over() -> bool:
            for worker in program.worker_ids:
                os.kill(worker, signal.SIGKILL)
            return not is_alive(program.process_id)

        wait_until(is_over, "the sidecar has given up", 60)
        assert 2 == program.wait()
        last = program.errors.splitlines()[-1]
        assert last.startswith("giving up: worker ")
        assert last.endswith(" died 5 times in a row soon after its start; the last one was killed by SIGKILL")
        assert "Traceback" not in program.errors
        assert not is_alive(store)

    def test_workers_that_die_at_the_start_are_given_up(self, tmp_path: Path) -> None:
        """What ends each worker before it can say why ends the sidecar, after a few attempts."""
        (tmp_path / "sitecustomize.py").write_text(
            "import os, sys\nif 'sidecar.plain_worker' in sys.orig_argv:\n    os._exit(7)\n"
        )
        program = SidecarProgram(tmp_path / "dying", arguments=_TWO, environ={"PYTHONPATH": str(tmp_path)})
        assert (2, "") == (program.spawn().wait(), program.output)
        last = program.errors.splitlines()[-1]
        assert last.endswith(" died 5 times in a row soon after its start; the last one ended with code 7")


class TestStart:
    """Starting, or saying in one line why not."""

    def test_a_port_in_use(self, tmp_path: Path) -> None:
        """It is found before anything is started."""
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            program = SidecarProgram(tmp_path, listen=address, arguments=_TWO)
            assert _refused(program).startswith(f"cannot listen on {address}: the port is in use; ")
        assert not program.state.exists()

    def test_a_port_of_another_sidecars_workers(self, program: SidecarProgram, tmp_path: Path) -> None:
        """Both would share it with anybody, and calls would go to either; the second one is refused."""
        program.start()
        second = SidecarProgram(tmp_path / "second", listen=program.address, arguments=_TWO)
        assert _refused(second).startswith(f"cannot listen on {program.address}: the port is in use; ")
        assert program.api().is_serving()

    def test_a_metrics_port_in_use(self, tmp_path: Path) -> None:
        """It is the supervisor's; no worker is started."""
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            program = SidecarProgram(tmp_path, arguments=_TWO, environ={"SIDECAR_TELEMETRY__METRICS__ADDRESS": address})
            assert _refused(program).startswith(f"cannot serve metrics on {address}: Address already in use; ")

    def test_what_a_worker_cannot_do_is_one_line(self, tmp_path: Path) -> None:
        """A key that is missing is found by both workers, and said once."""
        key = tmp_path / "kek"
        program = SidecarProgram(
            tmp_path, config=HOSPITAL, arguments=_TWO, environ={"SIDECAR_ENCRYPTION__KEYS": f"[{{file: {key}}}]"}
        )
        assert f"the key-encryption key file {key} does not exist" == _refused_but_for_the_log(program)

    @pytest.mark.parametrize("number", ["0", "65", "two", "1.5", ""])
    def test_a_number_that_is_none(self, tmp_path: Path, number: str) -> None:
        """The flag is named."""
        assert _refused(SidecarProgram(tmp_path, arguments=["--workers", number])).startswith("--workers: workers: ")

    def test_a_signal_during_the_start(self, program: SidecarProgram) -> None:
        """It ends what has been started, with code 0."""
        program.spawn()
        wait_until((program.state / "embedded" / "lock").exists, "the sidecar has begun to start its store")
        program.signal(signal.SIGTERM)
        assert 0 == program.wait()
        assert "Traceback" not in program.errors

    def test_without_a_store_it_starts_and_is_not_serving(self, tmp_path: Path) -> None:
        """As one process does; `/healthz` says so."""
        with SidecarProgram(tmp_path, arguments=[*_TWO, "--redis", f"redis://127.0.0.1:{free_port()}"]) as program:
            assert not program.api().is_serving()
            assert 503 == health_code(program.metrics_address)


def _refused_but_for_the_log(program: SidecarProgram) -> str:
    """As `_refused`, where the workers may have had something to log before."""
    code = program.spawn().wait()
    lines = [line for line in program.errors.splitlines() if " sidecar.store: " not in line]
    assert (2, "", 1) == (code, program.output, len(lines)), program.errors
    return lines[0]


class TestEnd:
    """Stopping all of them."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_no_accepted_call_is_lost(
        self, loaded: SidecarProgram, store: StoreServer, engine: str, number: signal.Signals
    ) -> None:
        """F17: under load, every call that did anything is answered, the others are UNAVAILABLE, and the code is 0."""
        with Traffic(loaded, connections=_CONNECTIONS, until_failure=True) as traffic:
            traffic.wait_for(20 * _CONNECTIONS)
            loaded.signal(number)
            code = loaded.wait()
        assert 0 == code
        assert _TOO_LATE[engine] >= traffic.codes
        assert traffic.answered == int(store.oracle().get("count:k") or 0)
        assert "Traceback" not in loaded.errors

    def test_not_serving_comes_first(self, program: SidecarProgram) -> None:
        """Watchers of both workers are told before the connection goes, and nobody is left waiting."""
        program.start()
        streams = [program.api().health.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(_CONNECTIONS)]
        assert {health_pb2.HealthCheckResponse.SERVING} == {next(stream).status for stream in streams}
        program.signal(signal.SIGTERM)
        assert {health_pb2.HealthCheckResponse.NOT_SERVING} == {next(stream).status for stream in streams}
        assert 0 == program.wait()
        assert program.output.endswith("sidecar: stopping\n")

    def test_a_worker_that_hangs_is_killed(self, tmp_path: Path) -> None:
        """A stopped process cannot end itself: it gets the grace and a moment; the code is that of no clean end."""
        with SidecarProgram(tmp_path, arguments=_TWO, environ={"SIDECAR_SHUTDOWN_GRACE": "0"}) as program:
            stuck = program.worker_ids[0]
            os.kill(stuck, signal.SIGSTOP)
            assert 2 == program.terminate()
            assert program.errors.endswith(" had not ended 5 s after it was told to, and was killed\n")
            assert not is_alive(stuck)

    def test_a_worker_that_dies_meanwhile_is_told_of(self, loaded: SidecarProgram, store: StoreServer) -> None:
        """Its calls under way are lost, so it was no clean end."""
        with loaded.api() as api:
            store.pause()
            request = cache_pb2.IncrementRequest(cache="counts", key="k")
            under_way = [api.cache.Increment.future(request, timeout=30)]
            wait_until(lambda: 1 == _in_flight(loaded), "a worker has it")
            loaded.signal(signal.SIGTERM)
            wait_until(lambda: "stopping" in loaded.output, "the sidecar is stopping")
            for worker in loaded.worker_ids:
                with suppress(ProcessLookupError):  # the one without a call, which ends well
                    os.kill(worker, signal.SIGKILL)
            assert 2 == loaded.wait()
            assert [grpc.StatusCode.UNAVAILABLE] == [call.code() for call in under_way]
        assert "not all calls under way were finished: worker " in loaded.errors.splitlines()[-1]

    def test_nothing_outlives_a_killed_supervisor(self, program: SidecarProgram) -> None:
        """Workers and store end by themselves, and a new sidecar takes their place at once."""
        program.start()
        processes = [program.store_process_id, *program.worker_ids]
        program.kill()
        wait_until(lambda: not any(map(is_alive, processes)), "all have ended")
        assert 2 == program.errors.count("the supervisor is gone; stopping")
        assert "Traceback" not in program.errors
        program.start()
        assert program.api().is_serving()


class TestPages:
    """What the supervisor tells about all of them."""

    def test_calls_are_summed(self, program: SidecarProgram) -> None:
        """Whoever served them."""
        program.start()
        _gets(program, _CONNECTIONS)
        page = _page(program)
        method = "sidecar.v1.CacheService/Get"
        assert _CONNECTIONS == page("sidecar_calls_total", method=method, code="OK")
        assert _CONNECTIONS == page("sidecar_call_duration_seconds_bucket", method=method, le="+Inf")
        assert _CONNECTIONS == page("sidecar_cache_reads_total", cache="default", outcome="miss")

    def test_processes_carry_the_workers_number(self, program: SidecarProgram) -> None:
        """Memory and CPU are shown for each process, garbage collections for all."""
        program.start()
        page = _page(program)
        for name in ("process_resident_memory_bytes", "process_cpu_seconds_total"):
            assert {"1", "2", "supervisor"} == page.labels_of(name, "worker")
        assert page("python_gc_collections_total", generation="0") > 0

    def test_the_log_carries_the_workers_number(self, program: SidecarProgram) -> None:
        """Each line of a worker names it."""
        program.start()
        connected = [line for line in program.errors.splitlines() if "connected to" in line]
        assert [f"sidecar.store: worker {worker}: connected" in "".join(connected) for worker in (1, 2)] == [True, True]

    def test_a_worker_that_hangs_does_not_block_them(self, program: SidecarProgram) -> None:
        """The page comes in time, with what it last told; `/healthz` says 503 until it answers again."""
        program.start()
        _gets(program, _CONNECTIONS)
        before = _page(program)("sidecar_cache_reads_total", cache="default", outcome="miss")
        stuck = program.worker_ids[0]
        os.kill(stuck, signal.SIGSTOP)
        try:
            watch = Stopwatch(program.process_id)
            page = _page(program)
            assert watch.seconds < 3
            assert before == page("sidecar_cache_reads_total", cache="default", outcome="miss")
            assert (2, 1) == (page("sidecar_workers", state="ready"), page("sidecar_workers", state="serving"))
            assert 503 == health_code(program.metrics_address)
        finally:
            os.kill(stuck, signal.SIGCONT)
        wait_until(lambda: 2 == _serving(program), "it answers again")
        assert 200 == health_code(program.metrics_address)

    def test_health_by_any_means(self, program: SidecarProgram) -> None:
        """`sidecar health`, the health service and `/healthz` agree."""
        program.start()
        assert 0 == run_sidecar("health", "--address", program.address).returncode
        assert 200 == health_code(program.metrics_address)

    def test_health_follows_the_store(self, loaded: SidecarProgram, store: StoreServer) -> None:
        """A store that hangs is seen by all workers, and by the supervisor through them."""
        store.pause()
        wait_until(lambda: 503 == health_code(loaded.metrics_address), "it says so")
        store.resume()
        wait_until(lambda: 200 == health_code(loaded.metrics_address), "it is well again")


def test_health_page_of_one_process(tmp_path: Path) -> None:
    """It is there without workers too."""
    with SidecarProgram(tmp_path) as program:
        assert 200 == health_code(program.metrics_address)
