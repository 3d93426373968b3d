"""What a failed call raises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
import sidecar_client
from played_sidecar import Refusal
from sidecar_client import (
    BatchError,
    DataLossError,
    DeadlineExceededError,
    ExhaustedError,
    InternalError,
    InvalidRequestError,
    NotConfiguredError,
    OutcomeUnknownError,
    OverloadedError,
    PreconditionError,
    SidecarError,
    UnavailableError,
)
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, error_reason_pb2

if TYPE_CHECKING:
    from played_sidecar import Play
    from sidecar_client import SidecarClient

Code = grpc.StatusCode


async def failure(play: Play, sidecar: SidecarClient, refusal: Refusal) -> SidecarError:
    """Return what a write raises that the sidecar refuses so."""
    play.answer(refusal)
    with pytest.raises(SidecarError) as caught:
        await sidecar.cache("balances").set("k", b"v")
    return caught.value


async def test_nobody_listens() -> None:
    """An address without a sidecar is said to be one, with the reason and without gRPC's own words."""
    once = sidecar_client.RetryPolicy(max_attempts=1)
    async with sidecar_client.SidecarClient("127.0.0.1:1", retries=once) as sidecar:
        with pytest.raises(UnavailableError) as caught:
            await sidecar.cache("balances").get("k")
    said = "no sidecar can be reached at the client's address (connection refused); is it running there?"
    assert said == caught.value.message


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (Code.INVALID_ARGUMENT, "KEY_EMPTY", InvalidRequestError),
        (Code.NOT_FOUND, "CACHE_UNKNOWN", NotConfiguredError),
        (Code.FAILED_PRECONDITION, "WRONG_TYPE", PreconditionError),
        (Code.OUT_OF_RANGE, "COUNTER_OUT_OF_RANGE", PreconditionError),
        (Code.UNAVAILABLE, "STORE_UNAVAILABLE", UnavailableError),
        (Code.RESOURCE_EXHAUSTED, "STORE_OUT_OF_MEMORY", ExhaustedError),
        (Code.RESOURCE_EXHAUSTED, "OVERLOADED", OverloadedError),
        (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", DeadlineExceededError),
        (Code.UNKNOWN, "OUTCOME_UNKNOWN", OutcomeUnknownError),
        (Code.DATA_LOSS, "CIPHERTEXT_REJECTED", DataLossError),
        (Code.INTERNAL, "STORE_ERROR", InternalError),
        (Code.UNIMPLEMENTED, "METHOD_UNKNOWN", SidecarError),
    ],
)
async def test_code_and_reason_choose_the_class(
    play: Play, sidecar: SidecarClient, code: grpc.StatusCode, reason: str, expected: type[SidecarError]
) -> None:
    """The class follows the status code, and the reason where it says more."""
    error = await failure(play, sidecar, Refusal(code=code, reason=reason))
    assert (expected, code, reason) == (type(error), error.code, error.reason)


async def test_an_error_carries_what_the_sidecar_said(play: Play, sidecar: SidecarClient) -> None:
    """Field, particulars, wait and message come from the status details."""
    error = await failure(
        play,
        sidecar,
        Refusal(
            code=Code.INVALID_ARGUMENT,
            reason="TTL_TOO_LONG",
            message="the TTL is above the cache's max_ttl",
            metadata={"max_ttl_ms": "900000"},
            violated="ttl",
            retry_after_ms=1500,
        ),
    )
    assert ("ttl", {"max_ttl_ms": "900000"}, timedelta(seconds=1.5)) == (error.field, error.metadata, error.retry_after)
    assert str(error) == "TTL_TOO_LONG: the TTL is above the cache's max_ttl"


async def test_an_error_without_details_is_named_after_its_code(play: Play, sidecar: SidecarClient) -> None:
    """`reason` is never empty, though only the sidecar sends one."""
    error = await failure(play, sidecar, Refusal(code=Code.INTERNAL))
    assert (error.reason, error.field, error.retry_after, error.metadata) == ("INTERNAL", None, None, {})


async def test_another_domains_reason_is_not_taken(play: Play, sidecar: SidecarClient) -> None:
    """A proxy may send an ErrorInfo of its own; its words are not of this catalogue."""
    refusal = Refusal(code=Code.UNAVAILABLE, reason="OUTCOME_UNKNOWN", domain="proxy.test")
    error = await failure(play, sidecar, refusal)
    assert (UnavailableError, "UNAVAILABLE") == (type(error), error.reason)


async def test_undecodable_details_are_left_aside(play: Play, sidecar: SidecarClient) -> None:
    """The status code still tells."""
    error = await failure(play, sidecar, Refusal(code=Code.NOT_FOUND, trailer=b"\xff\xff\xff"))
    assert (NotConfiguredError, "NOT_FOUND") == (type(error), error.reason)


async def test_the_grpc_error_is_the_cause(play: Play, sidecar: SidecarClient) -> None:
    """A traceback shows what came over the wire."""
    error = await failure(play, sidecar, Refusal(code=Code.INTERNAL))
    assert isinstance(error.__cause__, grpc.aio.AioRpcError)


async def test_a_batch_with_failed_items_raises_them_with_the_rest(play: Play, sidecar: SidecarClient) -> None:
    """No failure is overlooked, and no result lost."""
    play.answer(
        cache_pb2.GetManyResponse(
            results=[
                cache_pb2.GetManyResult(
                    key="a", entry=cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_HIT, value=b"1")
                ),
                cache_pb2.GetManyResult(
                    key="b",
                    failure=common_pb2.Failure(
                        code=9, reason=error_reason_pb2.ERROR_REASON_WRONG_TYPE, message="it is a record"
                    ),
                ),
            ]
        )
    )
    with pytest.raises(BatchError) as caught:
        await sidecar.cache("balances").get_many(["a", "b"])
    assert {key: error.reason for key, error in caught.value.failures.items()} == {"b": "WRONG_TYPE"}
    assert caught.value.results["a"].value == b"1"
    assert str(caught.value) == "WRONG_TYPE: 1 of 2 items failed, the first with: it is a record"


async def test_an_items_failure_has_its_class(play: Play, sidecar: SidecarClient) -> None:
    """An item fails as the single call would have."""
    failed = common_pb2.Failure(code=2, reason=error_reason_pb2.ERROR_REASON_OUTCOME_UNKNOWN, message="who knows")
    play.answer(cache_pb2.DeleteManyResponse(results=[cache_pb2.DeleteManyResult(key="a", failure=failed)]))
    with pytest.raises(BatchError) as caught:
        await sidecar.cache("balances").delete_many(["a"])
    assert isinstance(caught.value.failures["a"], OutcomeUnknownError)


async def test_an_unknown_reason_of_an_item_keeps_its_code(play: Play, sidecar: SidecarClient) -> None:
    """A newer sidecar may know reasons that this client does not."""
    failed = common_pb2.Failure(code=3, reason=9999, message="new")  # type: ignore[arg-type]
    play.answer(cache_pb2.SetManyResponse(results=[cache_pb2.SetManyResult(key="a", failure=failed)]))
    with pytest.raises(BatchError) as caught:
        await sidecar.cache("balances").set_many({"a": b"1"})
    error = caught.value.failures["a"]
    assert (InvalidRequestError, "INVALID_ARGUMENT") == (type(error), error.reason)
