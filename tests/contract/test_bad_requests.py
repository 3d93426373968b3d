"""What a request may not say, over every RPC: the code, the reason, the field at fault; and nothing has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from sidecar_client.gen.sidecar.v1 import cache_pb2, rate_limit_pb2, record_pb2
from sidecar_client.gen.sidecar.v1.common_pb2 import Condition
from sidecar_client.gen.sidecar.v1.record_pb2 import FieldValue
from support.contract import entry_key, milliseconds, refusal
from support.rpcs import ALL_RPCS, FIELDS, LIMIT_RPCS, RECORD_RPCS, TTL_RPCS, VALUE_RPCS, Rpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from support.contract import Contract

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
# `limits.max_value_bytes` of the tests' configuration.
MOST_BYTES = 32 * 1024
# 512 bytes of UTF-8 in 256 characters.
LONGEST_KEY = "é" * 256


def each(rpcs: Sequence[Rpc]) -> pytest.MarkDecorator:
    """Run a test for each of these RPCs."""
    return pytest.mark.parametrize("rpc", rpcs, ids=[rpc.name for rpc in rpcs])


def owner_of(rpc: Rpc) -> str:
    """Return a cache or policy that is configured."""
    return "window" if rpc in LIMIT_RPCS else "plain"


class TestNames:
    """Caches and policies that are not configured."""

    @each(ALL_RPCS)
    def test_an_unknown_name_is_not_found(self, api: Contract, key: str, rpc: Rpc) -> None:
        """NOT_FOUND, at the field that names it."""
        refused = refusal(lambda: rpc.call(api, "xyzzy", key, None))
        assert (NOT_FOUND, f"{rpc.owner.upper()}_UNKNOWN", rpc.owner_field) == refused.brief

    @each(ALL_RPCS)
    def test_the_nearest_name_is_suggested(self, api: Contract, key: str, rpc: Rpc) -> None:
        """A slip of the finger is told what was probably meant."""
        slip = "windwo" if rpc in LIMIT_RPCS else "plian"
        refused = refusal(lambda: rpc.call(api, slip, key, None))
        assert {rpc.owner: slip, "nearest": owner_of(rpc)} == refused.metadata

    @each(ALL_RPCS)
    def test_a_huge_name_is_cut(self, api: Contract, key: str, rpc: Rpc) -> None:
        """An error's metadata travel in a header, so a name of 100,000 letters is not repeated whole."""
        refused = refusal(lambda: rpc.call(api, "x" * 100_000, key, None))
        assert {rpc.owner: "x" * 64} == refused.metadata

    @each(ALL_RPCS)
    def test_an_empty_name_is_not_found(self, api: Contract, key: str, rpc: Rpc) -> None:
        """There is no default."""
        refused = refusal(lambda: rpc.call(api, "", key, None))
        assert (NOT_FOUND, f"{rpc.owner.upper()}_UNKNOWN", rpc.owner_field) == refused.brief

    @each(ALL_RPCS)
    def test_every_refusal_names_the_domain(self, api: Contract, key: str, rpc: Rpc) -> None:
        """`ErrorInfo.domain` says whose reasons these are."""
        assert "sidecar.v1" == refusal(lambda: rpc.call(api, "xyzzy", key, None)).domain


@each(ALL_RPCS)
class TestKeys:
    """Keys of a wrong length."""

    def test_an_empty_key_is_refused(self, api: Contract, rpc: Rpc) -> None:
        """KEY_EMPTY, at the path of the key."""
        refused = refusal(lambda: rpc.call(api, owner_of(rpc), "", None))
        assert (INVALID, "KEY_EMPTY", rpc.key_field) == refused.brief

    def test_513_bytes_are_refused(self, api: Contract, rpc: Rpc) -> None:
        """Bytes count, not characters; the refusal gives bound and size."""
        refused = refusal(lambda: rpc.call(api, owner_of(rpc), LONGEST_KEY + "x", None))
        expected = (INVALID, "KEY_TOO_LONG", rpc.key_field)
        assert (expected, {"max_bytes": "512", "actual_bytes": "513"}) == (refused.brief, refused.metadata)

    def test_the_refusal_does_not_repeat_the_key(self, api: Contract, rpc: Rpc) -> None:
        """A key may be protected, so no error holds one."""
        refused = refusal(lambda: rpc.call(api, owner_of(rpc), LONGEST_KEY + "x", None))
        assert "é" not in repr(refused)


@each([rpc for rpc in ALL_RPCS if rpc.name != "Fill"])  # which needs a lease
def test_512_bytes_are_taken(api: Contract, rpc: Rpc) -> None:
    """The longest key works everywhere."""
    api.oracle.delete(entry_key("plain", LONGEST_KEY))
    assert rpc.call(api, owner_of(rpc), LONGEST_KEY, None) is not None


class TestValues:
    """Values of a wrong length."""

    WRITES: tuple[tuple[str, Callable[[Contract, str, int], Any], str], ...] = (
        (
            "Set",
            lambda api, key, size: api.cache.Set(cache_pb2.SetRequest(cache="plain", key=key, value=b"x" * size)),
            "value",
        ),
        (
            "SetMany",
            lambda api, key, size: api.cache.SetMany(
                cache_pb2.SetManyRequest(cache="plain", entries=[cache_pb2.SetManyEntry(key=key, value=b"x" * size)])
            ),
            "entries[0].value",
        ),
        (
            # A field's name and the letter of its type count.
            "PutRecord",
            lambda api, key, size: api.records.PutRecord(
                record_pb2.PutRecordRequest(cache="plain", key=key, fields={"f": FieldValue(data=b"x" * (size - 2))})
            ),
            "fields",
        ),
        (
            "PatchRecord",
            lambda api, key, size: api.records.PatchRecord(
                record_pb2.PatchRecordRequest(cache="plain", key=key, fields={"f": FieldValue(data=b"x" * (size - 2))})
            ),
            "fields",
        ),
    )

    @pytest.mark.parametrize(("write", "field"), [write[1:] for write in WRITES], ids=[write[0] for write in WRITES])
    def test_one_byte_too_many_is_refused(
        self, api: Contract, key: str, write: Callable[[Contract, str, int], Any], field: str
    ) -> None:
        """VALUE_TOO_LARGE, with bound and size, and nothing is written."""
        refused = refusal(lambda: write(api, key, MOST_BYTES + 1))
        sizes = {"max_bytes": str(MOST_BYTES), "actual_bytes": str(MOST_BYTES + 1)}
        assert ((INVALID, "VALUE_TOO_LARGE", field), sizes, {}) == (
            refused.brief,
            refused.metadata,
            api.snapshot(key),
        )

    @pytest.mark.parametrize("write", [write[1] for write in WRITES], ids=[write[0] for write in WRITES])
    def test_the_largest_value_is_taken(
        self, api: Contract, key: str, write: Callable[[Contract, str, int], Any]
    ) -> None:
        """The bound itself is allowed."""
        assert write(api, key, MOST_BYTES) is not None


@each(TTL_RPCS)
class TestTtls:
    """TTLs that are none."""

    @pytest.mark.parametrize(
        "ttl",
        [Duration(), milliseconds(0.999), milliseconds(-0.5), milliseconds(-1000), Duration(seconds=-(2**60))],
        ids=["zero", "below a millisecond", "a negative part", "negative", "far below zero"],
    )
    def test_one_that_is_not_positive_is_refused(self, api: Contract, key: str, rpc: Rpc, ttl: Duration) -> None:
        """TTL_NOT_POSITIVE, and what is there stays as it is."""
        prepare(api, rpc, "plain", key)
        before = api.snapshot(key)
        refused = refusal(lambda: rpc.call(api, "plain", key, ttl))
        assert ((INVALID, "TTL_NOT_POSITIVE", rpc.ttl_field), before) == (refused.brief, api.snapshot(key))

    @pytest.mark.parametrize(
        ("cache", "bound"),
        [
            ("bounded", (milliseconds(120_001), 120_000)),
            ("plain", (Duration(seconds=2**60), 10 * 365 * 86_400_000)),
        ],
        ids=["max_ttl", "ten years"],
    )
    def test_one_above_the_bound_is_refused(
        self, api: Contract, key: str, rpc: Rpc, cache: str, bound: tuple[Duration, int]
    ) -> None:
        """TTL_TOO_LONG, with the bound, and what is there stays as it is."""
        ttl, most = bound
        prepare(api, rpc, cache, key)
        before = api.snapshot(key)
        refused = refusal(lambda: rpc.call(api, cache, key, ttl))
        expected = (INVALID, "TTL_TOO_LONG", rpc.ttl_field)
        assert (expected, {"max_ttl_ms": str(most)}, before) == (refused.brief, refused.metadata, api.snapshot(key))


def prepare(api: Contract, rpc: Rpc, cache: str, key: str) -> None:
    """Put what the RPC would change."""
    if rpc in RECORD_RPCS:
        api.records.PutRecord(record_pb2.PutRecordRequest(cache=cache, key=key, fields=FIELDS))
    elif rpc in VALUE_RPCS:
        api.cache.Set(cache_pb2.SetRequest(cache=cache, key=key, value=b"1"))


NOTHING = {
    "empty": Condition(),
    "if_absent: false": Condition(if_absent=False),
    "if_present: false": Condition(if_present=False),
}


class TestConditions:
    """Conditions that say nothing, or nothing that could hold."""

    CONDITIONAL: tuple[tuple[str, Callable[[Contract, str, Condition], Any], str], ...] = (
        (
            "Set",
            lambda api, key, condition: api.cache.Set(
                cache_pb2.SetRequest(cache="plain", key=key, condition=condition)
            ),
            "condition",
        ),
        (
            "SetMany",
            lambda api, key, condition: api.cache.SetMany(
                cache_pb2.SetManyRequest(
                    cache="plain",
                    entries=[
                        cache_pb2.SetManyEntry(key=f"{key}-a"),
                        cache_pb2.SetManyEntry(key=key, condition=condition),
                    ],
                )
            ),
            "entries[1].condition",
        ),
        (
            "PutRecord",
            lambda api, key, condition: api.records.PutRecord(
                record_pb2.PutRecordRequest(cache="plain", key=key, fields=FIELDS, condition=condition)
            ),
            "condition",
        ),
    )
    CHANGING: tuple[tuple[str, Callable[[Contract, str, Condition], Any], str], ...] = (
        (
            "Delete",
            lambda api, key, condition: api.cache.Delete(
                cache_pb2.DeleteRequest(cache="plain", key=key, condition=condition)
            ),
            "condition",
        ),
        (
            "PatchRecord",
            lambda api, key, condition: api.records.PatchRecord(
                record_pb2.PatchRecordRequest(cache="plain", key=key, fields=FIELDS, condition=condition)
            ),
            "condition",
        ),
        (
            "DeleteRecord",
            lambda api, key, condition: api.records.DeleteRecord(
                record_pb2.DeleteRecordRequest(cache="plain", key=key, condition=condition)
            ),
            "condition",
        ),
    )

    @pytest.mark.parametrize("condition", NOTHING.values(), ids=NOTHING.keys())
    @pytest.mark.parametrize(
        ("call", "field"), [row[1:] for row in (*CONDITIONAL, *CHANGING)], ids=[r[0] for r in (*CONDITIONAL, *CHANGING)]
    )
    def test_one_that_says_nothing_is_refused(
        self, api: Contract, key: str, call: Callable[[Contract, str, Condition], Any], field: str, condition: Condition
    ) -> None:
        """CONDITION_EMPTY: what was meant cannot be told. Nothing is written."""
        refused = refusal(lambda: call(api, key, condition))
        assert ((INVALID, "CONDITION_EMPTY", field), {}) == (refused.brief, api.snapshot(key))

    @pytest.mark.parametrize(("call", "field"), [row[1:] for row in CHANGING], ids=[row[0] for row in CHANGING])
    def test_changing_what_must_not_be_there_is_refused(
        self, api: Contract, key: str, call: Callable[[Contract, str, Condition], Any], field: str
    ) -> None:
        """if_absent makes no sense for a removal or a patch."""
        refused = refusal(lambda: call(api, key, Condition(if_absent=True)))
        assert (INVALID, "CONDITION_EMPTY", field) == refused.brief


@pytest.mark.parametrize(
    ("policy", "limit"),
    [("window", 10), ("bucket", 20), ("gcra", 15), ("log", 8), ("fixed", 30), ("yearly", 5), ("several", 4)],
)
class TestCosts:
    """Costs that no wait could pay."""

    def test_check_above_the_limit_is_refused(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """COST_ABOVE_LIMIT, with the limit, and nothing is taken."""
        request = rate_limit_pb2.CheckRequest(policy=policy, key=key, cost=limit + 1)
        refused = refusal(lambda: api.limits.Check(request))
        expected = (INVALID, "COST_ABOVE_LIMIT", "cost")
        assert (expected, {"limit": str(limit)}, {}) == (refused.brief, refused.metadata, api.snapshot(key))

    def test_peek_above_the_limit_is_refused(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """Peek says what Check would."""
        request = rate_limit_pb2.PeekRequest(policy=policy, key=key, cost=limit + 1)
        assert (INVALID, "COST_ABOVE_LIMIT", "cost") == refusal(lambda: api.limits.Peek(request)).brief

    def test_the_largest_number_is_refused(self, api: Contract, key: str, policy: str, limit: int) -> None:
        """2^32-1 as well."""
        request = rate_limit_pb2.CheckRequest(policy=policy, key=key, cost=2**32 - 1)
        refused = refusal(lambda: api.limits.Check(request))
        assert ("COST_ABOVE_LIMIT", str(limit)) == (refused.reason, refused.metadata["limit"])
