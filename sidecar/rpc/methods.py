"""How a service becomes methods: its descriptor gives paths and message types, its servicer the handlers.

A servicer has a method for each RPC, named in snake case: `GetMany` is `get_many`. One that is missing is found at
start-up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from sidecar.call import StreamMethod, UnaryMethod
from sidecar.errors import InvalidArgumentError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
    from google.protobuf.message import Message

    from sidecar.call import Method

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def methods_of(service: ServiceDescriptor, servicer: object) -> list[Method]:
    """Return the methods of a service, each handled by the servicer's method of that name."""
    return [_method(service, descriptor, servicer) for descriptor in service.methods]


def _method(service: ServiceDescriptor, descriptor: MethodDescriptor, servicer: object) -> Method:
    path = f"/{service.full_name}/{descriptor.name}"
    handle = getattr(servicer, _CAPITAL.sub("_", descriptor.name).lower())
    decode = _decoder(GetMessageClass(descriptor.input_type))
    if descriptor.client_streaming or descriptor.server_streaming:
        return StreamMethod(
            path=path,
            decode=decode,
            encode=_encode,
            handle=handle,
            client_streams=descriptor.client_streaming,
            server_streams=descriptor.server_streaming,
        )
    return UnaryMethod(path=path, decode=decode, encode=_encode, handle=handle)


def _decoder(message_class: type[Message]) -> Callable[[bytes], Message]:
    parse: Callable[[bytes], Message] = message_class.FromString

    def decode(encoded: bytes) -> Message:
        try:
            return parse(encoded)
        except DecodeError:
            raise InvalidArgumentError(
                Reason.MESSAGE_MALFORMED, f"the request is not a {message_class.DESCRIPTOR.full_name}"
            ) from None

    return decode


def _encode(message: Message) -> bytes:
    return message.SerializeToString()
