"""What must hold for the bounds that a cache sets to the size of its values, and for how they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.findings import Finding
from sidecar.config.quantities import render_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.model import LimitSettings
    from sidecar.config.policies import CacheSettings
    from sidecar.config.problems import Path


def bound_rules(path: Path, cache: CacheSettings, limits: LimitSettings) -> Iterator[Finding]:
    """Return what is wrong with a cache's bounds."""
    if cache.compress_above is not None:
        compress = (*path, "compress_above")
        if cache.data_class == "phi":
            # How long a compressed value is says what it has in common with itself: one who may write a part of it and
            # sees its length can guess the rest. What is sealed must not show anything.
            yield Finding(
                compress,
                "a phi cache has none, since the length of what is compressed, then sealed, tells of the content",
                ((*path, "data_class"),),
            )
        if cache.format == "raw":
            yield Finding(compress, "a raw cache has none, since others read its values", ((*path, "format"),))
    if cache.max_memory is not None and cache.format == "raw":
        yield Finding(
            (*path, "max_memory"), "a raw cache has none, since others count on its keys", ((*path, "format"),)
        )
    if cache.max_value_bytes is not None and cache.max_value_bytes > limits.max_value_bytes:
        yield Finding(
            (*path, "max_value_bytes"),
            f"{render_size(cache.max_value_bytes)} is above limits.max_value_bytes "
            f"({render_size(limits.max_value_bytes)})",
            (("limits", "max_value_bytes"),),
        )
