"""CacheService, GetOrLoad and Fill: one caller loads, the others wait, and nothing out of date is filled in."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from support.contract import Contract, entry_key, milliseconds, refusal
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import StoreServer

LOADED_HIT, LOADED_STALE, LEASE = pb.LOAD_OUTCOME_HIT, pb.LOAD_OUTCOME_STALE, pb.LOAD_OUTCOME_LEASE
WAIT, ABSENT = pb.LOAD_OUTCOME_WAIT, pb.LOAD_OUTCOME_ABSENT
GONE = (grpc.StatusCode.FAILED_PRECONDITION, "LEASE_UNKNOWN", "token")
NO_WAIT = milliseconds(0)
# Each voids the lease of who loads the entry.
OVERTAKING: dict[str, Callable[[Contract, str], object]] = {
    "set": lambda api, key: api.cache.Set(pb.SetRequest(cache="plain", key=key, value=b"newer")),
    "delete": lambda api, key: api.cache.Delete(pb.DeleteRequest(cache="plain", key=key)),
    "increment": lambda api, key: api.cache.Increment(pb.IncrementRequest(cache="plain", key=key)),
    "set_many": lambda api, key: api.cache.SetMany(
        pb.SetManyRequest(cache="plain", entries=[pb.SetManyEntry(key=key, value=b"newer")])
    ),
    "delete_many": lambda api, key: api.cache.DeleteMany(pb.DeleteManyRequest(cache="plain", keys=[key])),
}


def ask(api: Contract, cache: str, key: str, *, wait_ms: int | None = 0) -> pb.GetOrLoadResponse:
    """Ask for an entry; as the cache says, wait for `wait_ms` None."""
    wait = None if wait_ms is None else milliseconds(wait_ms)
    return api.cache.GetOrLoad(pb.GetOrLoadRequest(cache=cache, key=key, wait=wait))


def fill(api: Contract, cache: str, key: str, token: str, value: bytes = b"v") -> pb.FillResponse:
    """Fill in a value with the cache's own TTL."""
    return api.cache.Fill(pb.FillRequest(cache=cache, key=key, token=token, value=value))


def forget_data_keys(api: Contract, tenant: str) -> None:
    """Remove what the values of patients are sealed with; not what names them, so that they are still found."""
    for name in list(api.oracle.scan_iter(f"sc:{tenant}:k:{{patients:*")):
        if not name.endswith(b":names}"):
            api.oracle.delete(name)


