"""The reasons in the code, in the protocol and in its documentation are the same, and so are the outcomes."""

from __future__ import annotations

import re

import pytest
from sidecar_client.gen.sidecar.v1 import common_pb2, error_reason_pb2
from support.protos import comment_of

from sidecar.cache.policy import Outcome, WriteOutcome
from sidecar.call import Code
from sidecar.errors import Reason, SidecarError
from sidecar.gen.sidecar.v1.common_pb2 import Failure
from sidecar.rpc.convert import OUTCOMES, WRITE_OUTCOMES
from sidecar.rpc.status import CODES, fill_failure, to_status

PREFIX = "ERROR_REASON_"
REASONS = pytest.mark.parametrize("reason", list(Reason), ids=[reason.name for reason in Reason])


def test_code_and_protocol_have_the_same_reasons() -> None:
    """With the same numbers, and none is missing on either side."""
    published = {name.removeprefix(PREFIX): number for name, number in error_reason_pb2.ErrorReason.items() if number}
    assert {reason.name: reason.value for reason in Reason} == published


@REASONS
def test_every_reason_has_a_status_code(reason: Reason) -> None:
    """And none of them is OK."""
    assert CODES[reason] is not Code.OK


@REASONS
def test_the_documentation_names_that_code(reason: Reason) -> None:
    """The comment of each value begins with its name and the code that it comes with."""
    comment = comment_of("sidecar.v1.ErrorReason", PREFIX + reason.name)
    match = re.match(rf"{PREFIX}{reason.name} \((\w+)\): ", comment)
    assert CODES[reason].name == (match[1] if match else comment)


@REASONS
def test_an_item_of_a_batch_fails_with_the_same_code(reason: Reason) -> None:
    """A failure in a batch says what the single call would end with."""
    failure = Failure()
    fill_failure(failure, SidecarError(reason, "text"))
    expected = (int(to_status(SidecarError(reason, "text")).code), reason.value, "text")
    assert expected == (failure.code, failure.reason, failure.message)


def test_outcomes_have_the_protocols_numbers() -> None:
    """What a read found is called the same everywhere."""
    published = {name.removeprefix("OUTCOME_"): number for name, number in common_pb2.Outcome.items() if number}
    in_code = {outcome.name: outcome.value for outcome in Outcome}
    assert (published, published) == (in_code, {outcome.name: number for outcome, number in OUTCOMES.items()})


def test_write_outcomes_have_the_protocols_numbers() -> None:
    """And so is what a write did, which the scripts return as a number."""
    published = {
        name.removeprefix("WRITE_OUTCOME_"): number for name, number in common_pb2.WriteOutcome.items() if number
    }
    in_code = {outcome.name: outcome.value for outcome in WriteOutcome}
    assert (published, published) == (in_code, {outcome.name: number for outcome, number in WRITE_OUTCOMES.items()})


def test_codes_have_grpcs_numbers() -> None:
    """The status codes are those of gRPC."""
    grpc = pytest.importorskip("grpc")
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {code.name: code.value for code in Code}
