"""The example of balances, run as its README says."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from balances.stage import URL_VARIABLE, set_up
from sidecar_client.gen.sidecar.v1 import origin_pb2, origin_pb2_grpc
from support.programs import PROJECT
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS = 30


@pytest.mark.usefixtures("database")
def test_a_posting_shows_in_a_balance_that_was_cached() -> None:
    """The demonstration reads a balance twice, posts by SQL alone, and reads the new balance."""
    # Not in a folder of the tests', which PostgreSQL's user may not enter.
    with tempfile.TemporaryDirectory(prefix="sidecar-balances-") as folder:
        Path(folder).chmod(0o755)
        ended = subprocess.run(
            [
                sys.executable, "-m", "balances", "--once", "--folder", folder,
                "--address", f"127.0.0.1:{free_port()}",
            ],
            env={**os.environ, "PYTHONPATH": str(PROJECT / "examples" / "balances")},
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip

    assert (0, "") == (ended.returncode, ended.stderr)
    shown = [line.split() for line in ended.stdout.splitlines() if line.startswith("  account-17:")]
    cents = [round(float(words[1]) * 100) for words in shown]
    assert [cents[0], cents[0], cents[0] - 5_000] == cents


@pytest.mark.usefixtures("database")
def test_the_service_answers_the_same_from_the_database_and_through_the_sidecar() -> None:
    """Balances of one account and of several, one of which does not exist."""
    one = origin_pb2.LoadRequest(cache="balances", key="account-3")
    many = origin_pb2.LoadManyRequest(cache="balances", keys=["account-4", "nobody", "account-1"])
    with tempfile.TemporaryDirectory(prefix="sidecar-balances-") as folder:
        Path(folder).chmod(0o755)
        address = f"127.0.0.1:{free_port()}"
        with (
            set_up(Path(folder), address=address, accounts=5) as stage,
            _service({URL_VARIABLE: stage.postgres.url}) as asks_database,
            _service({}, "--sidecar", address) as asks_sidecar,
        ):
            answers = [(stub.Load(one), stub.LoadMany(many)) for stub in (asks_database, asks_sidecar)]

    assert answers[0] == answers[1]
    assert [True, False, True] == [entry.present for entry in answers[1][1].entries]
    assert b'"EUR"' in answers[1][0].entry.value


@contextmanager
def _service(environ: dict[str, str], *arguments: str) -> Iterator[Any]:
    """Start the service, and give a stub of it."""
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "balances.service", address, *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "examples" / "balances"), **environ},
    )
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=_START_SECONDS)
            yield origin_pb2_grpc.OriginServiceStub(channel)
    finally:
        process.terminate()
        process.wait(_START_SECONDS)