class TestAsking:
    """Who is told what."""

    @pytest.mark.parametrize("cache", ["plain", "patients"])
    def test_the_first_loads_and_the_others_do_not(self, api: Contract, key: str, cache: str) -> None:
        """Until the value is there, which all then read."""
        first, second = ask(api, cache, key), ask(api, cache, key)
        assert (LEASE, 32, WAIT, "") == (first.outcome, len(first.token), second.outcome, second.token)
        filled = fill(api, cache, key, first.token)
        third = ask(api, cache, key)
        assert (LOADED_HIT, b"v", filled.version) == (third.outcome, third.entry.value, third.entry.version)

    def test_a_lease_says_how_long_it_lasts(self, api: Contract, key: str) -> None:
        """And so does the answer of those who may try again after it."""
        first, second = ask(api, "loaded_long", key), ask(api, "loaded_long", key)
        lasting_ms, left_ms = first.expires_after.ToMilliseconds(), second.retry_after.ToMilliseconds()
        assert (600_000, True) == (lasting_ms, 500_000 < left_ms <= 600_000)

    def test_a_lease_whose_holder_is_gone_goes_to_the_next(self, api: Contract, key: str) -> None:
        """After no more than the time it was given for."""
        first = ask(api, "loaded", key)
        second = ask(api, "loaded", key, wait_ms=None)
        assert (LEASE, False) == (second.outcome, first.token == second.token)

    def test_who_waits_has_the_value_once_it_is_filled_in(self, api: Contract, key: str) -> None:
        """All of them."""
        token = ask(api, "plain", key).token
        with ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(ask, api, "plain", key, wait_ms=None) for _ in range(20)]
            fill(api, "plain", key, token)
            answers = [each.result() for each in waiting]
        assert {(LOADED_HIT, b"v")} == {(answer.outcome, answer.entry.value) for answer in answers}

    def test_one_of_those_who_wait_loads_when_the_first_has_failed(self, api: Contract, key: str) -> None:
        """The others go on waiting."""
        token = ask(api, "plain", key).token
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(ask, api, "plain", key, wait_ms=1_000) for _ in range(4)]
            time.sleep(0.05)
            api.cache.Fill(pb.FillRequest(cache="plain", key=key, token=token, failed=True))
            outcomes = sorted(each.result().outcome for each in waiting)
        assert [LEASE, WAIT, WAIT, WAIT] == outcomes

    def test_a_wait_ends_before_the_deadline(self, api: Contract, key: str) -> None:
        """An answer that says what to do is worth more than none."""
        ask(api, "plain", key)
        request = pb.GetOrLoadRequest(cache="plain", key=key)
        assert WAIT == api.cache.GetOrLoad(request, timeout=4.0).outcome

    def test_stale_is_served_to_all_but_who_loads(self, api: Contract, key: str) -> None:
        """Who loads has it too, should the origin fail."""
        api.cache.Set(pb.SetRequest(cache="stale", key=key, value=b"old", ttl=milliseconds(1)))
        time.sleep(0.02)
        answers = [ask(api, "stale", key, wait_ms=None) for _ in range(3)]
        assert [(LEASE, b"old"), (LOADED_STALE, b"old"), (LOADED_STALE, b"old")] == [
            (answer.outcome, answer.entry.value) for answer in answers
        ]

    def test_a_failed_load_leaves_what_is_stale(self, api: Contract, key: str) -> None:
        """And the next may try."""
        api.cache.Set(pb.SetRequest(cache="stale", key=key, value=b"old", ttl=milliseconds(1)))
        time.sleep(0.02)
        token = ask(api, "stale", key).token
        api.cache.Fill(pb.FillRequest(cache="stale", key=key, token=token, failed=True))
        again = ask(api, "stale", key)
        assert (LEASE, b"old") == (again.outcome, again.entry.value)


def test_an_entry_whose_data_key_is_gone_is_loaded_anew(shared_store: StoreServer, engine: str) -> None:
    """It is there, but nobody can read it: not a sidecar that has not had the key before."""
    tenant = f"loads-{engine}"
    outcomes = []
    for _ in range(2):
        sidecar = RunningSidecar(shared_store.url, engine=engine, overrides={"tenant": tenant})
        sidecar.start()
        with Contract(sidecar, shared_store) as api:
            answer = ask(api, "patients", "k")
            fill(api, "patients", "k", answer.token)
            outcomes.append(answer.outcome)
            forget_data_keys(api, tenant)
        sidecar.stop()
    assert [LEASE, LEASE] == outcomes


def test_who_waits_for_what_nobody_could_read_has_it_once_it_is_loaded(shared_store: StoreServer, engine: str) -> None:
    """It is readable then, and nobody has to load it again."""
    tenant = f"unreadable-{engine}"
    sidecars = [RunningSidecar(shared_store.url, engine=engine, overrides={"tenant": tenant}) for _ in range(2)]
    for sidecar in sidecars:
        sidecar.start()
    with Contract(sidecars[0], shared_store) as before, Contract(sidecars[1], shared_store) as api:
        fill(before, "patients", "k", ask(before, "patients", "k").token)
        forget_data_keys(api, tenant)
        token = ask(api, "patients", "k").token
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, api, "patients", "k", wait_ms=2_000)
            time.sleep(0.1)
            fill(api, "patients", "k", token, b"new")
            answer = waiting.result()
    for sidecar in sidecars:
        sidecar.stop()
    assert (LOADED_HIT, b"new") == (answer.outcome, answer.entry.value)


