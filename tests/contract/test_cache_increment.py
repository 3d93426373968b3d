"""CacheService.Increment, in a native and in a raw cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from support.contract import entry_key, milliseconds, refusal

if TYPE_CHECKING:
    from support.contract import Contract

MOST = 2**53 - 1
INT64_MOST, INT64_LEAST = 2**63 - 1, -(2**63)


def add(
    api: Contract,
    key: str,
    delta: int | None = None,
    *,
    cache: str = "plain",
    initial: int = 0,
    ttl_ms: int | None = None,
) -> pb.IncrementResponse:
    """Add to a counter."""
    ttl = None if ttl_ms is None else milliseconds(ttl_ms)
    return api.cache.Increment(pb.IncrementRequest(cache=cache, key=key, delta=delta, initial=initial, ttl=ttl))


def put(api: Contract, key: str, value: bytes, cache: str = "plain") -> pb.SetResponse:
    """Set the counter's text."""
    return api.cache.Set(pb.SetRequest(cache=cache, key=key, value=value))


def get(api: Contract, key: str, cache: str = "plain") -> pb.GetResponse:
    """Read the counter."""
    return api.cache.Get(pb.GetRequest(cache=cache, key=key))


@pytest.mark.parametrize("cache", ["plain", "shared"])
class TestEveryCounter:
    """What counters of both formats do."""

    def test_without_a_delta_it_adds_one(self, api: Contract, key: str, cache: str) -> None:
        """The delta's default is 1."""
        assert 1 == add(api, key, cache=cache).value

    def test_a_delta_of_zero_adds_nothing(self, api: Contract, key: str, cache: str) -> None:
        """An explicit 0 is not the default."""
        assert 0 == add(api, key, 0, cache=cache).value

    def test_a_new_counter_begins_at_initial(self, api: Contract, key: str, cache: str) -> None:
        """`initial` is the value before the addition."""
        assert 107 == add(api, key, 7, initial=100, cache=cache).value

    def test_initial_means_nothing_to_a_counter_that_is_there(self, api: Contract, key: str, cache: str) -> None:
        """An existing counter is only added to."""
        add(api, key, 1, cache=cache)
        assert 2 == add(api, key, 1, initial=100, cache=cache).value

    def test_a_negative_delta_takes_away(self, api: Contract, key: str, cache: str) -> None:
        """The sum may fall below zero."""
        add(api, key, 3, cache=cache)
        assert -7 == add(api, key, -10, cache=cache).value

    def test_the_value_is_decimal_text(self, api: Contract, key: str, cache: str) -> None:
        """Get returns the counter in decimal."""
        add(api, key, -42, cache=cache)
        assert b"-42" == get(api, key, cache).value

    def test_it_adds_to_decimal_text_that_was_set(self, api: Contract, key: str, cache: str) -> None:
        """A value that Set wrote can be incremented."""
        put(api, key, b"41", cache)
        assert 42 == add(api, key, cache=cache).value

    def test_a_new_counter_gets_the_ttl_asked_for(self, api: Contract, key: str, cache: str) -> None:
        """The TTL in the request is that of the new counter."""
        left = add(api, key, ttl_ms=5000, cache=cache).ttl.ToMilliseconds()
        assert 4900 <= left <= 5000

    def test_a_counter_that_is_there_keeps_its_ttl(self, api: Contract, key: str, cache: str) -> None:
        """A later TTL is not looked at."""
        add(api, key, ttl_ms=5000, cache=cache)
        left = add(api, key, ttl_ms=90_000, cache=cache).ttl.ToMilliseconds()
        assert 4000 < left <= 5000

    def test_concurrent_additions_are_all_counted(self, api: Contract, key: str, cache: str) -> None:
        """Each of 50 concurrent callers gets a sum of its own."""
        request = pb.IncrementRequest(cache=cache, key=key)
        asked = [api.cache.Increment.future(request) for _ in range(50)]
        assert list(range(1, 51)) == sorted(future.result().value for future in asked)

    @pytest.mark.parametrize("text", [b"", b"x", b"1.5", b"0x10", b"1e3", b" 1", b"1 ", b"+1", b"--1"])
    def test_what_is_no_integer_is_not_added_to(self, api: Contract, key: str, cache: str, text: bytes) -> None:
        """VALUE_NOT_INTEGER, and the value stays."""
        put(api, key, text, cache)
        refused = refusal(lambda: add(api, key, cache=cache))
        expected = (grpc.StatusCode.FAILED_PRECONDITION, "VALUE_NOT_INTEGER", "key")
        assert (expected, text) == (refused.brief, get(api, key, cache).value)


class TestNative:
    """Counters behind a header: versions, and what a double holds exactly."""

    def test_the_version_grows(self, api: Contract, key: str) -> None:
        """An addition is a write."""
        assert add(api, key).version < add(api, key).version

    def test_the_largest_counter_can_be_reached(self, api: Contract, key: str) -> None:
        """2^53-1 is within bounds."""
        assert MOST == add(api, key, MOST - 1, initial=1).value

    def test_the_least_counter_can_be_reached(self, api: Contract, key: str) -> None:
        """So is -(2^53-1)."""
        assert -MOST == add(api, key, -MOST).value

    @pytest.mark.parametrize("sign", [1, -1])
    def test_beyond_it_nothing_changes(self, api: Contract, key: str, sign: int) -> None:
        """One step further is COUNTER_OUT_OF_RANGE, and the counter stays."""
        add(api, key, sign * MOST)
        refused = refusal(lambda: add(api, key, sign))
        expected = (grpc.StatusCode.OUT_OF_RANGE, "COUNTER_OUT_OF_RANGE")
        assert (expected, b"%d" % (sign * MOST)) == ((refused.code, refused.reason), get(api, key).value)

    @pytest.mark.parametrize("field", ["delta", "initial"])
    def test_a_number_that_no_double_holds_is_refused(self, api: Contract, key: str, field: str) -> None:
        """A delta or initial value of 2^53 is at fault itself."""
        request = pb.IncrementRequest(cache="plain", key=key)
        setattr(request, field, MOST + 1)
        refused = refusal(lambda: api.cache.Increment(request))
        assert (grpc.StatusCode.OUT_OF_RANGE, "COUNTER_OUT_OF_RANGE", field) == refused.brief

    def test_a_stored_number_beyond_it_is_refused(self, api: Contract, key: str) -> None:
        """What Set wrote may be too large to count with."""
        put(api, key, b"9007199254740993")
        refused = refusal(lambda: add(api, key, -1))
        assert (grpc.StatusCode.OUT_OF_RANGE, "COUNTER_OUT_OF_RANGE") == (refused.code, refused.reason)

    def test_a_sealed_value_cannot_be_added_to(self, api: Contract, key: str) -> None:
        """A phi cache has no counters."""
        refused = refusal(lambda: add(api, key, cache="patients"))
        assert (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BY_CACHE", "cache") == refused.brief

    def test_a_counter_stays_an_entry_of_a_sidecar(self, api: Contract, key: str) -> None:
        """The key lives on with its TTL in the store."""
        add(api, key, ttl_ms=5000)
        add(api, key)
        assert 4000 < api.oracle.pttl(entry_key("plain", key)) <= 5000


class TestRaw:
    """Plain Redis counters."""

    @pytest.mark.parametrize(("start", "delta"), [(INT64_MOST - 1, 1), (INT64_LEAST + 1, -1), (0, INT64_LEAST)])
    def test_it_counts_in_64_bits(self, api: Contract, key: str, start: int, delta: int) -> None:
        """Every int64 is reached exactly."""
        assert start + delta == add(api, key, delta, initial=start, cache="shared").value

    def test_an_overflow_changes_nothing(self, api: Contract, key: str) -> None:
        """Beyond an int64 is COUNTER_OUT_OF_RANGE, and the counter stays."""
        add(api, key, 0, initial=INT64_MOST, cache="shared")
        refused = refusal(lambda: add(api, key, cache="shared"))
        expected = (grpc.StatusCode.OUT_OF_RANGE, "COUNTER_OUT_OF_RANGE", b"%d" % INT64_MOST)
        assert expected == (refused.code, refused.reason, api.oracle.get(f"shared:{key}"))

    def test_an_overflow_of_a_new_counter_makes_none(self, api: Contract, key: str) -> None:
        """A counter whose first addition fails is not left behind."""
        refusal(lambda: add(api, key, 1, initial=INT64_MOST, cache="shared"))
        assert 0 == api.oracle.exists(f"shared:{key}")

    def test_it_goes_on_from_another_programs_incr(self, api: Contract, key: str) -> None:
        """INCR by redis-py and Increment count the same counter."""
        api.oracle.incr(f"shared:{key}", 41)
        assert 42 == add(api, key, cache="shared").value

    def test_a_counter_that_never_expires_has_no_ttl(self, api: Contract, key: str) -> None:
        """A counter that another program made for ever stays so."""
        api.oracle.incr(f"shared:{key}")
        assert pb.IncrementResponse(value=2) == add(api, key, cache="shared", ttl_ms=1000)

    def test_it_has_no_version(self, api: Contract, key: str) -> None:
        """A raw cache keeps no versions."""
        assert 0 == add(api, key, cache="shared").version
