"""The messages of a peer's API, as far as a benchmark needs them: made from names and field numbers.

Protobuf skips fields that a reader does not know, so a few of them are enough to ask and to look at the answer. Besides
them only the names of the package, the service and its methods are on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its name, number, and type: `string`, `bytes`, `int32`, `uint32` or the name of a message."""

    name: str
    number: int
    type: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Method:
    """A unary method and the names of its messages."""

    name: str
    request: str
    response: str


class Api:
    """One service of a peer with its messages."""

    def __init__(
        self, package: str, service: str, *, messages: Mapping[str, Sequence[Field]], methods: Sequence[Method]
    ) -> None:
        self._package = package
        file = FileDescriptorProto(name=f"{service}.proto", package=package, syntax="proto3")
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            message.field.extend(self._descriptor(field) for field in fields)
        served = file.service.add(name=service)
        for method in methods:
            served.method.add(
                name=method.name,
                input_type=f".{package}.{method.request}",
                output_type=f".{package}.{method.response}",
            )
        self._pool = DescriptorPool()
        self._pool.AddSerializedFile(file.SerializeToString())

    def make(self, name: str, **fields: Any) -> Message:
        """Return a message; a field that is one itself may be given as a dictionary."""
        descriptor: Any = self._pool.FindMessageTypeByName(f"{self._package}.{name}")
        return GetMessageClass(descriptor)(**fields)

    def _descriptor(self, field: Field) -> FieldDescriptorProto:
        scalar = FieldDescriptorProto.Type.keys()
        descriptor = FieldDescriptorProto(
            name=field.name,
            number=field.number,
            label=FieldDescriptorProto.LABEL_REPEATED if field.repeated else FieldDescriptorProto.LABEL_OPTIONAL,
        )
        if f"TYPE_{field.type.upper()}" in scalar:
            descriptor.type = FieldDescriptorProto.Type.Value(f"TYPE_{field.type.upper()}")
        else:
            descriptor.type = FieldDescriptorProto.TYPE_MESSAGE
            descriptor.type_name = f".{self._package}.{field.type}"
        return descriptor
