"""Random sequences of writes, loads and invalidations against a model: a dictionary of values, tags and leases.

All runs share a cache, and so one invalidates what others have written; each has keys and tags of its own, and begins
with nothing. The model knows no time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from support.contract import Contract, milliseconds, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

HIT, MISS = common_pb2.OUTCOME_HIT, common_pb2.OUTCOME_MISS
APPLIED, NOT_FOUND = common_pb2.WRITE_OUTCOME_APPLIED, common_pb2.WRITE_OUTCOME_NOT_FOUND
NO_WAIT = milliseconds(0)
NAMES = ("a:1", "a:2", "b:1")
PREFIXES = ("a:", "b:", "c:")

# An operation, the number of a name or prefix, and the numbers of tags.
Step = tuple[str, int, frozenset[int]]
OPERATIONS = ["get", "set", "set", "add", "delete", "lease", "lease", "fill", "fill", "absent", "tags", "tags", "keys"]


def steps(operations: list[str]) -> st.SearchStrategy[list[Step]]:
    """Return sequences."""
    one = st.tuples(st.sampled_from(operations), st.integers(0, 2), st.frozensets(st.integers(0, 2), max_size=2))
    return st.lists(one, min_size=1, max_size=25)


@dataclass
class Model:
    """What the cache ought to hold, by the number of a name."""

    tags: dict[int, frozenset[int]] = field(default_factory=dict)
    """Of the entries that are there."""
    values: dict[int, bytes] = field(default_factory=dict)
    entered: set[tuple[int, int]] = field(default_factory=set)
    """The tags that a name may have, and its number: a load of that name does not survive an invalidation of them."""
    leases: dict[int, str] = field(default_factory=dict)
    """Who may fill an entry."""
    overtaken: dict[str, set[int]] = field(default_factory=dict)
    """The tags that were invalidated since a lease was given, by its token."""
    absent: set[int] = field(default_factory=set)

    def end(self, name: int) -> None:
        """Take away what a write or an invalidation of an entry does."""
        for kept in (self.tags, self.values, self.leases):
            kept.pop(name, None)
        self.absent.discard(name)


class Run:
    """One sequence: each step is taken by the sidecar and by the model, which must agree."""

    def __init__(self, api: Contract, cache: str) -> None:
        self._api = api
        self._cache = cache
        self._model = Model()
        self._begins = api.key()
        self._tokens = ["0" * 48] * 3
        self._number = 0

    def take(self, step: Step) -> None:
        """Take one step."""
        operation, number, tags = step
        taken: dict[str, Callable[[int, frozenset[int]], None]] = {
            "get": lambda name, _tags: self._get(name),
            "set": self._set,
            "add": self._add,
            "delete": lambda name, _tags: self._delete(name),
            "lease": lambda name, _tags: self._lease(name),
            "fill": self._fill,
            "absent": self._fill_nothing,
            "tags": lambda _name, tags: self._by_tags(tags),
            "keys": lambda name, _tags: self._by_key(name),
            "prefix": lambda name, _tags: self._by_prefix(name),
            "all": lambda _name, _tags: self._whole(),
        }
        taken[operation](number, tags)
        for name in range(3):
            self._get(name)

    def _key(self, name: int) -> str:
        return f"{self._begins}:{NAMES[name]}"

    def _words(self, tags: frozenset[int]) -> list[str]:
        return [f"{self._begins}{tag}" for tag in sorted(tags)]

    def _fresh_value(self) -> bytes:
        self._number += 1
        return b"%d" % self._number

    def _get(self, name: int) -> None:
        found = self._api.cache.Get(pb.GetRequest(cache=self._cache, key=self._key(name)))
        value = self._model.values.get(name)
        assert (MISS if value is None else HIT, value or b"") == (found.outcome, found.value)

    def _set(self, name: int, tags: frozenset[int]) -> None:
        value = self._fresh_value()
        request = pb.SetRequest(cache=self._cache, key=self._key(name), value=value, tags=self._words(tags))
        assert APPLIED == self._api.cache.Set(request).outcome
        self._written(name, value, tags)

    def _add(self, name: int, tags: frozenset[int]) -> None:
        value = self._fresh_value()
        condition = common_pb2.Condition(if_absent=True)
        request = pb.SetRequest(
            cache=self._cache, key=self._key(name), value=value, tags=self._words(tags), condition=condition
        )
        applied = self._api.cache.Set(request).outcome == APPLIED
        assert (name not in self._model.values) == applied
        self._model.entered |= {(name, tag) for tag in tags}
        if applied:
            self._written(name, value, tags)

    def _written(self, name: int, value: bytes, tags: frozenset[int]) -> None:
        self._model.end(name)
        self._model.values[name], self._model.tags[name] = value, tags
        self._model.entered |= {(name, tag) for tag in tags}

    def _delete(self, name: int) -> None:
        outcome = self._api.cache.Delete(pb.DeleteRequest(cache=self._cache, key=self._key(name))).outcome
        assert (APPLIED if name in self._model.values else NOT_FOUND) == outcome
        self._model.end(name)

    def _lease(self, name: int) -> None:
        model = self._model
        answer = self._api.cache.GetOrLoad(pb.GetOrLoadRequest(cache=self._cache, key=self._key(name), wait=NO_WAIT))
        if name in model.values:
            assert (pb.LOAD_OUTCOME_HIT, model.values[name]) == (answer.outcome, answer.entry.value)
        elif name in model.absent:
            assert pb.LOAD_OUTCOME_ABSENT == answer.outcome
        elif name in model.leases:
            assert pb.LOAD_OUTCOME_WAIT == answer.outcome
        else:
            assert pb.LOAD_OUTCOME_LEASE == answer.outcome
            model.leases[name] = self._tokens[name] = answer.token
            model.overtaken[answer.token] = set()

    def _fill(self, name: int, tags: frozenset[int]) -> None:
        value = self._fresh_value()
        request = pb.FillRequest(
            cache=self._cache, key=self._key(name), token=self._tokens[name], value=value, tags=self._words(tags)
        )
        if self._ends(request, name, tags):
            self._written(name, value, tags)

    def _fill_nothing(self, name: int, tags: frozenset[int]) -> None:
        request = pb.FillRequest(
            cache=self._cache, key=self._key(name), token=self._tokens[name], absent=True, tags=self._words(tags)
        )
        if self._ends(request, name, tags):
            self._model.end(name)
            self._model.absent.add(name)

    def _ends(self, request: pb.FillRequest, name: int, tags: frozenset[int]) -> bool:
        """Make a Fill, and say whether it was to be taken."""
        model = self._model
        model.entered |= {(name, tag) for tag in tags}
        token = self._tokens[name]
        held = model.leases.get(name) == token
        if held and not tags & model.overtaken[token]:
            self._api.cache.Fill(request)
            return True
        assert "LEASE_UNKNOWN" == refusal(lambda: self._api.cache.Fill(request)).reason
        if held:
            del model.leases[name]
        return False

    def _by_tags(self, tags: frozenset[int]) -> None:
        model = self._model
        words = pb.InvalidateTags(tags=self._words(tags))
        request = pb.InvalidateRequest(cache=self._cache, tags=words)
        if not tags:
            assert "TAGS_UNSUITABLE" == refusal(lambda: self._api.cache.Invalidate(request)).reason
            return
        gone = [name for name, own in model.tags.items() if own & tags]
        assert len(gone) == self._api.cache.Invalidate(request).removed
        for invalidated in model.overtaken.values():
            invalidated.update(tags)
        for name in gone:
            model.end(name)
        for name, tag in list(model.entered):
            if tag in tags:
                model.entered.discard((name, tag))
                model.leases.pop(name, None)
                model.absent.discard(name)

    def _by_key(self, name: int) -> None:
        keys = pb.InvalidateKeys(keys=[self._key(name)])
        removed = self._api.cache.Invalidate(pb.InvalidateRequest(cache=self._cache, keys=keys)).removed
        assert int(name in self._model.values) == removed
        self._model.end(name)

    def _by_prefix(self, number: int) -> None:
        prefix = PREFIXES[number]
        self._api.cache.Invalidate(pb.InvalidateRequest(cache=self._cache, prefix=f"{self._begins}:{prefix}"))
        for name, text in enumerate(NAMES):
            if text.startswith(prefix):
                self._model.end(name)

    def _whole(self) -> None:
        self._api.cache.Invalidate(pb.InvalidateRequest(cache=self._cache, all=True))
        for name in range(len(NAMES)):
            self._model.end(name)


@pytest.mark.parametrize(
    ("cache", "more"),
    [("tagged_long", []), ("both", ["prefix", "prefix", "all"])],
    ids=["tags", "tags and generations"],
)
def test_every_sequence_does_what_the_model_does(api: Contract, cache: str, more: list[str]) -> None:
    """Set, Delete, GetOrLoad, Fill and every kind of Invalidate in any order agree with a dictionary at every step."""

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps(OPERATIONS + more))
    def agrees(sequence: list[Step]) -> None:
        run = Run(api, cache)
        for step in sequence:
            run.take(step)

    agrees()
