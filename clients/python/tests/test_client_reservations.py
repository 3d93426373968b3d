"""Reservations: what the client sends, and how a block commits them or gives them back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import duration_pb2
from played_sidecar import Refusal
from sidecar_client import (
    Committed,
    DecidedBy,
    LimitStatus,
    NotReservedError,
    PolicyReservations,
    PreconditionError,
    ReservationLostError,
    Reserved,
    SidecarClient,
    UnavailableError,
)
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb

if TYPE_CHECKING:
    from played_sidecar import Play

UNAVAILABLE = Refusal(code=grpc.StatusCode.UNAVAILABLE, reason="STORE_UNAVAILABLE", retry_after_ms=1)
DENIED = Refusal(code=grpc.StatusCode.INTERNAL, reason="STORE_DENIED")
LOST = Refusal(code=grpc.StatusCode.FAILED_PRECONDITION, reason="RESERVATION_UNKNOWN")
CANCELLED = pb.CancelResponse(freed=7)
COMMITTED = pb.CommitResponse(
    charged=2, shortfall=1, limit=10, remaining=8, reset_after=duration_pb2.Duration(seconds=60)
)
HELD = "r.7"
KEY = "clinic:7"


def reserved() -> pb.ReserveResponse:
    """Return the answer to who has room."""
    return pb.ReserveResponse(
        reserved=True,
        token=HELD,
        limit=10,
        remaining=3,
        reset_after=duration_pb2.Duration(seconds=60),
        expires_after=duration_pb2.Duration(seconds=30),
    )


def refused(seconds: int = 20) -> pb.ReserveResponse:
    """Return the answer to who has none for so long."""
    return pb.ReserveResponse(limit=10, remaining=3, retry_after=duration_pb2.Duration(seconds=seconds))


def kinds(play: Play) -> list[str]:
    """Return the kinds of the calls that arrived."""
    return [type(call.request).__name__.removesuffix("Request") for call in play.received]


class TestCalls:
    """The three calls by themselves."""

    async def test_hold_says_what_is_held(self, play: Play, sidecar: SidecarClient) -> None:
        """Durations become timedeltas, and each of several limits says its own."""
        answer = reserved()
        answer.limits.add(name="hourly", allowed=True, limit=10, remaining=3)
        answer.decided_by = pb.DECIDED_BY_OVERRIDE_LIMITS
        play.answer(answer)
        none = timedelta(0)
        expected = Reserved(
            reserved=True,
            token=HELD,
            limit=10,
            remaining=3,
            retry_after=none,
            reset_after=timedelta(minutes=1),
            expires_after=timedelta(seconds=30),
            limits=(
                LimitStatus(name="hourly", allowed=True, limit=10, remaining=3, retry_after=none, reset_after=none),
            ),
            decided_by=DecidedBy.OVERRIDE_LIMITS,
        )
        assert expected == await sidecar.limit("exports").hold(KEY, cost=7)

    async def test_hold_sends_what_is_asked_for(self, play: Play, sidecar: SidecarClient) -> None:
        """Cost, time and name; a time that is left out stays the policy's."""
        play.answer(reserved(), reserved())
        exports = sidecar.limit("exports")
        await exports.hold(KEY, cost=7, ttl=1.5, reservation_id="job")
        await exports.hold(KEY)
        ttl = duration_pb2.Duration(seconds=1, nanos=500_000_000)
        assert [
            pb.ReserveRequest(policy="exports", key=KEY, cost=7, ttl=ttl, reservation_id="job"),
            pb.ReserveRequest(policy="exports", key=KEY, cost=1),
        ] == [call.request for call in play.received]

    async def test_a_refusal_is_not_silently_true(self, play: Play, sidecar: SidecarClient) -> None:
        """`if await limit.hold(key):` would let everybody in, so it raises."""
        play.answer(refused())
        answer = await sidecar.limit("exports").hold(KEY)
        with pytest.raises(TypeError, match=r"ask \.reserved"):
            bool(answer)

    async def test_hold_is_repeated_only_with_a_name(self, play: Play, sidecar: SidecarClient) -> None:
        """Without one a second Reserve may hold twice."""
        play.answer(UNAVAILABLE, UNAVAILABLE, reserved())
        exports = sidecar.limit("exports")
        with pytest.raises(UnavailableError):
            await exports.hold(KEY)
        await exports.hold(KEY, reservation_id="job")
        assert ["", "job", "job"] == [call.request.reservation_id for call in play.received]

    async def test_commit_says_what_was_charged(self, play: Play, sidecar: SidecarClient) -> None:
        """And by how much it fell short; without a cost it sends none, and 0 is one."""
        play.answer(COMMITTED, COMMITTED)
        exports = sidecar.limit("exports")
        answers = [await exports.commit(KEY, HELD), await exports.commit(KEY, HELD, 0)]
        expected = Committed(charged=2, shortfall=1, limit=10, remaining=8, reset_after=timedelta(minutes=1))
        assert [expected] * 2 == answers
        assert [False, True] == [call.request.HasField("cost") for call in play.received]

    async def test_commit_is_never_repeated(self, play: Play, sidecar: SidecarClient) -> None:
        """A second one would not find what the first has ended."""
        play.answer(UNAVAILABLE)
        with pytest.raises(UnavailableError):
            await sidecar.limit("exports").commit(KEY, HELD)
        assert ["Commit"] == kinds(play)

    async def test_a_reservation_that_has_ended_is_an_error_to_who_commits(
        self, play: Play, sidecar: SidecarClient
    ) -> None:
        """It is a precondition that does not hold, and names itself."""
        play.answer(LOST)
        with pytest.raises(PreconditionError) as caught:
            await sidecar.limit("exports").commit(KEY, HELD)
        assert (ReservationLostError, "RESERVATION_UNKNOWN") == (type(caught.value), caught.value.reason)

    async def test_cancel_is_repeated(self, play: Play, sidecar: SidecarClient) -> None:
        """And one that has ended is an answer: there is nothing to do about it any more."""
        play.answer(UNAVAILABLE, CANCELLED, LOST)
        exports = sidecar.limit("exports")
        assert [True, False] == [await exports.cancel(KEY, HELD) for _ in range(2)]

    async def test_policies_say_what_they_have_of_it(self, play: Play, sidecar: SidecarClient) -> None:
        """Or None."""
        second = duration_pb2.Duration(seconds=1)
        settings = pb.ReservationSettings(ttl=second, max_ttl=second, max_held=5)
        descriptions = [pb.PolicyDescription(name="a", reservations=settings), pb.PolicyDescription(name="b")]
        play.answer(pb.ListPoliciesResponse(policies=descriptions))
        told = PolicyReservations(ttl=timedelta(seconds=1), max_ttl=timedelta(seconds=1), max_held=5)
        assert [told, None] == [policy.reservations for policy in await sidecar.policies()]


