"""How much a lease borrows, and for how long."""

from __future__ import annotations

import pytest

from sidecar.ratelimit.lease import Lease, LeasePolicy

MOST, TTL_US = 100, 200_000
SENT_NS = 5_000_000_000


def a_lease(most: int = MOST) -> Lease:
    """Return a lease that holds nothing yet."""
    return Lease("k", b"state", most, SENT_NS)


def borrowed(lease: Lease, there: int = 10**9) -> int:
    """Have the lease borrow, from so much; return what it got."""
    wanted = lease.wanted()
    lent = min(wanted, there)
    lease.take_in(lent, wanted, SENT_NS, TTL_US, until_us=0, reset_after_us=7_000_000)
    return lent


@pytest.mark.parametrize(
    ("fraction", "limit", "most"), [(0.05, 100, 5), (0.29, 100, 29), (0.05, 19, 0), (0.5, 3, 1), (0.1, 10**9, 10**8)]
)
def test_the_most_is_the_fraction_as_it_is_written_rounded_down(fraction: float, limit: int, most: int) -> None:
    """0.29 of 100 is 29, which the nearest double is a little below."""
    assert most == LeasePolicy(max_fraction=fraction, ttl_us=TTL_US).most(limit)


def test_a_batch_doubles_while_it_is_spent_up_to_the_most() -> None:
    """And then stays."""
    lease = a_lease()
    sizes = []
    for _ in range(9):
        sizes.append(borrowed(lease))
        lease.left = 0
    assert [1, 2, 4, 8, 16, 32, 64, 100, 100] == sizes


def test_no_more_than_the_most_is_held() -> None:
    """What was not spent, since a call cost more, is part of it."""
    lease = a_lease()
    for _ in range(8):
        borrowed(lease)
        lease.left = 0
    lease.left = 30
    assert 70 == borrowed(lease)
    assert MOST == lease.left


@pytest.mark.parametrize(("left", "next_batch"), [(0, 8), (3, 4), (4, 4), (5, 2), (8, 2)])
def test_a_batch_halves_when_less_than_half_was_spent(left: int, next_batch: int) -> None:
    """What was spent in time grows with the next; what was half spent stays."""
    lease = a_lease()
    lease.batch, lease.left, lease.lent = 4, left, 8
    returned = 0
    if left:
        returned = lease.end()
    assert (left, next_batch) == (returned, lease.wanted())


def test_a_key_whose_one_token_is_not_spent_is_cold() -> None:
    """It needs no lease."""
    lease = a_lease()
    borrowed(lease)
    before = lease.is_cold
    assert (False, 1, True) == (before, lease.end(), lease.is_cold)


def test_what_the_store_has_less_of_is_the_batch() -> None:
    """It does not ask for more than it got."""
    lease = a_lease()
    lease.batch = 64
    borrowed(lease, there=5)
    lease.left = 0
    assert 10 == lease.wanted()


def test_where_there_is_nothing_it_rests_for_a_ttl() -> None:
    """And what it holds ends when it would have."""
    lease = a_lease()
    borrowed(lease)
    ends_ns = lease.ends_ns
    borrowed(lease, there=0)
    assert (SENT_NS + TTL_US * 1_000, ends_ns, 1) == (lease.rests_ns, lease.ends_ns, lease.left)


def test_it_ends_a_ttl_after_it_was_asked_for() -> None:
    """By the clock that it was sent by."""
    lease = a_lease()
    borrowed(lease)
    assert (SENT_NS + TTL_US * 1_000, SENT_NS + 7_000_000_000) == (lease.ends_ns, lease.resets_ns)


@pytest.mark.parametrize(
    ("left_us", "life_us"), [(1_000_000, 200_000), (200_000, 199_800), (150_000, 149_850), (1_500, 1_498), (1, 0)]
)
def test_it_ends_with_its_window_a_thousandth_early(left_us: int, life_us: int) -> None:
    """Whichever is sooner, the ttl or the window's end; the thousandth is rounded up."""
    lease = a_lease()
    lease.take_in(1, 1, SENT_NS, TTL_US, until_us=99, reset_after_us=left_us)
    assert SENT_NS + life_us * 1_000 == lease.ends_ns


def test_what_is_left_of_a_window_ends_with_it() -> None:
    """A loan from the next one does not bring it back."""
    lease = a_lease()
    lease.take_in(5, 5, SENT_NS, TTL_US, until_us=100, reset_after_us=10)
    lease.take_in(2, 3, SENT_NS, TTL_US, until_us=200, reset_after_us=100)
    assert (2, 200) == (lease.left, lease.until_us)
