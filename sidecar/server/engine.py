"""What the sidecar asks of a transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePolicy:
    """How an engine treats its callers; times in seconds."""

    max_message_bytes: int = 8 * 1024 * 1024
    default_deadline: float = 5.0
    """For a call that brings none."""
    max_deadline: float = 60.0
    """A longer one is cut to this."""
    max_concurrent_streams: int = 1000
    """On each connection, where the engine bounds them; how many calls are served at all is not an engine's to say."""
    # Clients of this project and of others ping every 10 s; half of that tolerates their jitter.
    min_ping_interval: float = 5.0
    busy_wait: bool = True
    """Whether the event loop, where it is the engine's, may stay awake for the next call of a lone caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One address that an engine serves."""

    address: str
    """`host:port`, where port 0 takes a free one, or `unix:/path`."""
    shared: bool = False
    """Whether other processes of this sidecar take calls at the same port (`SO_REUSEPORT`)."""
    descriptor: int | None = None
    """A listening socket that this process inherited for the address, to be used in place of a new one."""


class Engine(Protocol):
    """A gRPC server over one method table."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, once started; a port 0 has become the one that was found."""
        ...

    async def start(self) -> None:
        """Bind all listeners and serve; raises `StartupError` for an address that cannot be bound."""
        ...

    async def stop(self, grace: float) -> None:
        """Take no new calls, give those under way `grace` seconds, then end them."""
        ...
