"""How warming is planned: what is read together, when, and when it is given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.policy import MISS, FromOrigin, Lookup, Outcome
from sidecar.cache.warming import Health, Progress, batches, due_seconds
from sidecar.errors import Reason, SidecarError

FAILED = SidecarError(Reason.ORIGIN_TIMED_OUT, "late")
HIT = Lookup(Outcome.HIT, b"v")


@given(st.lists(st.text(max_size=2), max_size=40), st.integers(1, 7))
def test_each_key_is_read_once_in_its_order(keys: list[str], size: int) -> None:
    """In batches of which all but the last are full."""
    planned = list(batches(keys, size))
    assert list(dict.fromkeys(keys)) == [key for batch in planned for key in batch]
    assert all(size == len(batch) for batch in planned[:-1])
    assert all(0 < len(batch) <= size for batch in planned)


def test_batches_are_due_by_the_rate() -> None:
    """The first at once, the others when as many keys were allowed."""
    assert [0.0, 0.5, 2.0] == [due_seconds(begun, 200) for begun in (0, 100, 400)]


def test_progress_counts_what_became_of_keys() -> None:
    """By kind; the first failures are named."""
    progress = Progress(60)
    for found in (HIT, FromOrigin(Outcome.HIT, b"v"), FromOrigin(Outcome.HIT, b"v"), MISS):
        progress.count("k", found)
    for number in range(30):
        progress.count(str(number), FAILED)
    assert (1, 2, 1, 30, 34) == (
        progress.present, progress.loaded, progress.absent, progress.failed, progress.done,
    )  # fmt: skip
    assert [str(number) for number in range(20)] == [key for key, _ in progress.failures]


def test_single_failures_are_no_reason_to_end() -> None:
    """As long as something in a batch succeeds, however few."""
    health = Health()
    assert [None] * 9 == [health.take_in([FAILED, FAILED, HIT]) for _ in range(9)]


def test_batches_that_fail_as_a_whole_are() -> None:
    """The third in a row, with what is wrong; one that succeeds begins the count anew."""
    health = Health()
    said = [health.take_in(results) for results in ([FAILED], [FAILED], [HIT], [FAILED], [FAILED], [FAILED])]
    assert [None] * 5 + [FAILED] == said
