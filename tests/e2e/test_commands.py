"""The commands besides `serve`."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.programs import HOSPITAL, PROGRAM, SidecarProgram, environment, run_sidecar
from support.servers import free_port

import sidecar

if TYPE_CHECKING:
    from pathlib import Path


def test_check_config_of_a_good_file() -> None:
    """A configuration without problems is said to have none, with code 0."""
    ended = run_sidecar("check-config", str(HOSPITAL))
    assert (0, f"{HOSPITAL}: no problems found\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_check_config_prints_every_problem(tmp_path: Path) -> None:
    """Each problem of a bad file is a line on standard error, with its place; the code is 2."""
    path = tmp_path / "bad.yaml"
    path.write_text("tenant: UPPER\nshutdown_grace: 1w\ncaches:\n  a: {ttl: 2m, max_ttl: 1m}\n  b: {formt: raw}\n")
    ended = run_sidecar("check-config", str(path))
    assert (2, "") == (ended.returncode, ended.stdout)
    assert [f"{path}:{line}:" for line in (1, 2, 4, 5)] == [line.split(" ")[0] for line in ended.stderr.splitlines()]


def test_check_config_reports_variables_too(tmp_path: Path) -> None:
    """A variable that is wrong is a problem of the same check: it would keep the sidecar from starting."""
    path = tmp_path / "good.yaml"
    path.write_text("")
    ended = run_sidecar("check-config", str(path), environ=environment(SIDECAR_TENANT="UPPER"))
    assert 2 == ended.returncode
    assert ended.stderr.startswith("SIDECAR_TENANT: ")


def test_check_config_of_envoys_files(tmp_path: Path) -> None:
    """Files of Envoy's limits are checked by themselves, with what has no effect told."""
    (tmp_path / "a.yaml").write_text("domain: d\ndescriptors: [{key: k, unit: day}]\n")
    ended = run_sidecar("check-config", "--envoy-config", str(tmp_path))
    said = f"{tmp_path}/a.yaml:2: descriptors[0]: `unit` means nothing here (without effect)\n"
    assert (0, f"{said}{tmp_path}: no problems found\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_check_config_of_everything(tmp_path: Path) -> None:
    """Limits that cannot be counted, of the file and of Envoy's files, are told together, each with its place."""
    config = tmp_path / "sidecar.conf"
    config.write_text("rate_limits: {odd: {algorithm: token_bucket, rate: 999999937/d, burst: 1}}\n")
    limit = "{unit: year, requests_per_unit: 4294967291, algorithm: token_bucket, burst: 4294967291}"
    (tmp_path / "a.yaml").write_text(f"domain: d\ndescriptors:\n  - key: k\n    rate_limit: {limit}\n")
    ended = run_sidecar("check-config", str(config), "--envoy-config", str(tmp_path))
    assert (2, "") == (ended.returncode, ended.stdout)
    assert ["rate_limits.odd", f"{tmp_path}/a.yaml:4"] == [
        line.partition(": ")[0] for line in ended.stderr.splitlines()
    ]


def test_check_config_of_nothing() -> None:
    """A check of nothing is told what it may check."""
    ended = run_sidecar("check-config")
    assert 2 == ended.returncode
    assert "FILE, --envoy-config DIR" in ended.stderr


@pytest.mark.parametrize("command", [[str(PROGRAM)], [sys.executable, "-m", "sidecar"]], ids=["sidecar", "python -m"])
def test_version(command: list[str]) -> None:
    """The version is printed, by the program and by the module."""
    ended = subprocess.run([*command, "version"], capture_output=True, text=True, timeout=30, check=False)
    assert (0, f"sidecar {sidecar.__version__}\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_health_of_a_sidecar_that_serves(sidecar_address: str) -> None:
    """Serving is code 0."""
    ended = run_sidecar("health", "--address", sidecar_address)
    assert (0, f"{sidecar_address}: SERVING\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_health_of_one_service(sidecar_address: str) -> None:
    """A service may be asked about by its full name."""
    ended = run_sidecar("health", "--address", sidecar_address, "--service", "sidecar.v1.RateLimitService")
    assert 0 == ended.returncode


def test_health_of_an_unknown_service(sidecar_address: str) -> None:
    """A service that there is not is not serving: code 1, and one line."""
    ended = run_sidecar("health", "--address", sidecar_address, "--service", "sidecar.v1.NoService")
    assert (1, "", 1) == (ended.returncode, ended.stdout, len(ended.stderr.splitlines()))
    assert "NOT_FOUND" in ended.stderr


def test_health_of_nobody() -> None:
    """Where nobody listens nothing serves: code 1, and one line."""
    ended = run_sidecar("health", "--address", f"127.0.0.1:{free_port()}")
    assert (1, "", 1) == (ended.returncode, ended.stdout, len(ended.stderr.splitlines()))


def test_health_finds_the_sidecar_by_its_environment(sidecar_address: str) -> None:
    """With the same SIDECAR_LISTEN as the sidecar, its health check needs no address."""
    ended = run_sidecar("health", environ=environment(SIDECAR_LISTEN=f"{sidecar_address}, unix:/other.sock"))
    assert (0, f"{sidecar_address}: SERVING\n") == (ended.returncode, ended.stdout)


def test_health_finds_the_sidecar_by_its_configuration(sidecar_address: str, tmp_path: Path) -> None:
    """With the same SIDECAR_CONFIG as the sidecar, its health check needs no address."""
    path = tmp_path / "sidecar.yaml"
    path.write_text(f"listen: ['{sidecar_address}']\n")
    ended = run_sidecar("health", environ=environment(SIDECAR_CONFIG=str(path)))
    assert (0, f"{sidecar_address}: SERVING\n") == (ended.returncode, ended.stdout)


def test_health_takes_no_proxy(sidecar_address: str) -> None:
    """A proxy in the environment does not come between the check and the sidecar."""
    nobody = f"http://127.0.0.1:{free_port()}"
    environ = environment(http_proxy=nobody, grpc_proxy=nobody, https_proxy=nobody, no_proxy="", no_grpc_proxy="")
    assert 0 == run_sidecar("health", "--address", sidecar_address, environ=environ).returncode


def test_health_of_a_sidecar_without_a_store(tmp_path: Path) -> None:
    """A sidecar that cannot reach its store is not serving: code 1, and the state's name."""
    with SidecarProgram(tmp_path, arguments=["--redis", f"redis://127.0.0.1:{free_port()}"]) as program:
        ended = run_sidecar("health", "--address", program.address)
    assert (1, f"{program.address}: NOT_SERVING\n") == (ended.returncode, ended.stdout)


class TestSqlTriggers:
    """`sidecar sql triggers`."""

    CONFIG = """\
caches: {balances: {ttl: 30s}}
events:
  ledger:
    postgres: {url_env: LEDGER, channels: [posted], tables: {posting: {key_columns: [account_id]}}}
    rules: [{cache: balances, keys: ["account-{rows.account_id}"]}]
  other:
    pubsub: {channels: [a]}
    rules: [{cache: balances, keys: ["{id}"]}]
"""

    def test_prints_sql(self, tmp_path: Path) -> None:
        """For each table that is watched; the database is not asked."""
        (tmp_path / "sidecar.yaml").write_text(self.CONFIG)
        printed = run_sidecar("sql", "triggers", "--config", "sidecar.yaml", folder=tmp_path)
        assert (0, "", "BEGIN;") == (printed.returncode, printed.stderr, printed.stdout.splitlines()[0])
        assert 'AFTER TRUNCATE ON "public"."posting"' in printed.stdout

    @pytest.mark.parametrize(
        ("event", "said"),
        [
            ("nope", "there is no event 'nope' in the configuration"),
            ("other", "the event 'other' does not have `postgres.tables`, from which triggers could be made"),
        ],
    )
    def test_an_event_without_tables(self, tmp_path: Path, event: str, said: str) -> None:
        """Is said, with exit code 2."""
        (tmp_path / "sidecar.yaml").write_text(self.CONFIG)
        printed = run_sidecar("sql", "triggers", "--config", "sidecar.yaml", "--event", event, folder=tmp_path)
        assert (2, "", f"{said}\n") == (printed.returncode, printed.stdout, printed.stderr)
