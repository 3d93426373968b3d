"""What is loaded into a cache before anybody asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from sidecar.config.buckets import TokenRate  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.findings import Finding
from sidecar.config.quantities import Rate
from sidecar.config.section import NonEmpty, Section, Switch
from sidecar.config.words import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.problems import Path

# A policy travels to each worker; a longer list belongs in a file.
_MOST_KEYS = 1000


class WarmSettings(Section):
    """The keys to load, and when."""

    at_start: Switch = Field(
        False,
        description="Load them when a sidecar starts: one of all that start within a minute does. Else `sidecar cache "
        "warm CACHE --configured` does it.",
    )
    keys: tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...] = Field(
        (), max_length=_MOST_KEYS, description="Keys to load. At most 1000."
    )
    file: NonEmpty | None = Field(
        None, description="File with more of them, a key a line, at most 1000000; read when they are loaded."
    )
    rate: TokenRate = Field(
        Rate(500, 1000), description="How many keys are asked for per s, m, h or d at most: `500/s`. 1/d to 1000000/s."
    )


def warm_rules(path: Path, warm: WarmSettings | None, strategy: str) -> Iterator[Finding]:
    """Return what is wrong with what a cache is warmed with."""
    if warm is None:
        return
    if strategy == "cache_aside":
        yield Finding(
            (*path, "warm"), "needs an origin to load from: a strategy other than cache_aside", ((*path, "strategy"),)
        )
    if not warm.keys and warm.file is None:
        yield Finding((*path, "warm"), "names nothing to load: give `keys`, `file`, or both")
