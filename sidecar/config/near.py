"""The near caches: copies of entries in the process itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from sidecar.config.findings import Finding
from sidecar.config.quantities import Duration, Lasting, Sized
from sidecar.config.section import Section
from sidecar.config.words import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.policies import CacheSettings
    from sidecar.config.problems import Path


class NearSettings(Section):
    """Which entries of a cache are kept in each worker, and how old a copy may be."""

    max_staleness: Annotated[Duration, Lasting("20ms", "1m")] = Field(
        Duration(1000),
        description="Time for which a copy may be served after the store was last heard of: no answer is further "
        "behind the store. 20ms to 1m.",
    )
    admission: Literal["hot", "all"] = Field(
        "hot",
        description="What is kept: `hot` keys, found by counting, or `all` that are read.",
    )


class NearLimitSettings(Section):
    """What all near caches of a worker may take together."""

    max_bytes: Annotated[int, Sized("1MiB", "16GiB")] = Field(
        16 << 20,
        json_schema_extra={"default": "16MiB"},
        description="Memory for copies in each worker, as bytes or a size; no copy is made of an entry that takes more "
        "than an eighth. 1MiB to 16GiB.",
    )


def near_rules(path: Path, cache: CacheSettings) -> Iterator[Finding]:
    """Return the rules about the near cache that a cache's settings break."""
    if cache.l1 is None:
        return
    l1 = (*path, "l1")
    if cache.format == "raw":
        yield Finding(l1, "a raw cache has none: its values do not say until when they are fresh", ((*path, "format"),))
    if cache.consistency == "strong":
        yield Finding(
            l1, "a copy may be behind the store, which consistency: strong rules out", ((*path, "consistency"),)
        )
