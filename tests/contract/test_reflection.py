"""Server reflection, both versions: enough for a tool to list, describe and call every method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha.reflection_pb2 import ExtensionRequest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest as Request
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionResponse as Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.contract import Contract

SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "sidecar.v1.CacheAdminService",
    "sidecar.v1.CacheService",
    "sidecar.v1.InvalidationService",
    "sidecar.v1.PipelineService",
    "sidecar.v1.RateLimitService",
    "sidecar.v1.RecordService",
]
CACHE_PROTO = "sidecar/v1/cache.proto"
NOT_FOUND, INVALID_ARGUMENT = 5, 3


@pytest.fixture(params=["v1", "v1alpha"])
def version(request: pytest.FixtureRequest) -> str:
    """Return each version of the protocol; their messages look the same on the wire."""
    return str(request.param)


def ask(api: Contract, version: str, *requests: Request) -> list[Response]:
    """Send requests on one stream and return the answers."""
    call = api.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=Request.SerializeToString,
        response_deserializer=Response.FromString,
    )
    return list(call(iter(requests), timeout=30))


def files_of(response: Response) -> list[descriptor_pb2.FileDescriptorProto]:
    """Return the files in an answer."""
    encoded: Sequence[bytes] = response.file_descriptor_response.file_descriptor_proto
    return [descriptor_pb2.FileDescriptorProto.FromString(file) for file in encoded]


class TestListing:
    """What is served."""

    def test_all_services_are_listed(self, api: Contract, version: str) -> None:
        """In the order of their names."""
        (answer,) = ask(api, version, Request(list_services=""))
        assert SERVICES == [service.name for service in answer.list_services_response.service]

    def test_the_answer_repeats_host_and_request(self, api: Contract, version: str) -> None:
        """As the protocol asks."""
        request = Request(host="example", list_services="x")
        (answer,) = ask(api, version, request)
        assert ("example", request) == (answer.valid_host, answer.original_request)

    def test_a_stream_takes_many_questions(self, api: Contract, version: str) -> None:
        """Each has its answer, in order."""
        answers = ask(
            api, version, Request(list_services=""), Request(file_by_filename="nope"), Request(list_services="")
        )
        expected = ["list_services_response", "error_response", "list_services_response"]
        assert expected == [answer.WhichOneof("message_response") for answer in answers]


class TestFiles:
    """What is described."""

    @pytest.mark.parametrize(
        "symbol",
        [
            "sidecar.v1.CacheService",
            "sidecar.v1.CacheService.Get",
            "sidecar.v1.CacheService/Get",
            "sidecar.v1.GetRequest",
            "sidecar.v1.GetManyResult",
            ".sidecar.v1.GetRequest",
        ],
    )
    def test_a_symbol_is_found_in_its_file(self, api: Contract, version: str, symbol: str) -> None:
        """A service, a method with a dot or a slash, a message."""
        (answer,) = ask(api, version, Request(file_containing_symbol=symbol))
        assert CACHE_PROTO == files_of(answer)[0].name

    @pytest.mark.parametrize(
        ("symbol", "file"),
        [
            ("sidecar.v1.Outcome", "sidecar/v1/common.proto"),
            ("sidecar.v1.ErrorReason", "sidecar/v1/error_reason.proto"),
            ("google.protobuf.Duration", "google/protobuf/duration.proto"),
            ("grpc.health.v1.Health", "grpc_health/v1/health.proto"),
        ],
    )
    def test_so_are_enums_and_what_others_define(self, api: Contract, version: str, symbol: str, file: str) -> None:
        """Every symbol that a message of the API refers to can be looked up."""
        (answer,) = ask(api, version, Request(file_containing_symbol=symbol))
        assert file.rpartition("/")[2] == files_of(answer)[0].name.rpartition("/")[2]

    @pytest.mark.parametrize("service", SERVICES)
    def test_every_service_that_is_listed_is_described(self, api: Contract, version: str, service: str) -> None:
        """Also reflection itself."""
        (answer,) = ask(api, version, Request(file_containing_symbol=service))
        file = files_of(answer)[0]
        assert service in [f"{file.package}.{described.name}" for described in file.service]

    def test_a_file_is_found_by_its_name(self, api: Contract, version: str) -> None:
        """The name that other files import it by."""
        (answer,) = ask(api, version, Request(file_by_filename=CACHE_PROTO))
        assert CACHE_PROTO == files_of(answer)[0].name

    def test_a_file_brings_what_it_imports(self, api: Contract, version: str) -> None:
        """One answer is complete."""
        (answer,) = ask(api, version, Request(file_by_filename=CACHE_PROTO))
        files = files_of(answer)
        imported = {name for file in files for name in file.dependency}
        assert set() == imported - {file.name for file in files}

    def test_a_file_is_sent_once_on_a_stream(self, api: Contract, version: str) -> None:
        """Imports that an earlier answer brought are left out."""
        first, second = ask(
            api, version, Request(file_by_filename=CACHE_PROTO), Request(file_by_filename="sidecar/v1/record.proto")
        )
        names = [file.name for answer in (first, second) for file in files_of(answer)]
        assert sorted(set(names)) == sorted(names)

    def test_what_was_asked_for_is_sent_again(self, api: Contract, version: str) -> None:
        """An answer is never empty."""
        answers = ask(api, version, *[Request(file_by_filename=CACHE_PROTO)] * 2)
        assert [CACHE_PROTO] * 2 == [files_of(answer)[0].name for answer in answers]

    def test_a_type_may_have_no_extensions(self, api: Contract, version: str) -> None:
        """An empty list is an answer."""
        (answer,) = ask(api, version, Request(all_extension_numbers_of_type="sidecar.v1.GetRequest"))
        numbers = answer.all_extension_numbers_response
        assert ("sidecar.v1.GetRequest", []) == (numbers.base_type_name, list(numbers.extension_number))


class TestErrors:
    """What cannot be answered; the stream goes on."""

    @pytest.mark.parametrize(
        "request_",
        [
            Request(file_containing_symbol="sidecar.v1.Nope"),
            Request(file_containing_symbol="sidecar.v1.CacheService.Nope"),
            Request(file_containing_symbol="nope"),
            Request(file_containing_symbol=""),
            Request(file_containing_symbol="é..//"),
            Request(file_by_filename="nope.proto"),
            Request(file_by_filename=""),
            Request(all_extension_numbers_of_type="nope"),
            Request(
                file_containing_extension=ExtensionRequest(containing_type="sidecar.v1.GetRequest", extension_number=1)
            ),
            Request(file_containing_extension=ExtensionRequest(containing_type="nope", extension_number=1)),
        ],
        ids=repr,
    )
    def test_what_does_not_exist_is_not_found(self, api: Contract, version: str, request_: Request) -> None:
        """The error is an answer of the protocol, not the end of the call."""
        (answer,) = ask(api, version, request_)
        assert NOT_FOUND == answer.error_response.error_code

    def test_a_request_of_nothing_is_invalid(self, api: Contract, version: str) -> None:
        """It asks nothing."""
        (answer,) = ask(api, version, Request())
        assert INVALID_ARGUMENT == answer.error_response.error_code


def test_a_client_without_protos_can_call(api: Contract, key: str, version: str) -> None:
    """What reflection sends is enough to build the messages of Set and Get, and to call them."""
    (answer,) = ask(api, version, Request(file_containing_symbol="sidecar.v1.CacheService.Get"))
    pool = descriptor_pool.DescriptorPool()
    pending = {file.name: file for file in files_of(answer)}
    while pending:
        name = next(name for name, file in pending.items() if not pending.keys() & set(file.dependency))
        pool.AddSerializedFile(pending.pop(name).SerializeToString())
    service = pool.FindServiceByName("sidecar.v1.CacheService")

    def call(method: str, **arguments: object) -> Any:
        described = service.methods_by_name[method]
        request, response = (message_factory.GetMessageClass(t) for t in (described.input_type, described.output_type))
        path = f"/{service.full_name}/{method}"
        return api.channel.unary_unary(path, request.SerializeToString, response.FromString)(request(**arguments))

    call("Set", cache="plain", key=key, value=b"dynamic")
    assert b"dynamic" == call("Get", cache="plain", key=key).value
