"""The load generator: ghz, installed on first use at a pinned version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToJson

from bench.processes import Failure

if TYPE_CHECKING:
    from bench.profiles import Load, Request

_GHZ = "github.com/bojand/ghz/cmd/ghz@v0.121.0"
_ROOT = Path(__file__).resolve().parent.parent
_BIN = _ROOT / ".tools" / "bin"
_PROTO = _ROOT / "proto"
# What ghz may take beyond its time, for the last answers and its report.
_SLACK_SECONDS = 30
_NANOS_PER_MILLI = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the callers saw."""

    calls: int
    rps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


def install_ghz() -> Path:
    """Return the path of ghz, built from source if it is not there yet; raises `Failure` without Go."""
    program = _BIN / "ghz"
    if program.exists():
        return program
    go = shutil.which("go")
    if go is None:
        raise Failure(
            "the benchmark needs ghz, and to build it Go (1.23 or later), which is not on the PATH; "
            f"install Go, or put a ghz into {program.relative_to(_ROOT)}"
        )
    print(f"building {_GHZ} ...", flush=True)
    environ = {**os.environ, "GOBIN": str(_BIN), "CGO_ENABLED": "0"}
    done = subprocess.run([go, "install", _GHZ], env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"ghz could not be built:\n{done.stderr.strip()}")
    return program


def run_ghz(ghz: Path, address: str, request: Request, load: Load, seconds: float) -> Report:
    """Call for `seconds`, and return what the callers saw; raises `Failure` if any call did not end well."""
    proto = request.message.DESCRIPTOR.file.name
    command = [
        str(ghz),
        "--insecure",
        *("--import-paths", str(_PROTO), "--proto", str(_PROTO / proto)),
        *("--call", request.method, "--data", MessageToJson(request.message, indent=None)),
        # The message is made once: a template per call would cost the machine more than the call does.
        *("--disable-template-functions", "--disable-template-data"),
        *("--concurrency", str(load.callers), "--connections", str(load.connections)),
        *("--duration", f"{seconds}s", "--duration-stop", "wait"),
        *("--format", "json"),
        address,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds + _SLACK_SECONDS, cwd=_ROOT
    )
    if done.returncode != 0:
        raise Failure(f"ghz ended with code {done.returncode}:\n{done.stderr.strip() or done.stdout[-2000:]}")
    report = json.loads(done.stdout)
    statuses = report["statusCodeDistribution"]
    if set(statuses) != {"OK"}:
        raise Failure(f"{request.method}: not all calls ended well: {statuses}, {report.get('errorDistribution')}")
    latency_ms = {item["percentage"]: item["latency"] / _NANOS_PER_MILLI for item in report["latencyDistribution"]}
    return Report(
        calls=report["count"],
        rps=report["rps"],
        p50_ms=latency_ms[50],
        p95_ms=latency_ms[95],
        p99_ms=latency_ms[99],
    )
