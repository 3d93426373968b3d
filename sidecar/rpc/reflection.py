"""Server reflection, v1 and v1alpha (grpc/doc/server-reflection.md).

The two versions differ in their package's name alone, so the messages of v1alpha, which come with a package, serve
both; the descriptor of v1 is made from that of v1alpha. Unlike the library's servicer this one also finds the file of
a *method* (`sidecar.v1.CacheService.Get`), which is what ghz and some other tools ask for.

Either version's messages are of their own class, so an answer is built of the class that belongs to its request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2 as pb

from sidecar.call import Code

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator

    from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor

    from sidecar.call import Call

_ALPHA_FILE = pb.DESCRIPTOR.name
_FILE = "grpc/reflection/v1/reflection.proto"
_SERVICE = "ServerReflection"


def reflection_services() -> tuple[ServiceDescriptor, ServiceDescriptor]:
    """Return the descriptors of both versions' service, v1 first."""
    pool = descriptor_pool.Default()
    alpha = pool.FindFileByName(_ALPHA_FILE)
    try:
        current = pool.FindFileByName(_FILE)
    except KeyError:
        made = descriptor_pb2.FileDescriptorProto()
        alpha.CopyToProto(made)
        _rename(made)
        pool.AddSerializedFile(made.SerializeToString())
        current = pool.FindFileByName(_FILE)
    return current.services_by_name[_SERVICE], alpha.services_by_name[_SERVICE]


def _rename(file: descriptor_pb2.FileDescriptorProto) -> None:
    file.name = _FILE
    file.package = "grpc.reflection.v1"
    file.options.Clear()
    for message in file.message_type:
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = _current(field.type_name)
    for service in file.service:
        for method in service.method:
            method.input_type = _current(method.input_type)
            method.output_type = _current(method.output_type)


def _current(name: str) -> str:
    return name.replace(".v1alpha.", ".v1.")


class _NotFoundError(Exception):
    """What the client asked about does not exist here."""


class ReflectionServicer:
    """Answers about the services that it was made with, out of the process's descriptor pool."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = sorted(services)
        self._pool = descriptor_pool.Default()

    async def server_reflection_info(
        self,
        requests: AsyncIterator[pb.ServerReflectionRequest],
        call: Call,  # noqa: ARG002 (nothing here waits)
    ) -> AsyncGenerator[pb.ServerReflectionResponse, None]:
        """Answer each request of the stream."""
        sent: set[str] = set()
        async for request in requests:
            answer_type = request.DESCRIPTOR.file.message_types_by_name["ServerReflectionResponse"]
            response = cast("pb.ServerReflectionResponse", GetMessageClass(answer_type)())
            response.valid_host = request.host
            response.original_request.CopyFrom(request)
            try:
                self._answer(request, response, sent)
            except (KeyError, _NotFoundError):
                response.error_response.error_code = int(Code.NOT_FOUND)
                response.error_response.error_message = "not found"
            yield response

    def _answer(
        self, request: pb.ServerReflectionRequest, response: pb.ServerReflectionResponse, sent: set[str]
    ) -> None:
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            for name in self._services:
                response.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            self._add(response, self._pool.FindFileByName(request.file_by_filename), sent)
        elif kind == "file_containing_symbol":
            self._add(response, self._file_of(request.file_containing_symbol), sent)
        elif kind == "file_containing_extension":
            extendee = self._pool.FindMessageTypeByName(request.file_containing_extension.containing_type)
            number = request.file_containing_extension.extension_number
            self._add(response, self._file_of(self._pool.FindExtensionByNumber(extendee, number).full_name), sent)
        elif kind == "all_extension_numbers_of_type":
            extendee = self._pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
            answer = response.all_extension_numbers_response
            answer.base_type_name = extendee.full_name
            answer.extension_number.extend(self._extension_numbers(extendee))
        else:
            response.error_response.error_code = int(Code.INVALID_ARGUMENT)
            response.error_response.error_message = "the request asks nothing"

    def _extension_numbers(self, extendee: Descriptor) -> list[int]:
        return sorted(extension.number for extension in self._pool.FindAllExtensions(extendee))

    def _file_of(self, symbol: str) -> FileDescriptor:
        """Return the file that defines a message, enum, service, method or field."""
        name = symbol.replace("/", ".").strip(".")
        try:
            return self._pool.FindFileContainingSymbol(name)
        except KeyError:
            owner, _, member = name.rpartition(".")
            service = self._pool.FindServiceByName(owner)
            if member not in service.methods_by_name:
                raise _NotFoundError(symbol) from None
            return service.file

    def _add(self, response: pb.ServerReflectionResponse, file: FileDescriptor, sent: set[str]) -> None:
        """Put a file and what it imports into the answer, but nothing that this stream has had before."""
        files = [needed for needed in _with_imports(file, set()) if needed.name not in sent or needed is file]
        sent.update(needed.name for needed in files)
        response.file_descriptor_response.file_descriptor_proto.extend(needed.serialized_pb for needed in files)


def _with_imports(file: FileDescriptor, seen: set[str]) -> Iterator[FileDescriptor]:
    if file.name in seen:
        return
    seen.add(file.name)
    yield file
    for needed in file.dependencies:
        yield from _with_imports(needed, seen)