class TestBlock:
    """A block that finds out what its work costs."""

    async def test_it_reserves_and_commits(self, play: Play, sidecar: SidecarClient) -> None:
        """With the same key and the token that it got, under a name that makes the first call repeatable."""
        play.answer(UNAVAILABLE, reserved(), COMMITTED)
        async with sidecar.limit("exports").reserve(KEY, cost=7) as reservation:
            done = await reservation.commit(3)
        first, second, commit = [call.request for call in play.received]
        assert reservation.answer is not None
        told = (reservation.token, reservation.answer.remaining, done.charged)
        assert ((HELD, 3, 2), True, first) == (told, len(first.reservation_id) > 20, second)
        assert pb.CommitRequest(policy="exports", key=KEY, token=HELD, cost=3) == commit

    async def test_it_names_the_callers_tier(self, play: Play, sidecar: SidecarClient) -> None:
        """When it reserves, and when it commits."""
        play.answer(reserved(), COMMITTED)
        async with sidecar.limit("exports").reserve(KEY, tier="pro") as reservation:
            await reservation.commit()
        assert ["pro", "pro"] == [call.request.tier for call in play.received]

    async def test_left_without_a_commit_it_is_cancelled(self, play: Play, sidecar: SidecarClient) -> None:
        """Whether by an error, which is raised as it is, or not."""
        play.answer(reserved(), CANCELLED, reserved(), CANCELLED)
        async with sidecar.limit("exports").reserve(KEY):
            await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            async with sidecar.limit("exports").reserve(KEY):
                raise ZeroDivisionError
        assert ["Reserve", "Cancel"] * 2 == kinds(play)

    async def test_it_can_be_cancelled_before(self, play: Play, sidecar: SidecarClient) -> None:
        """And is then not cancelled again."""
        play.answer(reserved(), CANCELLED)
        async with sidecar.limit("exports").reserve(KEY) as reservation:
            freed = await reservation.cancel()
        assert (True, ["Reserve", "Cancel"]) == (freed, kinds(play))

    async def test_a_commit_that_failed_is_not_cancelled(self, play: Play, sidecar: SidecarClient) -> None:
        """The work was done: what it may have cost stays held until its time is over. The block may try again."""
        play.answer(reserved(), UNAVAILABLE, COMMITTED, reserved(), UNAVAILABLE)
        async with sidecar.limit("exports").reserve(KEY) as reservation:
            with pytest.raises(UnavailableError):
                await reservation.commit(3)
            await reservation.commit(3)
        with pytest.raises(UnavailableError):
            async with sidecar.limit("exports").reserve(KEY) as reservation:
                await reservation.commit(3)
        assert ["Reserve", "Commit", "Commit", "Reserve", "Commit"] == kinds(play)

    async def test_a_cancellation_that_fails_is_no_error_of_the_blocks(
        self, play: Play, sidecar: SidecarClient
    ) -> None:
        """The reservation ends by itself."""
        play.answer(reserved(), DENIED)
        async with sidecar.limit("exports").reserve(KEY) as reservation:
            assert HELD == reservation.token
        assert ["Reserve", "Cancel"] == kinds(play)

    async def test_no_room_is_an_error_at_once(self, play: Play, sidecar: SidecarClient) -> None:
        """Unless it is told to wait; the error holds the refusal."""
        play.answer(refused())
        with pytest.raises(NotReservedError, match="3 of 10 are left") as caught:
            async with sidecar.limit("exports").reserve(KEY):
                raise AssertionError
        assert (False, timedelta(seconds=20)) == (caught.value.answer.reserved, caught.value.answer.retry_after)

    async def test_it_waits_for_room(self, play: Play, sidecar: SidecarClient) -> None:
        """Asking again under the same name, long before the holds of others end."""
        play.answer(refused(), refused(), reserved(), CANCELLED)
        async with asyncio.timeout(5), sidecar.limit("exports").reserve(KEY, wait=60):
            await asyncio.sleep(0)
        names = {call.request.reservation_id for call in play.received[:3]}
        assert (["Reserve"] * 3 + ["Cancel"], 1) == (kinds(play), len(names))

    async def test_it_waits_no_longer_than_told(self, play: Play, sidecar: SidecarClient) -> None:
        """A last look is made when the time is over."""
        play.answer(*[refused() for _ in range(100)])
        with pytest.raises(NotReservedError):
            async with asyncio.timeout(5), sidecar.limit("exports").reserve(KEY, wait=timedelta(milliseconds=50)):
                raise AssertionError
        assert 1 < len(play.received) < 20

    async def test_cancelled_while_it_reserves_it_gives_back_what_it_gets(
        self, play: Play, sidecar: SidecarClient
    ) -> None:
        """Nobody else would, until it ends."""
        asked, answer_now = asyncio.Event(), asyncio.Event()

        async def late() -> pb.ReserveResponse:
            asked.set()
            await answer_now.wait()
            return reserved()

        play.answer(late, CANCELLED)

        async def work() -> None:
            async with sidecar.limit("exports").reserve(KEY):
                raise AssertionError

        working = asyncio.create_task(work())
        await asked.wait()
        working.cancel()
        await asyncio.sleep(0)
        answer_now.set()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert ["Reserve", "Cancel"] == kinds(play)

    async def test_it_is_entered_once(self, play: Play, sidecar: SidecarClient) -> None:
        """Each block has a reservation of its own."""
        play.answer(reserved(), CANCELLED)
        reservation = sidecar.limit("exports").reserve(KEY)
        async with reservation as entered:
            assert entered is reservation
        with pytest.raises(RuntimeError, match="entered once"):
            await reservation.__aenter__()