def test_who_waits_keeps_nobody_out(shared_store: StoreServer, engine: str) -> None:
    """Not even when more wait than calls may be in flight; and a long wait does not lower that bound."""
    overrides = {"tenant": f"many-{engine}", "limits.max_concurrent_calls": 70}
    sidecar = RunningSidecar(shared_store.url, engine=engine, overrides=overrides)
    sidecar.start()
    with Contract(sidecar, shared_store) as api, ThreadPoolExecutor(80) as pool:
        token = ask(api, "plain", "k").token
        request = pb.GetOrLoadRequest(cache="plain", key="k", wait=milliseconds(2_000))
        waiting = [pool.submit(api.cache.GetOrLoad, request, timeout=1.0) for _ in range(80)]
        time.sleep(0.4)
        missed = api.cache.Get(pb.GetRequest(cache="plain", key="other")).outcome
        fill(api, "plain", "k", token)
        outcomes = {each.result().outcome for each in waiting}
        time.sleep(0.11)
        api.cache.Get(pb.GetRequest(cache="plain", key="other"))
        bound = sidecar._app._admission.bound
    sidecar.stop()
    assert (common_pb2.OUTCOME_MISS, {LOADED_HIT}, 70) == (missed, outcomes, bound)


class TestNothingThere:
    """What the origin does not have."""

    def test_it_is_remembered(self, api: Contract, key: str) -> None:
        """For as long as the cache says."""
        token = ask(api, "loaded", key).token
        api.cache.Fill(pb.FillRequest(cache="loaded", key=key, token=token, absent=True))
        answer = ask(api, "loaded", key)
        assert (ABSENT, True) == (answer.outcome, 50_000 < answer.expires_after.ToMilliseconds() <= 60_000)

    def test_it_is_not_where_the_cache_does_not_say_so(self, api: Contract, key: str) -> None:
        """The next asks the origin again."""
        token = ask(api, "plain", key).token
        api.cache.Fill(pb.FillRequest(cache="plain", key=key, token=token, absent=True))
        assert LEASE == ask(api, "plain", key).outcome

    def test_a_write_ends_it(self, api: Contract, key: str) -> None:
        """There is something now."""
        token = ask(api, "loaded", key).token
        api.cache.Fill(pb.FillRequest(cache="loaded", key=key, token=token, absent=True))
        api.cache.Set(pb.SetRequest(cache="loaded", key=key, value=b"v"))
        assert LOADED_HIT == ask(api, "loaded", key).outcome

    def test_what_is_stale_goes(self, api: Contract, key: str) -> None:
        """The origin has it no more."""
        api.cache.Set(pb.SetRequest(cache="stale", key=key, value=b"old", ttl=milliseconds(1)))
        time.sleep(0.02)
        token = ask(api, "stale", key).token
        api.cache.Fill(pb.FillRequest(cache="stale", key=key, token=token, absent=True))
        assert (LEASE, b"") == ((again := ask(api, "stale", key)).outcome, again.entry.value)


