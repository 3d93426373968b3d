"""Keys at which somebody else has put something: an error with a reason, and it stays as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from support.contract import TENANT, entry_key, refusal
from support.rpcs import LIMIT_RPCS, RECORD_RPCS, VALUE_RPCS, Rpc

if TYPE_CHECKING:
    from support.contract import Contract

FAILED = grpc.StatusCode.FAILED_PRECONDITION
SINGLE = [rpc for rpc in VALUE_RPCS if rpc.key_field == "key"]


def each(rpcs: list[Rpc]) -> pytest.MarkDecorator:
    """Run a test for each of these RPCs."""
    return pytest.mark.parametrize("rpc", rpcs, ids=[rpc.name for rpc in rpcs])


@each([*SINGLE, *RECORD_RPCS])
def test_a_list_is_of_the_wrong_type(api: Contract, key: str, rpc: Rpc) -> None:
    """WRONG_TYPE for values and records."""
    api.oracle.rpush(entry_key("plain", key), "item")
    before = api.snapshot(key)
    refused = refusal(lambda: rpc.call(api, "plain", key, None))
    assert ((FAILED, "WRONG_TYPE", "key"), before) == (refused.brief, api.snapshot(key))


@each(SINGLE)
def test_a_list_in_a_raw_cache_is_of_the_wrong_type(api: Contract, key: str, rpc: Rpc) -> None:
    """Other programs' lists are not overwritten, renewed or removed."""
    api.oracle.rpush(f"shared:{key}", "item")
    before = api.snapshot(key)
    refused = refusal(lambda: rpc.call(api, "shared", key, None))
    assert ((FAILED, "WRONG_TYPE", "key"), before) == (refused.brief, api.snapshot(key))


@each(SINGLE)
def test_a_record_is_of_the_wrong_type_for_a_value(api: Contract, key: str, rpc: Rpc) -> None:
    """A record where a value is wanted is an error, not a hit."""
    RECORD_RPCS[0].call(api, "plain", key, None)
    before = api.snapshot(key)
    refused = refusal(lambda: rpc.call(api, "plain", key, None))
    assert ((FAILED, "WRONG_TYPE", "key"), before) == (refused.brief, api.snapshot(key))


@each([rpc for rpc in SINGLE if rpc.name != "Delete"])
@pytest.mark.parametrize("text", [b"foreign", b"S\x01short", b"S\xff" + b"\0" * 24 + b"v"])
def test_a_foreign_string_is_malformed(api: Contract, key: str, rpc: Rpc, text: bytes) -> None:
    """ENTRY_MALFORMED for a value without header, with a part of one, or one of another format."""
    api.oracle.set(entry_key("plain", key), text)
    before = api.snapshot(key)
    refused = refusal(lambda: rpc.call(api, "plain", key, None))
    assert ((FAILED, "ENTRY_MALFORMED", "key"), before) == (refused.brief, api.snapshot(key))


def test_a_foreign_string_in_a_sealed_cache_is_malformed(api: Contract, key: str) -> None:
    """ENTRY_MALFORMED there, too."""
    rpc, before = SINGLE[1], api.names()
    rpc.call(api, "patients", key, None)
    (name,) = api.names() - before
    api.oracle.set(name, "foreign")
    refused = refusal(lambda: SINGLE[0].call(api, "patients", key, None))
    assert (FAILED, "ENTRY_MALFORMED", "key") == refused.brief


def _state_key(policy: str, key: str) -> str:
    letter = {"window": "w", "bucket": "t"}[policy]
    return f"sc:{TENANT}:l{letter}:{{{policy}:{key}}}"


@each([rpc for rpc in LIMIT_RPCS if rpc.name != "Reset"])
@pytest.mark.parametrize("policy", ["window", "bucket"])
class TestLimits:
    """States of rate limits."""

    def test_a_list_is_of_the_wrong_type(self, api: Contract, key: str, rpc: Rpc, policy: str) -> None:
        """WRONG_TYPE, and the list stays."""
        api.oracle.rpush(_state_key(policy, key), "item")
        before = api.snapshot(key)
        refused = refusal(lambda: rpc.call(api, policy, key, None))
        assert ((FAILED, "WRONG_TYPE", "key"), before) == (refused.brief, api.snapshot(key))

    def test_a_foreign_string_is_malformed(self, api: Contract, key: str, rpc: Rpc, policy: str) -> None:
        """ENTRY_MALFORMED, and the string stays."""
        api.oracle.set(_state_key(policy, key), "foreign")
        before = api.snapshot(key)
        refused = refusal(lambda: rpc.call(api, policy, key, None))
        assert ((FAILED, "ENTRY_MALFORMED", "key"), before) == (refused.brief, api.snapshot(key))
