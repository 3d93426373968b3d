"""`sidecar cache ...` against a running sidecar, as an operator types it."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.programs import HOSPITAL, PROGRAM, SidecarProgram, environment, run_sidecar, wait_until

if TYPE_CHECKING:
    from pathlib import Path

from sidecar_client.gen.sidecar.v1 import cache_admin_pb2, cache_pb2


def cache(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `sidecar cache`."""
    return run_sidecar("cache", arguments[0], "--address", address, *arguments[1:])


@pytest.fixture(scope="module")
def address(lasting_sidecar: SidecarProgram) -> str:
    """Return where a sidecar listens that has some entries."""
    with lasting_sidecar.api() as api:
        for key, value in (("account-17", b"12\x00\xff\n"), ("gone", b"v"), ("account-18", b"v" * 9)):
            api.cache.Set(cache_pb2.SetRequest(cache="balances", key=key, value=value))
        api.cache.Set(cache_pb2.SetRequest(cache="wards", key="7", value=b"v", tags=["floor-1"]))
        api.cache.Get(cache_pb2.GetRequest(cache="wards", key="7"))
    return lasting_sidecar.address


def test_ls_lists_the_caches(address: str) -> None:
    """A line for each, in columns; or one of them."""
    done = cache(address, "ls")
    lines = done.stdout.splitlines()
    assert (0, "") == (done.returncode, done.stderr)
    assert ["cache", "strategy", "class", "ttl"] == lines[0].split()[:4]
    assert ["patients", "cache_aside", "phi", "10m"] in [line.split()[:4] for line in lines]
    named = json.loads(cache(address, "ls", "balances", "--json").stdout)
    assert [("balances", "30s")] == [(one["name"], one["ttl"]) for one in named["caches"]]


def test_get_writes_the_value_as_it_is(address: str) -> None:
    """Byte for byte, with nothing behind it."""
    words = [str(PROGRAM), "cache", "get", "--address", address, "balances", "account-17"]
    done = subprocess.run(words, env=environment(), capture_output=True, check=False)
    assert (0, b"12\x00\xff\n", b"") == (done.returncode, done.stdout, done.stderr)
    machine = json.loads(cache(address, "get", "balances", "account-17", "--json").stdout)
    assert b"12\x00\xff\n" == base64.b64decode(machine["value"])


@pytest.mark.parametrize("command", ["get", "ttl"])
def test_a_miss_is_exit_code_1(address: str, command: str) -> None:
    """With a line on standard error, and nothing on standard output."""
    done = cache(address, command, "balances", "nobody")
    assert (1, "", "cache balances has no such entry\n") == (done.returncode, done.stdout, done.stderr)


def test_ttl_says_what_an_entry_is(address: str) -> None:
    """How long it lives, and how large it is."""
    done = cache(address, "ttl", "balances", "account-18")
    said = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (0, "HIT", "9 B") == (done.returncode, said["outcome"], said["value"])
    assert said["ttl"].endswith(" s")


def test_invalidate_removes_entries(address: str) -> None:
    """By key and by tag, and says how many; or by prefix, and says that."""
    assert "1 removed\n" == cache(address, "invalidate", "balances", "--key", "gone", "--key", "nobody").stdout
    assert "1 removed\n" == cache(address, "invalidate", "wards", "--tag", "floor-1").stdout
    said = cache(address, "invalidate", "wards", "--prefix", "ward:7:").stdout
    assert said.startswith("all keys that begin with ward:7: are out of date (generation ")
    said = cache(address, "invalidate", "wards", "--all").stdout
    assert said.startswith("the whole cache is out of date (generation ")
    assert 1 == cache(address, "get", "balances", "gone").returncode


def test_stats_says_what_was_counted(address: str) -> None:
    """A line for each cache, and who counted."""
    done = cache(address, "stats", "wards")
    head, row, counted = done.stdout.splitlines()
    assert ["cache", "reads", "hit"] == head.split()[:3]
    assert ["wards", "1", "100.0%"] == row.split()[:3]
    assert counted.startswith("counted by process ")
    assert 1 == int(json.loads(cache(address, "stats", "wards", "--json").stdout)["caches"][0]["hits"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", "balance", "k"], "NOT_FOUND: no cache of that name is configured; did you mean 'balances'?"),
        (
            ["get", "nothing-like-it", "k"],
            "NOT_FOUND: no cache of that name is configured; there are default, balances, wards",
        ),
        (["invalidate", "patients", "--prefix", "a:"], "FAILED_PRECONDITION: "),
        (["ttl", "balances", ""], "INVALID_ARGUMENT: the key is empty"),
    ],
)
def test_an_error_is_exit_code_2_and_a_line(address: str, arguments: list[str], said: str) -> None:
    """What the sidecar says is wrong, behind its address."""
    done = cache(address, *arguments)
    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
    assert done.stderr.startswith(f"{address}: {said}")


def test_nobody_there_is_exit_code_2() -> None:
    """An address where nobody listens is said to be one."""
    done = cache("127.0.0.1:1", "ls")
    assert (2, "") == (done.returncode, done.stdout)
    expected = "127.0.0.1:1: no sidecar can be reached there (connection refused); start one, or name it by --address\n"
    assert expected == done.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["invalidate", "c"], ["invalidate", "c", "--all", "--key", "k"], ["get", "c"]]
)
def test_what_is_missing_or_too_much_is_said(arguments: list[str]) -> None:
    """In one line, without calling anybody."""
    done = run_sidecar("cache", *arguments)
    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))


def test_stats_are_of_all_workers(tmp_path: Path) -> None:
    """Whichever is asked: the sums, also of one that hangs or has died, and how many have told theirs."""
    reads = 32
    with SidecarProgram(tmp_path, config=HOSPITAL, arguments=["--workers", "2"]) as program:

        def stats() -> tuple[int, int, int]:
            with program.api() as api:
                answer = api.cache_admin.GetCacheStats(cache_admin_pb2.GetCacheStatsRequest(cache="balances"))
            return answer.caches[0].misses, answer.processes, answer.workers

        for _ in range(reads):  # each over a connection of its own, and so by either worker
            with program.api() as api:
                api.cache.Get(cache_pb2.GetRequest(cache="balances", key="nobody"))
        assert [(reads, 2, 2)] * 8 == [stats() for _ in range(8)]
        assert "\ncounted by 2 workers since " in cache(program.address, "stats", "balances").stdout
        killed = program.worker_ids[0]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(program.worker_ids) == 2 and killed not in program.worker_ids, "there is another")
        wait_until(lambda: stats() == (reads, 2, 2), "it is ready")
