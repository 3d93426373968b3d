"""Lists of keys, shadow mode, and what is near a limit."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.decision import Decision, LimitStatus
from sidecar.ratelimit.exceptions import Exempted, KeyList, Outcomes, Ruled, Rules, Why, exempt, is_near, needed
from sidecar.telemetry.metrics import Cell

ENTRIES = st.lists(st.text("ab:", min_size=1, max_size=4).flatmap(lambda text: st.sampled_from([text, text + "*"])))


def ruled(rules: Rules, limit: int = 10) -> Ruled:
    """Return rules over cells of their own."""
    cells = Outcomes(allowed=Cell(), denied=Cell(), shadow_denied=Cell(), near_limit=Cell())
    return Ruled(rules, limit=limit, outcomes=cells)


@given(ENTRIES, st.text("ab:", min_size=1, max_size=6))
def test_a_list_finds_what_its_entries_say(entries: list[str], key: str) -> None:
    """A key that is one, or begins with one that ends in an asterisk."""
    matching = [entry for entry in entries if entry == key or (entry[-1] == "*" and key.startswith(entry[:-1]))]
    found = KeyList(entries).entry_of(key)
    assert (bool(matching), True) == (found is not None, found is None or found in matching)


@pytest.mark.parametrize(
    ("rules", "limit", "key", "expected"),
    [
        (Rules(), 10, "a", None),
        (Rules(denied_keys=("a*",), unlimited_keys=("ab",)), 10, "ab", Exempted(Why.DENIED_KEY, "a*")),
        (Rules(denied_keys=("b",), unlimited=True), 10, "b", Exempted(Why.DENIED_KEY, "b")),
        (Rules(unlimited=True), 10, "b", Exempted(Why.UNLIMITED, "")),
        (Rules(unlimited_keys=("a",)), 0, "a", Exempted(Why.UNLIMITED_KEY, "a")),
        (Rules(unlimited_keys=("a",)), 0, "b", Exempted(Why.DENIED, "")),
        (Rules(unlimited_keys=("a",), shadow=True), 10, "b", None),
    ],
)
def test_rules_are_asked_in_order(rules: Rules, limit: int, key: str, expected: Exempted | None) -> None:
    """Denied, unlimited, a limit of 0, the limits."""
    assert expected == ruled(rules, limit).exempted(key)


@given(st.booleans(), st.integers(0, 100), st.integers(0, 100))
def test_shadow_mode_allows_everything(allowed: bool, remaining: int, wait_us: int) -> None:  # noqa: FBT001 (a draw)
    """It changes a refusal, says so, and leaves all else as it is."""
    decision = Decision(allowed, 100, remaining, wait_us, wait_us)
    told = ruled(Rules(shadow=True)).told(decision)
    assert (True, not decision.allowed, decision.remaining) == (told.allowed, told.shadow_denied, told.remaining)
    assert decision == ruled(Rules()).told(decision)


@given(st.integers(1, 1000), st.integers(1, 99), st.data())
def test_near_is_reckoned_exactly(limit: int, percent: int, data: st.DataObject) -> None:
    """By what is used of the limit, in integers."""
    remaining = data.draw(st.integers(0, limit))
    decision = Decision(True, limit, remaining, 0, 0)
    assert (100 * (limit - remaining) >= percent * limit) == is_near(decision, Fraction(str(percent / 100)))


def test_of_several_limits_any_may_be_near() -> None:
    """Also one that is not the tightest."""
    limits = (LimitStatus("a", True, 4, 3, 0, 0), LimitStatus("b", True, 100, 10, 0, 0))
    assert is_near(Decision(True, 4, 3, 0, 0, limits), Fraction(4, 5))


@pytest.mark.parametrize(("why", "allows"), [(Why.UNLIMITED, True), (Why.UNLIMITED_KEY, True), (Why.DENIED, False)])
def test_what_is_exempted_waits_for_nothing(why: Why, allows: bool) -> None:  # noqa: FBT001 (the answer itself)
    """All of the limit remains, or nothing."""
    assert Decision(allows, 7, 7 if allows else 0, 0, 0, why=why) == exempt(why, 7)


@pytest.mark.parametrize(
    ("rules", "limit", "expected"),
    [(Rules(), 1, False), (Rules(), 0, True), (Rules(shadow=True), 1, True), (Rules(near_limit=0.5), 1, True)],
)
def test_a_policy_of_limits_alone_has_no_rules(rules: Rules, limit: int, expected: bool) -> None:  # noqa: FBT001
    """Its calls look at none."""
    assert expected == needed(rules, limit)
