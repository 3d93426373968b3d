"""The configuration: what can be set, how it is read, and what is said when it is wrong."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.config.loader import load
    from sidecar.config.model import Settings
    from sidecar.config.problems import ConfigError, Problem

__all__ = ["ConfigError", "Problem", "Settings", "load"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: a process that only uses settings has nothing in memory of what reads them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sidecar.config import loader, model, problems  # noqa: PLC0415 (as said)

    return next(getattr(module, name) for module in (loader, model, problems) if hasattr(module, name))
