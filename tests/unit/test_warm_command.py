"""`sidecar cache warm`: what it sends and what it shows, against a service that tells of a warming."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidecar_client.gen.sidecar.v1 import cache_admin_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2

from sidecar.cli import main
from sidecar.warm_command import bar, parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Told:
    """Tells that each key was loaded, but for those that begin with an x."""

    def __init__(self) -> None:
        self.requests: list[pb.WarmRequest] = []

    def warm(self, request: pb.WarmRequest, context: Any) -> Iterator[pb.WarmResponse]:
        """Tell how far it is."""
        self.requests.append(request)
        if request.cache == "gone":
            yield pb.WarmResponse(total=9, loaded=4)
            context.abort(grpc.StatusCode.UNAVAILABLE, "the origin is gone")
        failed = [key for key in request.keys if key.startswith("x")]
        total = len(request.keys)
        yield pb.WarmResponse(total=total)
        failure = common_pb2.Failure(message="it is none")
        yield pb.WarmResponse(
            total=total,
            loaded=total - len(failed),
            failed=len(failed),
            failures=[pb.WarmFailure(key=key, failure=failure) for key in failed[:2]],
            cut=request.query,
            processes=3 if request.from_cache else 0,
        )


@pytest.fixture
def told() -> Told:
    """Return the service."""
    return Told()


@pytest.fixture
def address(told: Told) -> Iterator[str]:
    """Return where it is served."""
    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_stream_rpc_method_handler(
        told.warm,
        request_deserializer=pb.WarmRequest.FromString,
        response_serializer=pb.WarmResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("sidecar.v1.CacheAdminService", {"Warm": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def warm(address: str, *arguments: str) -> int:
    """Run the command, and return its exit code."""
    return main(["cache", "warm", "--address", address, *arguments])


def test_a_file_is_loaded_in_parts(
    told: Told, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key a line, each once; the parts are one to whoever reads what came of it."""
    file = tmp_path / "keys.txt"
    file.write_text("".join(f"k{number}\n" for number in range(12_000)) + "k7\r\n\n")
    assert 0 == warm(address, "c", "--file", str(file), "--rate", "300")
    assert [5_000, 5_000, 2_000] == [len(request.keys) for request in told.requests]
    assert {300} == {request.rate for request in told.requests}
    output = capsys.readouterr()
    assert ("c: 12000 loaded, 0 there already, 0 not at the origin, 0 failed\n", "") == (output.out, output.err)


def test_failed_keys_are_listed(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are named, and how many are not; the exit code is 2."""
    assert 2 == warm(address, "c", "--key", "a", "--key", "x1", "--key", "x2", "--key", "x3", "--json")
    output = capsys.readouterr()
    said = {"loaded": 1, "present": 0, "absent": 0, "failed": 3, "cut": False, "processes": 0}
    assert said == json.loads(output.out)
    assert ["x1: it is none", "x2: it is none", "and 1 more"] == output.err.splitlines()


def test_what_is_configured_needs_no_key(told: Told, address: str) -> None:
    """The sidecar knows them."""
    assert 0 == warm(address, "c", "--configured")
    assert [pb.WarmRequest(cache="c", configured=True)] == told.requests


def test_what_ends_it_is_said(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, with exit code 2."""
    assert 2 == warm(address, "gone", "--key", "k")
    said = "gone: until then: 4 loaded, 0 there already, 0 not at the origin, 0 failed\n"
    assert (said, f"{address}: UNAVAILABLE: the origin is gone\n") == tuple(capsys.readouterr())


def test_what_the_sidecar_finds_out_needs_no_key(told: Told, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A query, and another cache's hot keys; it is said if there were more, and who counted."""
    assert 0 == warm(address, "c", "--query", "--limit", "7")
    assert 0 == warm(address, "c", "--from-cache", "hot")
    asked = [pb.WarmRequest(cache="c", query=True, limit=7), pb.WarmRequest(cache="c", from_cache="hot")]
    assert asked == told.requests
    nothing = "c: 0 loaded, 0 there already, 0 not at the origin, 0 failed"
    assert [
        f"{nothing}; there were more than the limit",
        f"{nothing}; hot keys as counted by 3 processes",
    ] == capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("option", ["--rate", "--limit"])
def test_a_number_out_of_range_is_said(capsys: pytest.CaptureFixture[str], option: str) -> None:
    """Without calling anybody."""
    assert 2 == warm("127.0.0.1:1", "c", "--key", "k", option, "-1")
    said = f"sidecar cache warm: {option}: must be a whole number of keys, such as 500\n"
    assert said == capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file or directory"), (b"\n", "holds no key"), (b"\xff", "is no UTF-8")]
)
def test_a_file_of_no_keys_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    """Without calling anybody."""
    file = tmp_path / "keys.txt"
    if content is not None:
        file.write_bytes(content)
    assert 2 == warm("127.0.0.1:1", "c", "--file", str(file))
    assert f"{file}: {said}\n" == capsys.readouterr().err


@given(st.lists(st.text(max_size=3), max_size=30))
def test_parts_hold_all_keys_once(keys: list[str]) -> None:
    """In their order."""
    assert list(dict.fromkeys(keys)) == [key for part in parts(keys) for key in part]


def test_parts_fit_into_a_message() -> None:
    """By the length of their keys too."""
    assert [4, 1] == [len(part) for part in parts([f"{number}" + "k" * 250_000 for number in range(5)])]


def test_a_bar_shows_how_much_is_done() -> None:
    """From nothing to all; nothing to do is done."""
    assert "[###.......]  33%  1/3" == bar(1, 3, 10)
    assert "[..........]   0%  0/3" == bar(0, 3, 10)
    assert "[##########] 100%  0/0" == bar(0, 0, 10)
