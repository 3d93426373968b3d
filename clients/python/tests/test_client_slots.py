"""Slots: what the client sends, and how a block holds them, loses them and gives them back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import duration_pb2
from hypothesis import given
from hypothesis import strategies as st
from played_sidecar import Refusal
from sidecar_client import (
    Acquired,
    LeaseLostError,
    NoSlotError,
    PreconditionError,
    SidecarClient,
    UnavailableError,
)
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar_client.slot import next_look_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from played_sidecar import Play

UNAVAILABLE = Refusal(code=grpc.StatusCode.UNAVAILABLE, reason="STORE_UNAVAILABLE", retry_after_ms=1)
DENIED = Refusal(code=grpc.StatusCode.INTERNAL, reason="STORE_DENIED")
LOST = Refusal(code=grpc.StatusCode.FAILED_PRECONDITION, reason="LEASE_UNKNOWN")
RELEASED = pb.ReleaseResponse(slots=1, remaining=4)
HELD = "r.1"


def duration(seconds: float) -> duration_pb2.Duration:
    """Return a Duration."""
    made = duration_pb2.Duration()
    made.FromTimedelta(timedelta(seconds=seconds))
    return made


def leased(seconds: float = 30) -> pb.AcquireResponse:
    """Return the answer to who gets a slot for so long."""
    return pb.AcquireResponse(
        acquired=True, token=HELD, limit=4, in_use=1, remaining=3, expires_after=duration(seconds)
    )


def refused(seconds: float = 20) -> pb.AcquireResponse:
    """Return the answer to who gets none for so long."""
    return pb.AcquireResponse(limit=4, in_use=4, retry_after=duration(seconds))


def renewed(seconds: float = 30) -> pb.RenewResponse:
    """Return the answer to a renewal."""
    return pb.RenewResponse(expires_after=duration(seconds))


def kinds(play: Play) -> list[str]:
    """Return the kinds of the calls that arrived."""
    return [type(call.request).__name__.removesuffix("Request") for call in play.received]


class TestCalls:
    """The three calls by themselves."""

    async def test_acquire_says_what_was_leased(self, play: Play, sidecar: SidecarClient) -> None:
        """Durations become timedeltas."""
        play.answer(leased())
        expected = Acquired(
            acquired=True,
            token=HELD,
            limit=4,
            in_use=1,
            remaining=3,
            expires_after=timedelta(seconds=30),
            retry_after=timedelta(0),
        )
        assert expected == await sidecar.limit("reports").acquire("db:7")

    async def test_acquire_sends_what_is_asked_for(self, play: Play, sidecar: SidecarClient) -> None:
        """Slots, lease and name; a lease that is left out stays the policy's."""
        play.answer(leased(), leased())
        reports = sidecar.limit("reports")
        await reports.acquire("db:7", slots=2, lease=1.5, holder="job")
        await reports.acquire("db:7")
        expected = [
            pb.AcquireRequest(policy="reports", key="db:7", slots=2, lease=duration(1.5), holder="job"),
            pb.AcquireRequest(policy="reports", key="db:7", slots=1),
        ]
        assert expected == [call.request for call in play.received]

    async def test_a_refusal_is_not_silently_true(self, play: Play, sidecar: SidecarClient) -> None:
        """`if await limit.acquire(key):` would let everybody in, so it raises."""
        play.answer(refused())
        answer = await sidecar.limit("reports").acquire("db:7")
        with pytest.raises(TypeError, match=r"ask \.acquired"):
            bool(answer)

    async def test_acquire_is_repeated_only_with_a_name(self, play: Play, sidecar: SidecarClient) -> None:
        """Without one a second Acquire may lease twice."""
        play.answer(UNAVAILABLE, UNAVAILABLE, leased())
        reports = sidecar.limit("reports")
        with pytest.raises(UnavailableError):
            await reports.acquire("db:7")
        await reports.acquire("db:7", holder="job")
        assert [call.request.holder for call in play.received] == ["", "job", "job"]

    async def test_renew_and_release_are_repeated(self, play: Play, sidecar: SidecarClient) -> None:
        """A second time does no harm."""
        play.answer(UNAVAILABLE, renewed(5), UNAVAILABLE, RELEASED)
        reports = sidecar.limit("reports")
        answers = (await reports.renew("db:7", HELD, lease=5), await reports.release("db:7", HELD))
        assert ((timedelta(seconds=5), True), 4) == (answers, len(play.received))

    async def test_a_lost_lease_is_an_error_of_its_own_to_who_renews(self, play: Play, sidecar: SidecarClient) -> None:
        """It is a precondition that does not hold, and names itself."""
        play.answer(LOST)
        with pytest.raises(PreconditionError) as caught:
            await sidecar.limit("reports").renew("db:7", HELD)
        assert (LeaseLostError, "LEASE_UNKNOWN") == (type(caught.value), caught.value.reason)

    async def test_a_lost_lease_is_an_answer_to_who_releases(self, play: Play, sidecar: SidecarClient) -> None:
        """There is nothing to do about it any more."""
        play.answer(LOST)
        assert not await sidecar.limit("reports").release("db:7", HELD)


