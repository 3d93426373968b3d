"""Where a peer's program is. This project neither builds nor ships one: whoever measures against a peer brings it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


class Missing(Exception):  # noqa: N818 (a sentence for the user, not an error of the program)
    """What must be there to measure against a peer, in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A peer's program and the ways to name it."""

    peer: str
    """The project's name and the version to get."""
    program: str
    """Its name on the PATH; empty for a name too common to be looked for there."""
    option: str
    variable: str
    source: str
    """Where people find it."""

    def find(self, given: Path | None) -> Path:
        """Return the program that the option, the environment or the PATH names; raises `Missing`."""
        named = given or os.environ.get(self.variable)
        found = shutil.which(str(named)) if named else shutil.which(self.program)
        if found is not None:
            return Path(found)
        if named:
            raise Missing(f"{self.peer}: {named} is no program that can be run")
        raise Missing(
            f"{self.peer} is not here: get it from {self.source}, and name its program with {self.option} PATH or "
            f"${self.variable}"
        )


DAPRD = Binary(
    peer="daprd 1.18",
    program="daprd",
    option="--daprd",
    variable="SIDECAR_BENCH_DAPRD",
    source="the releases of the project dapr/dapr on GitHub (v1.18.0)",
)
RATELIMIT = Binary(
    peer="envoyproxy/ratelimit",
    program="ratelimit",
    option="--ratelimit",
    variable="SIDECAR_BENCH_RATELIMIT",
    source="the project envoyproxy/ratelimit on GitHub (it has no releases: a build of its main branch)",
)
LIMITADOR = Binary(
    peer="limitador",
    program="limitador-server",
    option="--limitador",
    variable="SIDECAR_BENCH_LIMITADOR",
    source="the project Kuadrant/limitador on GitHub (a release build of limitador-server)",
)