class TestFilling:
    """What is refused, and changes nothing."""

    @pytest.mark.parametrize("overtaking", OVERTAKING)
    def test_what_was_overtaken_is_not_filled_in(self, api: Contract, key: str, overtaking: str) -> None:
        """The load may have read the origin before the change."""
        token = ask(api, "plain", key).token
        OVERTAKING[overtaking](api, key)
        before = api.oracle.get(entry_key("plain", key))
        assert GONE == refusal(lambda: fill(api, "plain", key, token, b"older")).brief
        assert before == api.oracle.get(entry_key("plain", key))

    def test_a_write_whose_condition_did_not_hold_overtakes_nobody(self, api: Contract, key: str) -> None:
        """It has changed nothing."""
        token = ask(api, "plain", key).token
        condition = common_pb2.Condition(if_present=True)
        api.cache.Set(pb.SetRequest(cache="plain", key=key, value=b"newer", condition=condition))
        assert fill(api, "plain", key, token).version

    def test_a_late_one(self, api: Contract, key: str) -> None:
        """The lease has ended, and may be another's."""
        token = ask(api, "loaded", key).token
        time.sleep(0.32)
        assert GONE == refusal(lambda: fill(api, "loaded", key, token)).brief

    def test_a_second_one(self, api: Contract, key: str) -> None:
        """The first has ended the load."""
        token = ask(api, "plain", key).token
        fill(api, "plain", key, token)
        assert GONE == refusal(lambda: fill(api, "plain", key, token)).brief

    def test_a_forged_one(self, api: Contract, key: str) -> None:
        """Well made, but given to nobody: who has the lease keeps it, and nothing is filled in."""
        token = ask(api, "plain", key).token
        forged = f"{int(token, 16) ^ 1:032x}"
        assert [GONE] * 3 == [
            refusal(lambda: fill(api, "plain", key, forged)).brief,
            refusal(lambda: api.cache.Fill(pb.FillRequest(cache="plain", key=key, token=forged, failed=True))).brief,
            refusal(lambda: api.cache.Fill(pb.FillRequest(cache="plain", key=key, token=forged, absent=True))).brief,
        ]
        assert (WAIT, None) == (ask(api, "plain", key).outcome, api.oracle.get(entry_key("plain", key)))
        assert fill(api, "plain", key, token).version

    def test_one_for_another_key(self, api: Contract, key: str) -> None:
        """A token is good for the key that it was given for."""
        token = ask(api, "plain", key).token
        ask(api, "plain", key + "b")
        assert GONE == refusal(lambda: fill(api, "plain", key + "b", token)).brief

    @pytest.mark.parametrize("token", ["", "-", "a" * 31, "g" * 32, "A" * 32])
    def test_what_is_no_token(self, api: Contract, key: str, token: str) -> None:
        """Not even the mark of what is not there."""
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "TOKEN_MALFORMED", "token")
        assert expected == refusal(lambda: fill(api, "plain", key, token)).brief

    @pytest.mark.parametrize("request_of", [{}, {"absent": False}, {"failed": False}])
    def test_one_that_says_nothing(self, api: Contract, key: str, request_of: dict[str, bool]) -> None:
        """The lease stays."""
        token = ask(api, "plain", key).token
        request = pb.FillRequest(cache="plain", key=key, token=token, **request_of)  # type: ignore[arg-type]  # both bool
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "OPERATION_EMPTY", "result")
        assert (expected, WAIT) == (refusal(lambda: api.cache.Fill(request)).brief, ask(api, "plain", key).outcome)

    def test_too_long_a_ttl(self, api: Contract, key: str) -> None:
        """As of a Set; the lease stays."""
        token = ask(api, "bounded", key).token
        request = pb.FillRequest(cache="bounded", key=key, token=token, value=b"v", ttl=milliseconds(200_000))
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "TTL_TOO_LONG", "ttl")
        assert (expected, WAIT) == (refusal(lambda: api.cache.Fill(request)).brief, ask(api, "bounded", key).outcome)

    def test_a_raw_cache_knows_no_leases(self, api: Contract, key: str) -> None:
        """Other programs write it, too."""
        expected = (grpc.StatusCode.FAILED_PRECONDITION, "UNSUPPORTED_BY_CACHE", "cache")
        assert [expected] * 2 == [
            refusal(lambda: ask(api, "shared", key)).brief,
            refusal(lambda: fill(api, "shared", key, "a" * 32)).brief,
        ]


def ask_many(api: Contract, cache: str, keys: list[str], *, wait_ms: int = 0) -> list[pb.GetOrLoadResponse]:
    """Ask for several entries, none of which fails."""
    request = pb.GetOrLoadManyRequest(cache=cache, keys=keys, wait=milliseconds(wait_ms))
    results = api.cache.GetOrLoadMany(request).results
    assert keys == [result.key for result in results]
    return [result.loaded for result in results]