class TestSlot:
    """A block that holds slots."""

    async def test_it_acquires_and_releases(self, play: Play, sidecar: SidecarClient) -> None:
        """With the same key and the token that it got, under a name that makes the call repeatable."""
        play.answer(UNAVAILABLE, leased(), RELEASED)
        async with sidecar.limit("reports").slot("db:7", slots=2, lease=30) as slot:
            held = (slot.token, slot.lost)
        first, second, release = [call.request for call in play.received]
        assert ((HELD, False), True, first) == (held, len(first.holder) > 20, second)
        assert pb.ReleaseRequest(policy="reports", key="db:7", token=HELD) == release

    async def test_each_block_has_a_name_of_its_own(self, play: Play, sidecar: SidecarClient) -> None:
        """Or two would share a lease; a caller's own name goes as it is."""
        reports = sidecar.limit("reports")
        for holder in ("", "", "job"):
            play.answer(leased(), RELEASED)
            async with reports.slot("db:7", holder=holder) as slot:
                assert not slot.lost
        names = [call.request.holder for call in play.received[::2]]
        assert (len(set(names)), names[2]) == (3, "job")

    async def test_it_releases_after_an_error(self, play: Play, sidecar: SidecarClient) -> None:
        """The block's error is raised as it is."""
        play.answer(leased(), RELEASED)
        with pytest.raises(ZeroDivisionError):
            async with sidecar.limit("reports").slot("db:7"):
                raise ZeroDivisionError
        assert kinds(play) == ["Acquire", "Release"]

    async def test_a_release_that_fails_is_no_error_of_the_blocks(self, play: Play, sidecar: SidecarClient) -> None:
        """The lease ends by itself."""
        play.answer(leased(), DENIED)
        async with sidecar.limit("reports").slot("db:7") as slot:
            assert not slot.lost
        assert kinds(play) == ["Acquire", "Release"]

    async def test_no_slot_is_an_error_at_once(self, play: Play, sidecar: SidecarClient) -> None:
        """Unless it is told to wait; the error holds the refusal."""
        play.answer(refused())
        with pytest.raises(NoSlotError, match="4 of 4 slots are in use") as caught:
            async with sidecar.limit("reports").slot("db:7"):
                raise AssertionError
        assert (False, timedelta(seconds=20)) == (caught.value.answer.acquired, caught.value.answer.retry_after)

    async def test_it_waits_for_a_slot(self, play: Play, sidecar: SidecarClient) -> None:
        """Asking again under the same name, long before the lease of another ends."""
        play.answer(refused(), refused(), leased(), RELEASED)
        async with asyncio.timeout(30), sidecar.limit("reports").slot("db:7", wait=60) as slot:
            assert not slot.lost
        assert (
            kinds(play),
            len({call.request.holder for call in play.received[:3]}),
        ) == (["Acquire"] * 3 + ["Release"], 1)

    async def test_it_waits_no_longer_than_told(self, play: Play, sidecar: SidecarClient) -> None:
        """A last look is made when the time is over."""
        play.answer(*[refused() for _ in range(100)])
        with pytest.raises(NoSlotError):
            async with asyncio.timeout(30), sidecar.limit("reports").slot("db:7", wait=timedelta(milliseconds=50)):
                raise AssertionError
        assert 1 < len(play.received) < 20

    async def test_it_renews_at_a_third_of_the_lease(self, play: Play, sidecar: SidecarClient) -> None:
        """And again, at a third of what the renewal gave; the lease is that asked for."""
        play.answer(leased(1.2), renewed(2.4), renewed(60), RELEASED)
        async with sidecar.limit("reports").slot("db:7", lease=1.2) as slot:
            await until(lambda: len(play.received) == 3)
            lost = slot.lost
        acquired, first, second, _ = play.received
        assert (lost, kinds(play)) == (False, ["Acquire", "Renew", "Renew", "Release"])
        assert pb.RenewRequest(policy="reports", key="db:7", token=HELD, lease=duration(1.2)) == first.request
        assert (0.2 < first.at - acquired.at < 1, 0.4 < second.at - first.at < 2) == (True, True)

    async def test_a_block_is_told_that_its_lease_is_lost(self, play: Play, sidecar: SidecarClient) -> None:
        """In three ways; what is not held is neither renewed nor released any more."""
        play.answer(leased(0.9), LOST)
        async with asyncio.timeout(30), sidecar.limit("reports").slot("db:7") as slot:
            slot.raise_if_lost()
            await slot.wait_until_lost()
            assert slot.lost
            with pytest.raises(LeaseLostError) as caught:
                slot.raise_if_lost()
        assert (caught.value.reason, kinds(play)) == ("LEASE_UNKNOWN", ["Acquire", "Renew"])

    async def test_a_renewal_that_fails_is_tried_again(self, play: Play, sidecar: SidecarClient) -> None:
        """The lease still runs."""
        play.answer(leased(1.5), DENIED, renewed(60), RELEASED)
        async with asyncio.timeout(30), sidecar.limit("reports").slot("db:7") as slot:
            await until(lambda: len(play.received) == 3)
            assert not slot.lost

    async def test_a_lease_that_could_not_be_renewed_is_lost_when_it_ends(
        self, play: Play, sidecar: SidecarClient
    ) -> None:
        """Whatever the reason, and not before."""
        play.answer(leased(0.3), *[DENIED] * 5)
        begun = asyncio.get_running_loop().time()
        async with asyncio.timeout(30), sidecar.limit("reports").slot("db:7") as slot:
            await slot.wait_until_lost()
        assert 0.28 < asyncio.get_running_loop().time() - begun

    async def test_a_sidecar_that_hangs_costs_the_lease_and_not_the_block(
        self, play: Play, sidecar: SidecarClient
    ) -> None:
        """A renewal that is not answered ends in time to know that the lease has."""
        play.answer(leased(0.2), hang, hang, hang)
        async with asyncio.timeout(30), sidecar.limit("reports").slot("db:7") as slot:
            await slot.wait_until_lost()

    @pytest.mark.parametrize("renewal_under_way", [False, True])
    async def test_a_lease_is_lost_when_the_client_is_closed(
        self,
        play: Play,
        sidecar: SidecarClient,
        renewal_under_way: bool,  # noqa: FBT001 (a parameter of the test)
    ) -> None:
        """Nobody can renew it any more, whether or not a renewal was under way."""
        play.answer(leased(1.5), hang)
        async with asyncio.timeout(30), sidecar.limit("reports").slot("db:7") as slot:
            await until(lambda: len(play.received) == 1 + renewal_under_way)
            await sidecar.close()
            await slot.wait_until_lost()

    async def test_cancelled_while_it_acquires_it_gives_back_what_it_gets(
        self, play: Play, sidecar: SidecarClient
    ) -> None:
        """Nobody else would, until the lease ends."""
        asked, answer_now = asyncio.Event(), asyncio.Event()

        async def late() -> pb.AcquireResponse:
            asked.set()
            await answer_now.wait()
            return leased()

        play.answer(late, RELEASED)

        async def hold() -> None:
            async with sidecar.limit("reports").slot("db:7"):
                raise AssertionError

        holding = asyncio.create_task(hold())
        await asked.wait()
        holding.cancel()
        await asyncio.sleep(0)
        answer_now.set()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert kinds(play) == ["Acquire", "Release"]

    async def test_a_cancelled_block_releases(self, play: Play, sidecar: SidecarClient) -> None:
        """As after any other end."""
        play.answer(leased(), RELEASED)
        entered = asyncio.Event()

        async def hold() -> None:
            async with sidecar.limit("reports").slot("db:7"):
                entered.set()
                await asyncio.Event().wait()

        holding = asyncio.create_task(hold())
        await entered.wait()
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert kinds(play) == ["Acquire", "Release"]

    async def test_it_is_entered_once(self, play: Play, sidecar: SidecarClient) -> None:
        """Each block has a lease of its own."""
        play.answer(leased(), RELEASED)
        slot = sidecar.limit("reports").slot("db:7")
        async with slot as entered:
            assert entered is slot
        with pytest.raises(RuntimeError, match="entered once"):
            await slot.__aenter__()


@given(st.floats(0, 100), st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_look_comes_soon_and_never_at_once(retry_after_s: float, looks: int, draw: float) -> None:
    """Within a second, not after the lease that is waited for, and 5 ms apart at least."""
    pause_s = next_look_s(retry_after_s, looks=looks, draw=draw)
    assert 0.005 <= pause_s <= max(0.005, min(1.0, retry_after_s))


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 (the played sidecar sets no event)
            await asyncio.sleep(0.002)


async def hang() -> Awaitable[None]:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError
