"""Programs of other makers against the sidecar, and the image's steps. Skipped where a program is not installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.programs import PROJECT, environment


def _program(name: str) -> str:
    """Return the path of a Go program; skips the test if there is none."""
    go_home = Path(os.environ.get("GOPATH", Path.home() / "go")) / "bin"
    folders = [PROJECT / ".tools" / "bin", os.environ.get("GOBIN"), go_home]
    path = os.pathsep.join([os.environ.get("PATH", ""), *(str(folder) for folder in folders if folder)])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"no {name} on the PATH, in .tools/bin or in GOBIN")
    return found


def _run(*command: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def test_ghz_needs_no_proto(sidecar_address: str) -> None:
    """Ghz finds the method and its messages by reflection alone, and every call is OK."""
    ended = _run(
        _program("ghz"), "--insecure", "--call", "sidecar.v1.CacheService/Get", "--total", "100", "--concurrency", "4",
        "--data", '{"cache": "default", "key": "ghz"}', "--format", "json", sidecar_address,
    )  # fmt: skip
    assert 0 == ended.returncode, ended.stderr
    assert {"OK": 100} == json.loads(ended.stdout)["statusCodeDistribution"]


def test_grpcurl_lists_services(sidecar_address: str) -> None:
    """Grpcurl lists all services by reflection."""
    ended = _run(_program("grpcurl"), "-plaintext", sidecar_address, "list")
    assert 0 == ended.returncode, ended.stderr
    assert {
        "grpc.health.v1.Health",
        "sidecar.v1.CacheService",
        "sidecar.v1.RateLimitService",
        "sidecar.v1.RecordService",
    } <= set(ended.stdout.split())


def test_grpcurl_describes_a_method(sidecar_address: str) -> None:
    """Grpcurl describes a method that is named as a symbol."""
    ended = _run(_program("grpcurl"), "-plaintext", sidecar_address, "describe", "sidecar.v1.CacheService.Get")
    assert 0 == ended.returncode, ended.stderr
    assert "rpc Get ( .sidecar.v1.GetRequest ) returns ( .sidecar.v1.GetResponse );" in ended.stdout


def test_grpcurl_sets_and_gets(sidecar_address: str) -> None:
    """Grpcurl calls without protos, with JSON in and out."""
    grpcurl = [_program("grpcurl"), "-plaintext", "-d"]
    there = {"cache": "default", "key": "grpcurl"}
    _run(*grpcurl, json.dumps(there | {"value": "dg=="}), sidecar_address, "sidecar.v1.CacheService/Set")
    ended = _run(*grpcurl, json.dumps(there), sidecar_address, "sidecar.v1.CacheService/Get")
    assert ("OUTCOME_HIT", "dg==") == tuple(json.loads(ended.stdout)[part] for part in ("outcome", "value"))


def test_grpcurl_shows_the_reason_of_an_error(sidecar_address: str) -> None:
    """The details of an error are readable for a client that knows nothing of the sidecar."""
    ended = _run(
        _program("grpcurl"), "-plaintext", "-d", '{"cache": "defualt", "key": "k"}', sidecar_address,
        "sidecar.v1.CacheService/Get",
    )  # fmt: skip
    assert 0 != ended.returncode
    assert "CACHE_UNKNOWN" in ended.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_image_steps() -> None:
    """The Dockerfile's steps, run without a container engine, end in a sidecar that serves and stops with 0.

    With the wheel of Python's sources: `tools/test_compiled.sh` compiles one; this test does with SIDECAR_LONG.
    """
    steps = PROJECT / "tools" / "check_image.sh"
    kind = "auto" if "SIDECAR_LONG" in os.environ else "pure"
    ended = subprocess.run([steps, kind], env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert 0 == ended.returncode, ended.stderr
    assert ended.stdout.endswith("ended with 0; nothing written outside the state directory\n")