class TestMany:
    """Several entries at once."""

    @pytest.mark.parametrize("cache", ["plain", "patients", "both"])
    def test_each_is_answered_as_alone(self, api: Contract, key: str, cache: str) -> None:
        """What is there, what this caller is to load, what another loads; a key that is named twice, twice."""
        keys = [f"{key}:{number}" for number in range(3)]
        fill(api, cache, keys[0], ask(api, cache, keys[0]).token)
        ask(api, cache, keys[1])
        answers = ask_many(api, cache, [*keys, keys[2]], wait_ms=2_000)
        assert [LOADED_HIT, WAIT, LEASE, LEASE] == [answer.outcome for answer in answers]
        assert (b"v", answers[2].token) == (answers[0].entry.value, answers[3].token)
        assert fill(api, cache, keys[2], answers[2].token).version

    def test_who_has_nothing_to_load_waits(self, api: Contract, key: str) -> None:
        """Until all is there."""
        keys = [f"{key}:{number}" for number in range(3)]
        tokens = [answer.token for answer in ask_many(api, "plain", keys)]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask_many, api, "plain", keys, wait_ms=5_000)
            for one, token in zip(keys, tokens, strict=True):
                fill(api, "plain", one, token)
            answers = waiting.result()
        assert [(LOADED_HIT, b"v")] * 3 == [(answer.outcome, answer.entry.value) for answer in answers]

    def test_what_is_not_there_is_remembered(self, api: Contract, key: str) -> None:
        """As for one."""
        token = ask(api, "loaded", key).token
        api.cache.Fill(pb.FillRequest(cache="loaded", key=key, token=token, absent=True))
        assert [ABSENT, LEASE] == [answer.outcome for answer in ask_many(api, "loaded", [key, key + "b"])]

    def test_a_wrong_key_fails_the_batch(self, api: Contract, key: str) -> None:
        """As in GetMany; no lease is given."""
        request = pb.GetOrLoadManyRequest(cache="plain", keys=[key, ""])
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "KEY_EMPTY", "keys[1]")
        assert (expected, LEASE) == (
            refusal(lambda: api.cache.GetOrLoadMany(request)).brief,
            ask(api, "plain", key).outcome,
        )

    def test_too_many_keys(self, api: Contract, key: str) -> None:
        """As in GetMany."""
        request = pb.GetOrLoadManyRequest(cache="plain", keys=[f"{key}{number}" for number in range(21)])
        expected = (grpc.StatusCode.INVALID_ARGUMENT, "BATCH_SIZE", "keys")
        assert expected == refusal(lambda: api.cache.GetOrLoadMany(request)).brief


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "fill", "absent", "failed", "lapse", "set", "delete"]), st.integers(0, 2)),
    min_size=1,
    max_size=25,
)


class Run:
    """A sequence of what three callers do with one key, taken by the sidecar and by a model, which must agree."""

    def __init__(self, api: Contract) -> None:
        self._api = api
        self._key = api.key()
        self._tokens = ["0" * 32] * 3
        self._value: bytes | None = None
        self._holder: str | None = None
        self._number = 0
        self._nothing_there = False

    def take(self, step: Step) -> None:
        """Take one step."""
        operation, caller = step
        if operation == "ask":
            self._ask(caller)
        elif operation == "lapse":
            self._lapse()
        elif operation in {"set", "delete"}:
            self._overtake(operation)
        else:
            self._end(operation, self._tokens[caller])

    def _ask(self, caller: int) -> None:
        answer = self._api.cache.GetOrLoad(pb.GetOrLoadRequest(cache="loaded_long", key=self._key, wait=NO_WAIT))
        if self._value is not None:
            assert (LOADED_HIT, self._value) == (answer.outcome, answer.entry.value)
        elif self._nothing_there:
            assert ABSENT == answer.outcome
        elif self._holder is not None:
            assert WAIT == answer.outcome
        else:
            assert LEASE == answer.outcome
            self._tokens[caller] = self._holder = answer.token

    def _lapse(self) -> None:
        """Let the time pass after which a lease has ended."""
        if self._holder is not None:
            self._api.oracle.delete(f"sc:contract:f:{{loaded_long:{self._key}}}")
            self._holder = None

    def _overtake(self, operation: str) -> None:
        self._holder, self._nothing_there = None, False
        if operation == "set":
            self._value = self._fresh_value()
            self._api.cache.Set(pb.SetRequest(cache="loaded_long", key=self._key, value=self._value))
        else:
            self._value = None
            self._api.cache.Delete(pb.DeleteRequest(cache="loaded_long", key=self._key))

    def _end(self, operation: str, token: str) -> None:
        value = self._fresh_value()
        request = pb.FillRequest(
            cache="loaded_long",
            key=self._key,
            token=token,
            value=value if operation == "fill" else None,
            absent=True if operation == "absent" else None,
            failed=True if operation == "failed" else None,
        )
        if self._holder != token:
            assert GONE == refusal(lambda: self._api.cache.Fill(request)).brief
            return
        self._api.cache.Fill(request)
        self._holder = None
        if operation == "fill":
            self._value = value
        self._nothing_there = operation == "absent"

    def _fresh_value(self) -> bytes:
        self._number += 1
        return b"%d" % self._number


def test_every_sequence_does_what_the_model_does(api: Contract) -> None:
    """Whatever three callers do with one key, only who may load it fills it."""

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def agrees(steps: list[Step]) -> None:
        run = Run(api)
        for step in steps:
            run.take(step)

    agrees()
