"""The suites and clients, built on first use at pinned versions into `.tools/conformance/`.

Everything comes from the package registries by name. What is built for one version or one state of the sources has a
folder of its own, so nothing stale is ever run; what is generated from others' definitions stays there too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

H2SPEC = "v2.2.1+incompatible"
# h2spec is older than Go modules, so nothing of its own pins these.
_H2SPEC_NEEDS = ("github.com/fatih/color@v1.19.0", "github.com/spf13/cobra@v1.10.2", "golang.org/x/net@v0.62.0")
CONNECT = "v1.0.7"
GRPC_GO = "v1.85.0"
GRPC_JS = "1.14.7"

_ROOT = Path(__file__).resolve().parent.parent.parent
_TOOLS = _ROOT / ".tools" / "conformance"
_CLIENTS = Path(__file__).parent / "clients"
_REQUIRED = "SIDECAR_REQUIRE_CONFORMANCE"
# A build takes a minute or two on two cores, and downloads first.
_BUILD_SECONDS = 900


def h2spec() -> Path:
    """Return the path of h2spec."""

    def build(folder: Path) -> None:
        go = _need("go")
        _run([go, "mod", "init", "tools"], folder)
        _run([go, "get", f"github.com/summerwind/h2spec@{H2SPEC}", *_H2SPEC_NEEDS], folder)
        _run([go, "build", "-o", "h2spec", "github.com/summerwind/h2spec/cmd/h2spec"], folder)

    return _built(f"h2spec-{H2SPEC}", build) / "h2spec"


def connectconformance() -> Path:
    """Return the path of the conformance runner."""
    return _go_install("connectrpc.com/conformance/cmd/connectconformance", CONNECT)


def connect_protos() -> Path:
    """Return a serialized `FileDescriptorSet` of the conformance suite's messages, made of the protos in its module."""

    def build(folder: Path) -> None:
        module = _run([_need("go"), "mod", "download", "-json", f"connectrpc.com/conformance@{CONNECT}"], folder)
        protos = Path(json.loads(module)["Dir"]) / "proto"
        files = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
        protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(protos)]
        _run([*protoc, "--include_imports", "--descriptor_set_out=descriptors", *files], folder)

    return _built(f"connect-protos-{CONNECT}", build) / "descriptors"


def interop_client() -> Path:
    """Return the path of gRPC's interop client."""
    return _go_install("google.golang.org/grpc/interop/client", GRPC_GO)


def python_client() -> Sequence[str]:
    """Return the command of the client on grpcio."""
    return (sys.executable, str(_CLIENTS / "python" / "client.py"))


def go_client() -> Sequence[str]:
    """Return the command of the client on grpc-go."""

    def build(folder: Path) -> None:
        _run([_need("go"), "build", "-o", str(folder / "client"), "."], _CLIENTS / "go")

    return (str(_built(f"go-{_state('go')}", build) / "client"),)


def java_client() -> Sequence[str]:
    """Return the command of the client on grpc-java and Netty."""

    def build(folder: Path) -> None:
        shutil.copy(_CLIENTS / "java" / "pom.xml", folder)
        copy = ["dependency:copy-dependencies", "-DoutputDirectory=jars", "-DincludeScope=runtime"]
        _run([_need("mvn"), "-B", "-q", *copy], folder)
        _run([_need("javac"), "-cp", "jars/*", "-d", "classes", str(_CLIENTS / "java" / "Client.java")], folder)

    folder = _built(f"java-{_state('java')}", build)
    return (_need("java"), "-cp", f"{folder}/jars/*:{folder}/classes", "Client")


def node_client() -> Sequence[str]:
    """Return the command of the client on grpc-js."""

    def build(folder: Path) -> None:
        quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        _run([_need("npm"), "install", *quiet, "--prefix", str(folder), f"@grpc/grpc-js@{GRPC_JS}"], folder)
        shutil.copy(_CLIENTS / "node" / "client.js", folder)

    return (_need("node"), str(_built(f"node-{GRPC_JS}-{_state('node')}", build) / "client.js"))


def rust_client() -> Sequence[str]:
    """Return the command of the client on tonic."""

    def build(folder: Path) -> None:
        shutil.copytree(_CLIENTS / "rust", folder, dirs_exist_ok=True)
        # What was compiled of others' packages serves each state of the client.
        target = {"CARGO_TARGET_DIR": str(_TOOLS / "rust-target")}
        _run([_need("cargo"), "build", "--quiet", "--release"], folder, target)
        shutil.copy(_TOOLS / "rust-target" / "release" / "conformance-client", folder / "client")

    return (str(_built(f"rust-{_state('rust')}", build) / "client"),)


def _go_install(package: str, version: str) -> Path:
    name = package.rpartition("/")[2]

    def build(folder: Path) -> None:
        _run([_need("go"), "install", f"{package}@{version}"], folder, {"GOBIN": str(folder)})

    return _built(f"{name}-{version}", build) / name


def _built(name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of that name, built if it is not there yet; one that is there was built to its end.

    Of several processes that want the same one, the first builds it and the others wait.
    """
    folder = _TOOLS / name
    _TOOLS.mkdir(parents=True, exist_ok=True)
    with (_TOOLS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = _TOOLS / f"{name}.{os.getpid()}"
            unfinished.mkdir()
            try:
                build(unfinished)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _state(client: str) -> str:
    """Return a short fingerprint of a client's sources."""
    digest = hashlib.sha256()
    for path in sorted((_CLIENTS / client).rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(_CLIENTS)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _need(program: str) -> str:
    """Return the path of a program; without it the test is skipped, or fails where it is required."""
    found = shutil.which(program)
    if found is None:
        if _REQUIRED in os.environ:
            pytest.fail(f"{_REQUIRED} is set, but there is no {program} on the PATH")
        pytest.skip(f"no {program} on the PATH")
    return found


def _run(command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None) -> str:
    """Run one step of a build, after everything else that the machine has to do; return what it printed."""
    settings = {**os.environ, "CGO_ENABLED": "0", **(environ or {})}
    done = subprocess.run(
        ["nice", "-n", "10", *command],
        cwd=folder,
        env=settings,
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout
