"""PipelineService.Execute: many operations in one message, each as if it had been a call of its own."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, error_reason_pb2
from sidecar_client.gen.sidecar.v1 import pipeline_pb2 as pb
from support.contract import entry_key, milliseconds, refusal
from support.operations import alone, check, delete, execute, get, increment, peek, reset, set_, touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.contract import Contract

APPLIED, NOT_FOUND = common_pb2.WRITE_OUTCOME_APPLIED, common_pb2.WRITE_OUTCOME_NOT_FOUND
HIT, MISS = common_pb2.OUTCOME_HIT, common_pb2.OUTCOME_MISS
# `limits.max_batch_keys` of the tests' configuration.
MOST = 20
# The TTL of the cache `stale`, and some.
_STALE_AFTER_SECONDS = 0.06
CACHES = pytest.mark.parametrize("cache", ["plain", "shared", "patients"])


def test_results_stand_in_the_order_of_the_operations(api: Contract, key: str) -> None:
    """Whatever kinds they are of, each result is of its operation's kind."""
    results = execute(api, check(key), get(key), set_(f"{key}-s", b"v"), increment(f"{key}-n"), peek(f"{key}-p"),
                      delete(f"{key}-d"), touch(f"{key}-t"), reset(f"{key}-r"))  # fmt: skip
    expected = ["check", "get", "set", "increment", "peek", "delete", "touch", "reset"]
    assert expected == [result.WhichOneof("result") for result in results]


@CACHES
def test_operations_on_one_key_take_effect_in_order(api: Contract, key: str, cache: str) -> None:
    """Each sees what the ones before it did, although all leave together."""
    results = execute(
        api, get(key, cache), set_(key, b"1", cache), get(key, cache), set_(key, b"2", cache), get(key, cache),
        delete(key, cache), get(key, cache), delete(key, cache),
    )  # fmt: skip
    assert [b"", b"1", b"2", b""] == [results[number].get.value for number in (0, 2, 4, 6)]
    assert [APPLIED, NOT_FOUND] == [results[number].delete.outcome for number in (5, 7)]


@pytest.mark.parametrize("cache", ["plain", "shared"])
def test_their_order_holds_when_the_store_has_forgotten_its_scripts(api: Contract, key: str, cache: str) -> None:
    """A script that has to be sent anew is not overtaken."""
    api.oracle.script_flush()
    results = execute(
        api, set_(key, b"5", cache), get(key, cache), increment(key, cache), get(key, cache), delete(key, cache),
        get(key, cache), increment(key, cache, initial=40),
    )  # fmt: skip
    assert [b"5", b"6", b""] == [results[number].get.value for number in (1, 3, 5)]
    assert [6, 41] == [results[number].increment.value for number in (2, 6)]


def test_a_limits_operations_take_effect_in_order(api: Contract, key: str) -> None:
    """The allowance is used up, given back, and used again."""
    api.oracle.script_flush()
    results = execute(api, check(key, 9), check(key, 2), peek(key), check(key), peek(key), reset(key), check(key, 10))
    assert [True, False, True] == [results[number].check.allowed for number in (0, 1, 3)]
    assert [(True, 1), (False, 0)] == [(results[n].peek.allowed, results[n].peek.remaining) for n in (2, 4)]
    assert (True, True) == (results[5].reset.existed, results[6].check.allowed)


class TestFailures:
    """One operation that fails does not touch the others, and says all that its own call would."""

    def test_the_others_are_carried_out(self, api: Contract, key: str) -> None:
        """Before it and after it."""
        results = execute(api, set_(key, b"v"), set_("", b"v"), get("", "nowhere"), get(key))
        kinds = [result.WhichOneof("result") for result in results]
        assert (["set", "failure", "failure", "get"], b"v") == (kinds, results[3].get.value)

    @pytest.mark.parametrize(
        "operation",
        [
            lambda key: get(key, "plian"),
            lambda key: get(key, "x" * 1000),
            lambda _key: get(""),
            lambda key: get(key * 20),
            lambda key: set_(key, b"x" * 40_000),
            lambda key: set_(key, b"v", ttl=milliseconds(0)),
            lambda key: set_(key, b"v", "bounded", ttl=milliseconds(1e9)),
            lambda key: set_(key, b"v", condition=common_pb2.Condition()),
            lambda key: set_(key, b"v", idempotency_key="k" * 129),
            lambda key: set_(key, b"v", "shared", condition=common_pb2.Condition(if_version=1)),
            lambda key: increment(key, "patients"),
            lambda key: increment(key, delta=2**60),
            lambda key: touch(key, "patients"),
            lambda key: check(key, 11),
            lambda key: check(key, policy="windwo"),
            lambda _key: peek(""),
            lambda key: reset(key, "nowhere"),
        ],
    )
    def test_a_failure_is_the_error_of_the_call_alone(
        self, api: Contract, key: str, operation: Callable[[str], pb.Operation]
    ) -> None:
        """Code, reason, message, field, metadata and all."""
        (result,) = execute(api, operation(key))
        assert alone(api, operation(key)) == result

    @pytest.mark.parametrize("made", [get, lambda key: set_(key, b"v"), delete, touch, increment])
    def test_so_is_what_the_store_says(self, api: Contract, key: str, made: Callable[[str], pb.Operation]) -> None:
        """A key that holds a list."""
        api.oracle.rpush(entry_key("plain", key), "item")
        (result,) = execute(api, made(key))
        assert (error_reason_pb2.ERROR_REASON_WRONG_TYPE, alone(api, made(key))) == (result.failure.reason, result)

    @pytest.mark.parametrize("number", [0, 2])
    def test_an_unset_operation_fails_alone(self, api: Contract, key: str, number: int) -> None:
        """At its path; one that a newer caller sent looks just so."""
        newer = pb.Operation.FromString(b"\x9a\x06\x00")  # field 99
        operations = [get(key), get(key)]
        operations.insert(number, newer)
        failure = execute(api, *operations)[number].failure
        expected = (grpc.StatusCode.INVALID_ARGUMENT.value[0], error_reason_pb2.ERROR_REASON_OPERATION_EMPTY)
        assert (*expected, f"operations[{number}]") == (failure.code, failure.reason, failure.field)


class TestIdempotency:
    """Keys that make writes safe to repeat."""

    def test_a_repeat_in_the_same_batch_has_the_same_answer(self, api: Contract, key: str) -> None:
        """The second one adds nothing."""
        once = increment(key, delta=5, idempotency_key="once")
        first, second, third = execute(api, once, once, increment(key, delta=1))
        assert (first, 6) == (second, third.increment.value)

    def test_a_call_of_its_own_repeats_it_too(self, api: Contract, key: str) -> None:
        """A batch's operation and a call are the same request."""
        once = increment(key, delta=5, idempotency_key="once")
        (first,) = execute(api, once)
        assert first == alone(api, once)


class TestSize:
    """How much a batch may hold."""

    def test_the_largest_is_taken(self, api: Contract) -> None:
        """`limits.max_batch_keys` operations."""
        assert [MISS] * MOST == [result.get.outcome for result in execute(api, *(get(api.key()) for _ in range(MOST)))]

    @pytest.mark.parametrize("size", [0, MOST + 1])
    def test_another_is_refused(self, api: Contract, size: int) -> None:
        """BATCH_SIZE at `operations`, with the bound, and nothing is done."""
        keys = [api.key() for _ in range(size)]
        refused = refusal(lambda: execute(api, *(set_(key, b"v") for key in keys)))
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "BATCH_SIZE", "operations")
        assert (expected, {"max_keys": str(MOST)}) == (refused.brief, refused.metadata)
        assert {} == (api.snapshot(keys[0]) if keys else {})

    @CACHES
    def test_an_answer_holds_what_fits_and_names_the_rest(self, api: Contract, key: str, cache: str) -> None:
        """Reads beyond the bound are failures of their own, writes are made."""
        limits = api.sidecar.settings.limits
        value = b"x" * (limits.max_value_bytes - 1000)
        execute(api, set_(key, value, cache))
        results = execute(api, *(get(key, cache) for _ in range(MOST - 1)), set_(f"{key}-after", b"v", cache))
        found = [result.get.outcome for result in results if result.HasField("get")]
        failed = {result.failure.reason for result in results if result.HasField("failure")}
        assert ({HIT}, {error_reason_pb2.ERROR_REASON_ANSWER_TOO_LARGE}) == (set(found), failed)
        assert (True, APPLIED) == (0 < len(found) < MOST - 1, results[-1].set.outcome)


def test_a_batch_counts_as_its_operations_do(api: Contract, key: str) -> None:
    """Hits, misses, allowed and denied: the domains count, not the service."""
    families: Any = api.sidecar._app._metrics.families
    reads, decisions = families["sidecar_cache_reads"].cells, families["sidecar_ratelimit_decisions"].cells

    def counted() -> tuple[int, ...]:
        cells = (reads["plain", "hit"], reads["plain", "miss"], reads["patients", "hit"])
        return (*(cell.value for cell in cells), *(decisions["window", word].value for word in ("allowed", "denied")))

    before = counted()
    execute(api, set_(key, b"v"), get(key), get(key), get(f"{key}-no"), set_(key, b"v", "patients"),
            get(key, "patients"), check(key, 8), check(key, 8), peek(key))  # fmt: skip
    assert (2, 1, 1, 1, 1) == tuple(now - then for now, then in zip(counted(), before, strict=True))


@pytest.mark.parametrize("cache", ["plain", "stale", "shared", "patients"])
def test_a_batch_of_reads_finds_what_each_would_find(api: Contract, key: str, cache: str) -> None:
    """Hits, misses, and failures of every kind, also where reads of one cache are planned together."""
    list_key = f"shared:{key}-list" if cache == "shared" else entry_key(cache, f"{key}-list")
    api.oracle.rpush(list_key, "item")
    if cache != "patients":
        api.oracle.set(entry_key(cache, f"{key}-foreign"), "not an entry")
    execute(api, set_(key, b"v", cache), set_(f"{key}-empty", b"", cache))
    if cache == "stale":
        time.sleep(_STALE_AFTER_SECONDS)  # no entry may turn stale between the two readings
    good = [get(key, cache), get(f"{key}-no", cache), get(f"{key}-empty", cache), get(f"{key}-list", cache),
            get(f"{key}-foreign", cache), get(key, cache)]  # fmt: skip
    for reads in (good, [*good, get("", cache), get(key * 20, cache)], [*good, get(key, "plian")], [get(key, "plian")]):
        expected = [alone(api, read) for read in reads]
        results = execute(api, *reads)
        assert [timeless(result) for result in expected] == [timeless(result) for result in results]


def test_a_batch_of_reads_counts_each(api: Contract, key: str) -> None:
    """Hits and misses; what failed is neither."""
    cells = cast("Any", api.sidecar)._app._metrics.families["sidecar_cache_reads"].cells
    counted = [cells["plain", outcome] for outcome in ("hit", "miss")]
    execute(api, set_(key, b"v"))
    api.oracle.rpush(entry_key("plain", f"{key}-list"), "item")
    before = [cell.value for cell in counted]
    execute(api, get(key), get(key), get(f"{key}-no"), get(f"{key}-list"))
    assert [2, 1] == [cell.value - then for cell, then in zip(counted, before, strict=True)]


# --- the same as one by one ---

KEYS = 3
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["get", "set", "set", "delete", "touch", "increment", "check", "peek", "reset"]),
        st.integers(0, KEYS - 1),
        st.sampled_from([b"", b"0", b"17", b"text", b"\x00\xff"]),
        st.sampled_from(["", "", "", "absent", "present"]),
        st.sampled_from(["", "", "", "once", "twice"]),
    ),
    min_size=1,
    max_size=MOST,
)
CONDITIONS = {
    "": None,
    "absent": common_pb2.Condition(if_absent=True),
    "present": common_pb2.Condition(if_present=True),
}


def made_of(step: tuple[str, int, bytes, str, str], keys: list[str], cache: str) -> pb.Operation:
    """Return one operation."""
    kind, number, value, condition, idempotency_key = step
    key = keys[number]
    asked = CONDITIONS[condition]
    makers: dict[str, Callable[[], pb.Operation]] = {
        "get": lambda: get(key, cache),
        "set": lambda: set_(key, value, cache, condition=asked, idempotency_key=idempotency_key),
        "delete": lambda: pb.Operation(
            delete=cache_pb2.DeleteRequest(cache=cache, key=key, condition=asked, idempotency_key=idempotency_key)
        ),
        "touch": lambda: touch(key, cache),
        "increment": lambda: increment(key, cache, delta=len(value), initial=10, idempotency_key=idempotency_key),
        "check": lambda: check(key, len(value)),
        "peek": lambda: peek(key),
        "reset": lambda: reset(key),
    }
    return makers[kind]()


def timeless(result: pb.OperationResult) -> pb.OperationResult:
    """Return a result without what depends on the moment: versions, tokens and times."""
    kind = result.WhichOneof("result") or ""
    answer = getattr(result, kind)
    for field in ("version", "token", "ttl", "age", "retry_after", "reset_after"):
        if field in answer.DESCRIPTOR.fields_by_name and kind != "failure":
            answer.ClearField(field)
    return result


@pytest.mark.parametrize("cache", ["plain", "shared", "patients"])
def test_a_batch_does_what_its_operations_do_one_by_one(api: Contract, cache: str) -> None:
    """Any batch, on keys of its own, has the results that the same calls have on other keys, and leaves the same."""

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(OPERATIONS)
    def agrees(steps: list[tuple[str, int, bytes, str, str]]) -> None:
        together = [uuid.uuid4().hex for _ in range(KEYS)]
        apart = [uuid.uuid4().hex for _ in range(KEYS)]
        results = execute(api, *(made_of(step, together, cache) for step in steps))
        expected = [alone(api, made_of(step, apart, cache)) for step in steps]
        assert [timeless(result) for result in expected] == [timeless(result) for result in results]
        left = [[timeless(alone(api, get(key, cache))) for key in keys] for keys in (apart, together)]
        assert left[0] == left[1]

    agrees()
