"""A sidecar has in memory what its configuration asks for, and nothing of the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from support.programs import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOSPITAL = Path(__file__).parents[2] / "examples" / "hospital" / "sidecar.yaml"
# The program, which writes down what it has imported by the time that it ends.
_PROGRAM = """
import atexit, pathlib, sys
atexit.register(lambda: pathlib.Path(sys.argv.pop(1)).write_text("\\n".join(sys.modules)))
from sidecar.cli import main
sys.exit(main(sys.argv[2:]))
"""
# What judges a configuration, is grpcio's, or belongs to origins, events, write-behind, near caches, Envoy,
# compression, the export of traces, or other commands than `serve`.
_UNUSED = (
    "pydantic", "pydantic_core", "yaml", "sidecar.config.loader", "sidecar.config.document",
    "grpc", "asyncpg", "aiohttp", "zstandard", "opentelemetry.sdk", "opentelemetry.exporter",
    "sidecar.origins.postgres", "sidecar.origins.web", "sidecar.origins.service", "sidecar.events", "sidecar.eventing",
    "sidecar.cache.write_behind.flusher", "sidecar.rpc.write_behind", "sidecar.cache.near.values",
    "sidecar.store.tracking", "sidecar.ratelimit.envoy", "sidecar.envoy_front", "sidecar.supervisor.supervisor",
    "sidecar.remote", "sidecar.cache_command", "sidecar.cli_write_behind", "sidecar.warm_command",
)  # fmt: skip


def _modules(folder: Path, arguments: Sequence[str]) -> set[str]:
    """Return what a sidecar with these arguments has imported by its end; it is ended as soon as it is ready."""
    listed = folder / "modules"
    environ = environment(SIDECAR_STATE_DIR=str(folder / "state"), SIDECAR_TELEMETRY__METRICS__ADDRESS="127.0.0.1:0")
    program = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(listed), "serve", "--listen", "127.0.0.1:0", *arguments],
        stdout=subprocess.PIPE,
        env=environ,
        text=True,
    )
    with program:
        assert program.stdout is not None
        try:
            assert "is ready" in program.stdout.readline()
        finally:
            program.terminate()
    return set(listed.read_text().splitlines())


def test_the_hospital_example_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    """Each library is a few MiB of every idle sidecar; `make bench-footprint` weighs them."""
    loaded = _modules(tmp_path, ["--config", str(_HOSPITAL)])
    assert {"sidecar.app", "cryptography", "sidecar.cache.records"} <= loaded
    assert [] == [name for name in _UNUSED if any(f"{module}.".startswith(f"{name}.") for module in loaded)]
