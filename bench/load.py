"""The load generator: ghz, installed on first use at a pinned version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToJson

from bench.processes import Failure

if TYPE_CHECKING:
    from bench.profiles import Load, Request

_GHZ = "github.com/bojand/ghz/cmd/ghz@v0.121.0"
_ROOT = Path(__file__).resolve().parent.parent
_BIN = _ROOT / ".tools" / "bin"
# What ghz may take beyond its time, for the last answers and its report.
_SLACK_SECONDS = 30
_LONGEST_SECONDS = 600
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


def run_ghz(
    ghz: Path,
    address: str,
    request: Request,
    load: Load,
    *,
    seconds: float | None = None,
    calls: int | None = None,
    data: Path | None = None,
) -> Report:
    """Call for `seconds`, or so many `calls`, and return what the callers saw.

    `data` is a file with an array of messages in JSON, which are sent in turn in place of the request's own.

    Raises `Failure` if any call did not end well. What ghz must know of the messages it is told from their classes, so
    it can also call services whose descriptors exist in this process alone.
    """
    length = ("--total", str(calls)) if calls is not None else ("--duration", f"{seconds}s", "--duration-stop", "wait")
    # ghz gives up a call after 20 s by itself; so long a run of a number of calls is one that has come to a halt.
    limit = _LONGEST_SECONDS if seconds is None else seconds + _SLACK_SECONDS
    with tempfile.NamedTemporaryFile(prefix="sidecar-bench-", suffix=".protoset") as protoset:
        protoset.write(_descriptors(request).SerializeToString())
        protoset.flush()
        command = [
            str(ghz),
            "--insecure",
            *("--protoset", protoset.name),
            *("--call", request.method),
            *(("--data-file", str(data)) if data else ("--data", MessageToJson(request.message, indent=None))),
            # The message is made once: a template per call would cost the machine more than the call does.
            *("--disable-template-functions", "--disable-template-data"),
            *("--concurrency", str(load.callers), "--connections", str(load.connections)),
            *(("--rps", str(load.rps)) if load.rps is not None else ()),
            *length,
            *("--format", "json"),
            address,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit, cwd=_ROOT)
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


def _descriptors(request: Request) -> FileDescriptorSet:
    """Return the file of a request's message after those that it needs, as protoc writes them with --include_imports.

    The answer's message has no fields there: ghz looks at none, and reading them would take more of the machine than a
    batch takes the server.
    """
    ordered: dict[str, Any] = {}

    def add(file: Any) -> None:
        for needed in file.dependencies:
            add(needed)
        ordered.setdefault(file.name, file)

    file: Any = request.message.DESCRIPTOR.file
    add(file)
    files = FileDescriptorSet()
    for each in ordered.values():
        each.CopyToProto(files.file.add())
    service, _, method = request.method.partition("/")
    answer = file.pool.FindServiceByName(service).methods_by_name[method].output_type.full_name
    for described in files.file:
        for message in described.message_type:
            if f"{described.package}.{message.name}" == answer:
                message.ClearField("field")
                message.ClearField("oneof_decl")
    return files
