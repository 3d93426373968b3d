"""From events to what is invalidated: payloads, rules, and what waits."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.events.backlog import Backlog
from sidecar.events.counters import EventCounters, EventMetrics
from sidecar.events.handling import EventPolicy, Handling
from sidecar.events.payload import MisfitError, entry_fields, json_fields, text_fields
from sidecar.events.rules import Effect, Judged, Reach, Rule, judge
from sidecar.telemetry.metrics import Metrics
from sidecar.template import Template

CACHES = ("some", "whole")


def rule(*texts: str, **more: Any) -> Rule:
    """Return a rule for keys of `some`."""
    given_: dict[str, Any] = {"when": (), "cache": "some", "reach": Reach.KEYS, **more}
    return Rule(templates=tuple(Template(text) for text in texts), **given_)


class TestPayloads:
    """What an event carries."""

    def test_json_keeps_numbers_as_they_are_written(self) -> None:
        """12.50 is another key than 12.5."""
        assert {"price": Decimal("12.50"), "@channel": "c"} == json_fields(b'{"price": 12.50}', "c")

    @pytest.mark.parametrize(
        "payload",
        [
            b"", b"{", b"[]", b"1", b"null", b'"x"', b"\xff", b'{"a": NaN}', b"[" * 100_000,
            b'{"a": ' + b"9" * 5000 + b"}", b'{"a": "' + b"x" * (1 << 20) + b'"}', b"\xef\xbb\xbf{}",
        ],
    )  # fmt: skip
    def test_what_is_no_json_object(self, payload: bytes) -> None:
        """Is a misfit, and nothing worse."""
        with pytest.raises(MisfitError):
            json_fields(payload, "c")

    @given(st.binary(max_size=60))
    def test_any_bytes(self, payload: bytes) -> None:
        """Are fields or a misfit."""
        for read in (json_fields, text_fields):
            try:
                fields = read(payload, "c")
            except MisfitError:
                continue
            assert "c" == fields["@channel"]

    def test_an_entry_of_a_stream(self) -> None:
        """Has texts as its fields."""
        assert {"a": "1", "b": "", "@channel": "s"} == entry_fields([b"a", b"1", b"b", b""], "s")

    def test_an_entry_that_is_no_text(self) -> None:
        """Is a misfit."""
        with pytest.raises(MisfitError):
            entry_fields([b"a", b"\xff"], "s")


class TestWhen:
    """Which events a rule is for."""

    @pytest.mark.parametrize(
        ("wanted", "found", "applies"),
        [
            ("x", "x", True), ("1", 1, False), (1, 1, True), (1, True, False), (True, True, True), (True, 1, False),
            (None, None, True), (None, 0, False), (Decimal("1.5"), Decimal("1.50"), True), (1, Decimal("1.0"), True),
            ("x", ["y", "x"], True), ("x", [], False), ("x", {"x": 1}, False),
        ],
    )  # fmt: skip
    def test_equality_is_that_of_json(self, wanted: Any, found: Any, *, applies: bool) -> None:
        """A number is no text and no truth; of a list one item is enough."""
        assert applies == rule("k", when=((("a", "b"), wanted),)).applies({"a": {"b": found}})

    def test_a_missing_field_meets_nothing(self) -> None:
        """But null, which is how JSON says that."""
        assert (False, True) == (
            rule("k", when=((("a",), "x"),)).applies({}),
            rule("k", when=((("a",), None),)).applies({}),
        )


class TestJudging:
    """What an event means."""

    def test_texts_without_their_field_give_nothing(self) -> None:
        """As long as another of the rule does."""
        judged = judge([rule("k-{old.id}", "k-{new.id}")], {"old": None, "new": {"id": 7}})
        assert Judged((Effect("some", Reach.KEYS, ("k-7",)),), matched=True) == judged

    def test_a_rule_that_gives_nothing_is_a_misfit(self) -> None:
        """The others are followed all the same."""
        judged = judge([rule("k-{old.id}"), rule("fixed")], {"id": 7})
        assert ((Effect("some", Reach.KEYS, ("fixed",)),), ("a field is missing",)) == (judged.effects, judged.misfits)

    def test_no_rule_applies(self) -> None:
        """Then nobody is concerned."""
        assert Judged() == judge([rule("k", when=((("a",), 1),))], {"a": 2})

    def test_a_text_that_is_too_long(self) -> None:
        """Counts in bytes, and is no part of what is said."""
        judged = judge([rule("{id}", max_bytes=5)], {"id": "äää"})
        assert ((), ("it gives a text of more than 5 bytes",)) == (judged.effects, judged.misfits)

    def test_lists_that_give_too_much(self) -> None:
        """Are a misfit."""
        many = list(range(1000))
        assert ("its lists give too many keys",) == judge([rule("{a}{b}")], {"a": many, "b": many}).misfits

    def test_many_stands_for_entries_that_are_not_named(self) -> None:
        """Where the source may say so; a rule that needs no names goes its way."""
        rules = [rule("k-{rows.id}", takes_many=True), rule(cache="whole", reach=Reach.ALL, takes_many=True)]
        judged = judge(rules, {"many": True})
        assert ((Effect("whole", Reach.ALL),), ("some",), ()) == (judged.effects, judged.unnamed, judged.misfits)

    def test_many_of_other_sources_is_a_field_like_others(self) -> None:
        """It has no meaning there."""
        assert ("a field is missing",) == judge([rule("k-{id}")], {"many": True}).misfits


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(), max_size=3), st.just("\ud800"))
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner)
)


@given(st.dictionaries(st.sampled_from(["a", "b", "many"]), ANYTHING))
def test_no_event_breaks_the_rules(fields: dict[str, Any]) -> None:
    """Whatever it holds, it is judged; and what comes out can be a key."""
    judged = judge([rule("{a}-{b.a}", "{b}", max_bytes=6, takes_many=True)], fields)
    assert all(0 < len(value.encode()) <= 6 for effect in judged.effects for value in effect.values)


EFFECTS = st.builds(
    lambda cache, reach, values: Effect(cache, reach, () if reach is Reach.ALL else tuple(values)),
    st.sampled_from(CACHES),
    st.sampled_from([Reach.KEYS, Reach.TAGS, Reach.ALL]),
    st.lists(st.text("abc", min_size=1, max_size=2), min_size=1, max_size=4),
)


class TestBacklog:
    """What waits."""

    @given(st.lists(EFFECTS, max_size=20), st.integers(1, 8))
    def test_nothing_is_forgotten_where_the_whole_can_stand_for_it(self, effects: list[Effect], most: int) -> None:
        """Each name is taken, or its whole cache; what cannot be is counted, and the bound holds."""
        backlog = Backlog(["whole"], most)
        for effect in effects:
            backlog.add([effect])
        is_waiting = bool(backlog)
        taken = backlog.take()
        assert is_waiting == bool(taken)
        assert not backlog
        whole = {one.cache for one in taken if one.reach is Reach.ALL}
        named = {(one.cache, one.reach, name) for one in taken for name in one.values}
        for effect in effects:
            kept = all((effect.cache, effect.reach, name) in named for name in effect.values)
            is_whole = effect.cache in whole
            assert is_whole or (kept and effect.reach is not Reach.ALL) or (effect.cache == "some" and backlog.lost)
        for cache in CACHES:
            assert most >= sum(len(one.values) for one in taken if one.cache == cache)


class TestHandling:
    """What becomes of an event before anything is invalidated."""

    async def test_no_depth_of_nesting_is_too_much(self) -> None:
        """Neither for who reads it nor for the rules, which stand a little deeper when they begin."""

        async def invalidate(_effect: Effect) -> None:
            await asyncio.sleep(0)

        policy = EventPolicy(name="e", rules=(rule("k-{a}"),), gap_caches=())
        handling = Handling(policy, invalidate, EventCounters(EventMetrics(Metrics()), "e"))
        depths = range(500, 1_100)
        for depth in depths:
            payload = b'{"a": ' + b"[" * depth + b"1" + b"]" * depth + b"}"
            handling.effects_of(partial(json_fields, payload, "c"))
        assert len(depths) == handling.counters.handled.value + handling.counters.unfit.value
