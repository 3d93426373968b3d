"""CacheService: conditions, and that checking one and writing are a single step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from sidecar_client.gen.sidecar.v1.common_pb2 import Condition

if TYPE_CHECKING:
    from support.contract import Contract

APPLIED = common_pb2.WRITE_OUTCOME_APPLIED
NOT_MET = common_pb2.WRITE_OUTCOME_CONDITION_NOT_MET
NOT_FOUND = common_pb2.WRITE_OUTCOME_NOT_FOUND

ABSENT, PRESENT = Condition(if_absent=True), Condition(if_present=True)
RACERS = 50


def put(
    api: Contract, key: str, value: bytes, condition: Condition | None = None, cache: str = "plain"
) -> pb.SetResponse:
    """Write an entry under a condition."""
    return api.cache.Set(pb.SetRequest(cache=cache, key=key, value=value, condition=condition))


def remove(api: Contract, key: str, condition: Condition, cache: str = "plain") -> common_pb2.WriteOutcome:
    """Remove an entry under a condition."""
    return api.cache.Delete(pb.DeleteRequest(cache=cache, key=key, condition=condition)).outcome


def value_of(api: Contract, key: str, cache: str = "plain") -> bytes:
    """Return what is there now."""
    return api.cache.Get(pb.GetRequest(cache=cache, key=key)).value


@pytest.mark.parametrize("cache", ["plain", "shared", "patients"])
class TestAbsentAndPresent:
    """The conditions that every cache knows."""

    def test_if_absent_holds_where_nothing_is(self, api: Contract, key: str, cache: str) -> None:
        """The first write with if_absent is made."""
        assert APPLIED == put(api, key, b"v", ABSENT, cache).outcome

    def test_if_absent_does_not_hold_over_an_entry(self, api: Contract, key: str, cache: str) -> None:
        """The second one is not, and changes nothing."""
        put(api, key, b"first", None, cache)
        outcome = put(api, key, b"second", ABSENT, cache).outcome
        assert (NOT_MET, b"first") == (outcome, value_of(api, key, cache))

    def test_if_present_does_not_hold_where_nothing_is(self, api: Contract, key: str, cache: str) -> None:
        """Without an entry, a write with if_present makes none."""
        outcome = put(api, key, b"v", PRESENT, cache).outcome
        found = api.cache.Get(pb.GetRequest(cache=cache, key=key)).outcome
        assert (NOT_MET, common_pb2.OUTCOME_MISS) == (outcome, found)

    def test_if_present_holds_over_an_entry(self, api: Contract, key: str, cache: str) -> None:
        """With one it replaces it."""
        put(api, key, b"first", None, cache)
        outcome = put(api, key, b"second", PRESENT, cache).outcome
        assert (APPLIED, b"second") == (outcome, value_of(api, key, cache))

    def test_delete_if_present_of_nothing_is_not_found(self, api: Contract, key: str, cache: str) -> None:
        """A removal of nothing is NOT_FOUND, whatever the condition."""
        assert NOT_FOUND == remove(api, key, PRESENT, cache)

    def test_delete_if_present_removes(self, api: Contract, key: str, cache: str) -> None:
        """With an entry, the condition holds."""
        put(api, key, b"v", None, cache)
        assert APPLIED == remove(api, key, PRESENT, cache)


class TestVersions:
    """Compare-and-set."""

    def test_the_current_version_holds(self, api: Contract, key: str) -> None:
        """A write on the version just read is made."""
        version = put(api, key, b"first").version
        assert APPLIED == put(api, key, b"second", Condition(if_version=version)).outcome

    def test_an_old_version_does_not(self, api: Contract, key: str) -> None:
        """A write on a version that is no more changes nothing."""
        old = put(api, key, b"first").version
        put(api, key, b"second")
        outcome = put(api, key, b"third", Condition(if_version=old)).outcome
        assert (NOT_MET, b"second") == (outcome, value_of(api, key))

    def test_the_refusal_names_the_current_version_and_no_ttl(self, api: Contract, key: str) -> None:
        """The caller can try again without another read."""
        version = put(api, key, b"first").version
        refused = put(api, key, b"second", Condition(if_version=1))
        assert pb.SetResponse(outcome=NOT_MET, version=version) == refused

    def test_a_refusal_where_nothing_is_has_version_zero(self, api: Contract, key: str) -> None:
        """Without an entry there is no version."""
        assert pb.SetResponse(outcome=NOT_MET) == put(api, key, b"v", Condition(if_version=7))

    def test_version_zero_is_no_way_to_say_absent(self, api: Contract, key: str) -> None:
        """No entry has the version 0, and an absent one does not equal it."""
        assert NOT_MET == put(api, key, b"v", Condition(if_version=0)).outcome

    def test_the_largest_version_is_compared_exactly(self, api: Contract, key: str) -> None:
        """Numbers beyond 2^53 equal no version."""
        put(api, key, b"v")
        assert NOT_MET == put(api, key, b"w", Condition(if_version=2**64 - 1)).outcome

    def test_a_version_does_not_survive_deletion(self, api: Contract, key: str) -> None:
        """The version of a deleted entry never matches the one that took its place."""
        version = put(api, key, b"first").version
        remove(api, key, Condition(if_version=version))
        put(api, key, b"second")
        assert NOT_MET == put(api, key, b"third", Condition(if_version=version)).outcome

    def test_delete_of_the_current_version_removes(self, api: Contract, key: str) -> None:
        """Compare-and-delete."""
        version = put(api, key, b"v").version
        assert APPLIED == remove(api, key, Condition(if_version=version))

    def test_delete_of_another_version_does_not(self, api: Contract, key: str) -> None:
        """The entry stays."""
        version = put(api, key, b"v").version
        assert (NOT_MET, b"v") == (remove(api, key, Condition(if_version=version - 1)), value_of(api, key))

    def test_a_sealed_value_has_versions_too(self, api: Contract, key: str) -> None:
        """Compare-and-set works in a phi cache."""
        version = put(api, key, b"first", None, "patients").version
        put(api, key, b"second", Condition(if_version=version), "patients")
        assert b"second" == value_of(api, key, "patients")


class TestRaces:
    """Fifty callers at once: the condition and the write are one step, so exactly one wins."""

    def test_one_racer_finds_the_key_absent(self, api: Contract, key: str) -> None:
        """Of 50 concurrent writes with if_absent one is applied, and its value is there."""
        winners, value = self._race(api, key, ABSENT)
        assert [value] == winners

    def test_one_racer_keeps_the_version(self, api: Contract, key: str) -> None:
        """Of 50 concurrent writes on the same version one is applied."""
        version = put(api, key, b"start").version
        winners, value = self._race(api, key, Condition(if_version=version))
        assert [value] == winners

    def test_one_racer_deletes_the_version(self, api: Contract, key: str) -> None:
        """Of 50 concurrent removals of one version one is applied, the others find nothing."""
        condition = Condition(if_version=put(api, key, b"start").version)
        request = pb.DeleteRequest(cache="plain", key=key, condition=condition)
        answers = [asked.result() for asked in [api.cache.Delete.future(request) for _ in range(RACERS)]]
        outcomes = sorted(answer.outcome for answer in answers)
        assert [APPLIED, *[NOT_FOUND] * (RACERS - 1)] == outcomes

    def test_no_increment_is_lost_in_a_compare_and_set_loop(self, api: Contract, key: str) -> None:
        """Ten callers that each add five by Get and Set on the version arrive at fifty."""
        put(api, key, b"0")
        done = [0] * 10
        while any(count < 5 for count in done):
            found = api.cache.Get(pb.GetRequest(cache="plain", key=key))
            request = pb.SetRequest(
                cache="plain",
                key=key,
                value=b"%d" % (int(found.value) + 1),
                condition=Condition(if_version=found.version),
            )
            waiting = [number for number, count in enumerate(done) if count < 5]
            asked = [api.cache.Set.future(request) for _ in waiting]
            for number, future in zip(waiting, asked, strict=True):
                done[number] += future.result().outcome == APPLIED
        assert b"50" == value_of(api, key)

    def _race(self, api: Contract, key: str, condition: Condition) -> tuple[list[bytes], bytes]:
        values = [b"racer %d" % number for number in range(RACERS)]
        asked = [
            api.cache.Set.future(pb.SetRequest(cache="plain", key=key, value=value, condition=condition))
            for value in values
        ]
        outcomes = [future.result().outcome for future in asked]
        winners = [value for value, outcome in zip(values, outcomes, strict=True) if outcome == APPLIED]
        return winners, value_of(api, key)
