"""What a sample promises."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sidecar.ratelimit.reservoir import Reservoir, Sampled, as_one

# Priorities that the dice show, each once.
rolls = st.lists(st.integers(0, 10_000), unique=True, max_size=60)


def sampled(shown: list[int], most: int) -> list[Sampled]:
    """Return the sample of events, each named by its priority, at that time."""
    dice = iter(shown)
    reservoir = Reservoir(most, lambda: next(dice))
    for priority in shown:
        reservoir.offer(str(priority), priority)
    return reservoir.sample()


@given(rolls, st.integers(1, 10))
def test_the_lowest_are_in(shown: list[int], most: int) -> None:
    """As many as there may be, in order, each with its key and time."""
    assert [Sampled(priority, str(priority), priority) for priority in sorted(shown)[:most]] == sampled(shown, most)


@given(rolls, st.integers(1, 10), st.data())
def test_samples_of_parts_are_one_of_the_whole(shown: list[int], most: int, data: st.DataObject) -> None:
    """Wherever it was divided."""
    place = data.draw(st.integers(0, len(shown)))
    parts = [sampled(shown[:place], most), sampled(shown[place:], most)]
    assert sampled(shown, most) == as_one(parts, most)


def test_every_event_has_the_same_chance() -> None:
    """The first as the last: ten of a hundred, four hundred times; a tenth is 40, and five sigma are 30."""
    seeded = random.Random(7)
    seen: Counter[str] = Counter()
    for _ in range(400):
        reservoir = Reservoir(10, lambda: seeded.getrandbits(48))
        for event in range(100):
            reservoir.offer(str(event), event)
        seen.update(event.key for event in reservoir.sample())
    assert (100, True, True) == (len(seen), min(seen.values()) >= 10, max(seen.values()) <= 70)
