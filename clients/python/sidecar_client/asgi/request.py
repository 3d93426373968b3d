"""What a key is made from: a request, as it stands before the application.

Most keys are in the head: an address, a header, a path. Some are in the body, as the account of somebody who logs in,
and an ASGI application can read its body only once. So what is read here is kept, and handed to the application again
in the pieces in which it came.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar_client.asgi.protocol import Message, Receive, Scope

# What a key is made from is a form or a small document. More than this is kept for nobody who may yet be refused.
MAX_BODY_BYTES = 64 * 1024

# The smallest part of the address space that goes to one customer (RFC 6177): who has it, has 2^64 addresses.
_IPV6_PREFIX_BITS = 64

# Callers without an address come over a Unix socket, from a proxy that does not say for whom; they are one.
_NO_ADDRESS = "local"


class BodyTooLargeError(Exception):
    """The body is larger than a key may be made from; the middleware answers 413."""


class ClientGoneError(Exception):
    """The client hung up before its body was whole; nobody waits for an answer."""


class HttpRequest:
    """A request that has not reached the application yet."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        """The connection scope, as the application will see it."""
        self._receive = receive
        self._kept: list[Message] = []
        self._whole = False

    def header(self, name: str) -> str | None:
        """Return the first field of that name, in whatever case; None if there is none. Bytes are read as Latin-1."""
        wanted = name.lower().encode("latin-1")
        for field, value in self.scope["headers"]:
            if field.lower() == wanted:
                text: str = value.decode("latin-1")
                return text
        return None

    @property
    def method(self) -> str:
        """The method, in capitals."""
        method: str = self.scope["method"]
        return method

    @property
    def path(self) -> str:
        """The path, decoded."""
        path: str = self.scope["path"]
        return path

    @property
    def client_host(self) -> str | None:
        """The address of the client as the server names it; None on a Unix socket.

        Behind a proxy that is the proxy's own, unless the server is told whom to believe
        (`uvicorn --forwarded-allow-ips`). A header that anyone can send is no address.
        """
        client = self.scope.get("client")
        return client[0] if client else None

    async def body(self, max_bytes: int = MAX_BODY_BYTES) -> bytes:
        """Return the whole body, which the application still gets. Raises BodyTooLargeError above `max_bytes`."""
        while True:
            parts = [message.get("body", b"") for message in self._kept]
            if sum(map(len, parts)) > max_bytes:
                raise BodyTooLargeError
            if self._whole:
                return b"".join(parts)
            message = await self._receive()
            self._kept.append(message)
            if message["type"] != "http.request":
                raise ClientGoneError
            self._whole = not message.get("more_body", False)

    async def receive(self) -> Message:
        """Be the application's `receive`: first what was kept, in its order, then what still comes."""
        return self._kept.pop(0) if self._kept else await self._receive()


def address_key(request: HttpRequest) -> str:
    """Return the client's address as a key: one of IPv4 whole, of IPv6 the /64 that it is in."""
    host = request.client_host
    if host is None:
        return _NO_ADDRESS
    try:
        address = ip_address(host)
    except ValueError:  # a test client's name, or what a trusted proxy calls the client
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    network = int(address) >> _IPV6_PREFIX_BITS << _IPV6_PREFIX_BITS
    return f"{IPv6Address(network)}/{_IPV6_PREFIX_BITS}"
