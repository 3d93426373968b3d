"""Settings and other plain data on their way from one process of a sidecar to another: pickles of our own classes.

To make settings of JSON takes pydantic, which processes that only use settings do without (`plain.py`). A pickle can
name any function and have it called; here only classes of a few modules are taken, which hold data, each by the module
that defines it. So what comes from a worker, which reads what the network sends, can be wrong, but does nothing.
"""

from __future__ import annotations

import importlib
import io
import pickle
from typing import Any, Final

# Where settings, and what supervisor and workers tell each other, are described.
_HOMES: Final = (
    "sidecar.config",
    "sidecar.server.engine",
    "sidecar.store.embedded",
    "sidecar.supervisor.messages",
    "sidecar.telemetry.snapshot",
)


def pack(content: object) -> bytes:
    """Return what `unpack` makes the same of in another process of the same version."""
    return pickle.dumps(content)


def unpack(parcel: bytes) -> Any:
    """Return what was packed; raises ValueError if it is no parcel."""
    try:
        return _Unpickler(io.BytesIO(parcel)).load()
    except Exception as error:  # noqa: BLE001 (what is broken may raise anything)
        raise ValueError(f"not a parcel ({type(error).__name__})") from None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, name: str) -> Any:
        """Return a class of data; raises UnpicklingError for anything else."""
        if f"{module_name}.".startswith(tuple(f"{home}." for home in _HOMES)) and "." not in name:
            found = getattr(importlib.import_module(module_name), name, None)
            if isinstance(found, type) and found.__module__ == module_name:
                return found
        raise pickle.UnpicklingError(f"{module_name}.{name} is no class of data of the sidecar's")
