"""Random sequences of CacheService's operations against a model: a dictionary, and versions that only grow.

The model knows no time: the TTLs are longer than any test. It has three keys, so that operations meet. What it cannot
know is the number of a new version; it takes that from the answer and demands that it is greater than all before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.contract import Contract

APPLIED = common_pb2.WRITE_OUTCOME_APPLIED
NOT_MET = common_pb2.WRITE_OUTCOME_CONDITION_NOT_MET
NOT_FOUND = common_pb2.WRITE_OUTCOME_NOT_FOUND
HIT, MISS = common_pb2.OUTCOME_HIT, common_pb2.OUTCOME_MISS

# What a step of a sequence is: an operation, a key's number, a condition, and a value.
Step = tuple[str, int, str, bytes]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["get", "set", "set", "delete", "touch", "increment", "get_many", "set_many"]),
        st.integers(0, 2),
        st.sampled_from(["", "", "absent", "present", "current", "old"]),
        st.sampled_from([b"", b"0", b"17", b"-3", b"text", b"\x00\xff"]),
    ),
    min_size=1,
    max_size=25,
)


@dataclass
class Model:
    """What one cache ought to hold."""

    versioned: bool
    values: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)

    def holds(self, condition: str, key: str) -> bool:
        """Say whether a condition is true of a key."""
        return {
            "": True,
            "absent": key not in self.values,
            "present": key in self.values,
            "current": key in self.values,
            "old": False,
        }[condition]

    def write(self, key: str, value: bytes, version: int) -> None:
        """Take in a write that was applied; its version must be a new one."""
        if self.versioned:
            assert version > self.newest.get(key, 0)
        else:
            assert 0 == version
        self.values[key] = value
        self.versions[key] = self.newest[key] = version


class Run:
    """One sequence: each step is taken by the sidecar and by the model, which must agree."""

    def __init__(self, api: Contract, cache: str) -> None:
        self._api = api
        self._cache = cache
        self._model = Model(versioned=cache != "shared")
        self._keys = [api.key() for _ in range(3)]

    def take(self, step: Step) -> None:
        """Take one step."""
        operation, number, condition, value = step
        if self._cache == "shared" and condition in {"current", "old"}:
            condition = ""
        taken: dict[str, Callable[[str, str, bytes], None]] = {
            "get": lambda key, _condition, _value: self._get(key),
            "set": self._set,
            "delete": lambda key, condition, _value: self._delete(key, condition),
            "touch": lambda key, _condition, _value: self._touch(key),
            "increment": lambda key, _condition, _value: self._increment(key),
            "get_many": lambda _key, _condition, _value: self._get_many(),
            "set_many": lambda key, _condition, value: self._set_many(key, value),
        }
        taken[operation](self._keys[number], condition, value)

    def _get(self, key: str) -> None:
        self._check_found(key, self._api.cache.Get(pb.GetRequest(cache=self._cache, key=key)))

    def _get_many(self) -> None:
        results = self._api.cache.GetMany(pb.GetManyRequest(cache=self._cache, keys=self._keys)).results
        for key, result in zip(self._keys, results, strict=True):
            self._check_found(key, result.entry)

    def _check_found(self, key: str, found: pb.GetResponse) -> None:
        model = self._model
        if key in model.values:
            assert (HIT, model.values[key], model.versions[key]) == (found.outcome, found.value, found.version)
        else:
            assert pb.GetResponse(outcome=MISS) == found

    def _set(self, key: str, condition: str, value: bytes) -> None:
        asked = self._condition(key, condition)
        written = self._api.cache.Set(pb.SetRequest(cache=self._cache, key=key, value=value, condition=asked))
        if self._model.holds(condition, key):
            assert APPLIED == written.outcome
            self._model.write(key, value, written.version)
        else:
            assert (NOT_MET, self._model.versions.get(key, 0)) == (written.outcome, written.version)

    def _set_many(self, key: str, value: bytes) -> None:
        entries = [pb.SetManyEntry(key=key, value=b"first"), pb.SetManyEntry(key=key, value=value)]
        for result in self._api.cache.SetMany(pb.SetManyRequest(cache=self._cache, entries=entries)).results:
            self._model.write(key, value, result.written.version)

    def _delete(self, key: str, condition: str) -> None:
        if condition == "absent":
            condition = ""
        asked = self._condition(key, condition)
        outcome = self._api.cache.Delete(pb.DeleteRequest(cache=self._cache, key=key, condition=asked)).outcome
        if key not in self._model.values:
            assert NOT_FOUND == outcome
        elif self._model.holds(condition, key):
            assert APPLIED == outcome
            del self._model.values[key], self._model.versions[key]
        else:
            assert NOT_MET == outcome

    def _touch(self, key: str) -> None:
        touched = self._api.cache.Touch(pb.TouchRequest(cache=self._cache, key=key))
        expected = APPLIED if key in self._model.values else NOT_FOUND
        assert (expected, self._model.versions.get(key, 0)) == (touched.outcome, touched.version)

    def _increment(self, key: str) -> None:
        text = self._model.values.get(key, b"10")
        request = pb.IncrementRequest(cache=self._cache, key=key, delta=7, initial=10)
        if text.removeprefix(b"-").isdigit():
            counted = self._api.cache.Increment(request)
            assert int(text) + 7 == counted.value
            self._model.write(key, b"%d" % counted.value, counted.version)
        else:
            with pytest.raises(grpc.RpcError) as caught:
                self._api.cache.Increment(request)
            assert grpc.StatusCode.FAILED_PRECONDITION == caught.value.code()

    def _condition(self, key: str, condition: str) -> common_pb2.Condition | None:
        current = self._model.versions.get(key, 0)
        return {
            "": None,
            "absent": common_pb2.Condition(if_absent=True),
            "present": common_pb2.Condition(if_present=True),
            "current": common_pb2.Condition(if_version=current),
            "old": common_pb2.Condition(if_version=max(0, current - 1)),
        }[condition]


@pytest.mark.parametrize("cache", ["plain", "shared"])
def test_every_sequence_does_what_the_model_does(api: Contract, cache: str) -> None:
    """Get, Set, Delete, Touch, Increment, GetMany and SetMany in any order agree with a dictionary at every step."""

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def agrees(steps: list[Step]) -> None:
        run = Run(api, cache)
        for step in steps:
            run.take(step)

    agrees()
