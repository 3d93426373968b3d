"""What a key is made from: a call, as it stands before its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcCall:
    """A call that has not reached its method yet."""

    method: str
    """The whole name: `"/hospital.v1.Wards/List"`."""
    request: Any
    """The message, decoded; None where the client sends a stream, of which nothing has been read."""
    context: Any
    """The method's own context, for what is not here: `auth_context()`, `time_remaining()`."""

    def metadata(self, name: str) -> str | None:
        """Return the first text of that name; None if there is none. Bytes (`-bin`) are in the context itself."""
        wanted = name.lower()
        for key, value in self.context.invocation_metadata() or ():
            if key == wanted and isinstance(value, str):
                return value
        return None

    @property
    def peer(self) -> str:
        """The other end as gRPC names it, `"ipv4:127.0.0.1:51234"`: with the port, which each connection has anew."""
        peer: str = self.context.peer()
        return peer
