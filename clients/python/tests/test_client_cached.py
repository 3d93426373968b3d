"""`cached`: what a call makes of each answer, on an event loop and in threads."""

from __future__ import annotations

import asyncio
import inspect
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from played_sidecar import Play, Refusal
from sidecar_client import (
    BlockingSidecar,
    DeadlineExceededError,
    InvalidRequestError,
    NotConfiguredError,
    SidecarClient,
    UnavailableError,
    cached,
)
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

LEASE = cache_pb2.GetOrLoadResponse(outcome=cache_pb2.LOAD_OUTCOME_LEASE, token="t")  # noqa: S106 (no password)
FILLED = cache_pb2.FillResponse(version=7)
ABSENT = cache_pb2.GetOrLoadResponse(outcome=cache_pb2.LOAD_OUTCOME_ABSENT)
WAIT = cache_pb2.GetOrLoadResponse(outcome=cache_pb2.LOAD_OUTCOME_WAIT)
DELETED = cache_pb2.DeleteResponse(outcome=common_pb2.WRITE_OUTCOME_APPLIED)
GONE = Refusal(code=grpc.StatusCode.UNAVAILABLE, reason="STORE_UNAVAILABLE")


def hit(value: bytes, version: int = 3) -> cache_pb2.GetOrLoadResponse:
    """Return a hit."""
    entry = cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_HIT, value=value, version=version)
    return cache_pb2.GetOrLoadResponse(outcome=cache_pb2.LOAD_OUTCOME_HIT, entry=entry)


@dataclass(frozen=True)
class Balance:
    """A result with a type."""

    account: int
    cents: int


class Ledger:
    """An origin that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    def read(self, account: int) -> Balance | None:
        """Return a balance; odd accounts only."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Balance(account, 1250) if account % 2 else None


class Subject:
    """A cached function that is called in the same way whether it is asyncio's or a thread's."""

    def __init__(self, play: Play, *, blocking: bool) -> None:
        self.play = play
        self.ledger = Ledger()
        self.blocking = blocking

    async def call(self, act: Callable[[Any], Any], **options: Any) -> Any:
        """Return what `act` does with the cached function."""
        if self.blocking:
            return await asyncio.to_thread(self._call_in_thread, act, options)
        async with SidecarClient(self.play.address, timeout=30) as sidecar:

            @cached(sidecar.cache("balances"), name="balance", **options)
            async def balance(account: int) -> Balance | None:
                return self.ledger.read(account)

            return await act(balance)

    def _call_in_thread(self, act: Callable[[Any], Any], options: dict[str, Any]) -> Any:
        with BlockingSidecar(self.play.address, timeout=30) as sidecar:

            @cached(sidecar.cache("balances"), name="balance", **options)
            def balance(account: int) -> Balance | None:
                return self.ledger.read(account)

            return act(balance)


@pytest.fixture(params=[False, True], ids=["asyncio", "threads"])
def subject(play: Play, request: pytest.FixtureRequest) -> Subject:
    """Return a cached function of either kind."""
    return Subject(play, blocking=request.param)


async def test_a_hit_is_decoded_to_the_annotated_type(subject: Subject) -> None:
    """And the function is not called."""
    subject.play.answer(hit(b'{"account":7,"cents":1}'))
    assert Balance(7, 1) == await subject.call(lambda balance: balance(7))
    assert (0, "balance(account=7)") == (subject.ledger.asked, subject.play.received[0].request.key)


async def test_a_lease_calls_the_function_and_fills_its_json(subject: Subject) -> None:
    """With the TTL of the decorator; the caller gets what the function returned."""
    subject.play.answer(LEASE, FILLED)
    assert Balance(7, 1250) == await subject.call(lambda balance: balance(7), ttl=30)
    filled = subject.play.received[1].request
    assert (b'{"account":7,"cents":1250}', 30, "t") == (filled.value, filled.ttl.seconds, filled.token)


async def test_none_is_remembered_as_absent(subject: Subject) -> None:
    """The sidecar is told, and what it tells others is None again."""
    subject.play.answer(LEASE, cache_pb2.FillResponse())
    assert await subject.call(lambda balance: balance(8)) is None
    assert subject.play.received[1].request.absent
    subject.play.answer(ABSENT)
    assert await subject.call(lambda balance: balance(8)) is None
    assert 1 == subject.ledger.asked


async def test_who_waits_asks_again(subject: Subject) -> None:
    """And has what the other has loaded."""
    subject.play.answer(WAIT, hit(b'{"account":7,"cents":1}'))
    assert Balance(7, 1) == await subject.call(lambda balance: balance(7))


async def test_a_load_that_takes_too_long_is_not_joined(subject: Subject) -> None:
    """A slow origin would get all the calls at once."""
    subject.play.answer(WAIT)
    with pytest.raises(DeadlineExceededError, match="has not done so in time"):
        await subject.call(lambda balance: balance(7), wait=0)
    assert 0 == subject.ledger.asked


async def test_what_the_function_raises_is_raised(subject: Subject) -> None:
    """Once; the load is ended as failed, and the function is not called again, not even for a SidecarError."""
    for error in (OSError("the ledger is gone"), UnavailableError("another's", code=grpc.StatusCode.UNAVAILABLE)):
        subject.play.answer(LEASE, cache_pb2.FillResponse())
        subject.ledger.error = error
        with pytest.raises(type(error)) as caught:
            await subject.call(lambda balance: balance(7))
        assert error is caught.value
        assert subject.play.received[-1].request.failed
    assert 2 == subject.ledger.asked


@pytest.mark.parametrize("decodes", [True, False])
async def test_what_is_stale_stands_in_if_asked_to(subject: Subject, decodes: bool) -> None:  # noqa: FBT001 (parameter)
    """Unless it cannot be decoded: then what the function raised is all there is."""
    lease = cache_pb2.GetOrLoadResponse()
    lease.CopyFrom(LEASE)
    lease.entry.outcome = common_pb2.OUTCOME_STALE
    lease.entry.value = b'{"account":7,"cents":1}' if decodes else b"{}"
    subject.play.answer(lease, cache_pb2.FillResponse())
    subject.ledger.error = OSError("the ledger is gone")
    if decodes:
        assert Balance(7, 1) == await subject.call(lambda balance: balance(7), stale_if_error=True)
    else:
        with pytest.raises(OSError, match="the ledger is gone"):
            await subject.call(lambda balance: balance(7), stale_if_error=True)


async def test_what_cannot_be_decoded_is_loaded_anew(subject: Subject) -> None:
    """The entry is deleted as of its version, and one of all who find it so loads it."""
    subject.play.answer(hit(b'{"account":7}', version=3), DELETED, LEASE, FILLED)
    assert Balance(7, 1250) == await subject.call(lambda balance: balance(7))
    deleted, filled = subject.play.received[1].request, subject.play.received[-1].request
    assert (3, b'{"account":7,"cents":1250}') == (deleted.condition.if_version, filled.value)


async def test_what_cannot_be_decoded_twice_is_left_to_the_other_version(subject: Subject) -> None:
    """The function is called without the cache."""
    subject.play.answer(hit(b"1"), DELETED, hit(b"2", version=4), DELETED)
    assert Balance(7, 1250) == await subject.call(lambda balance: balance(7))
    assert 1 == subject.ledger.asked


async def test_a_sidecar_that_cannot_be_asked_is_done_without(
    subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    """The cache's trouble is not the caller's; the log hears of it."""
    subject.play.answer(GONE, GONE, GONE)
    assert Balance(7, 1250) == await subject.call(lambda balance: balance(7))
    assert 1 == subject.ledger.asked
    assert ["the cache of balance cannot be asked, and it is called each time: STORE_UNAVAILABLE: no luck"] == [
        record.getMessage() for record in caplog.records if record.name == "sidecar_client.cached"
    ]


async def test_a_sidecar_that_cannot_be_asked_raises_if_asked_to(subject: Subject) -> None:
    """And the function is not called."""
    subject.play.answer(GONE, GONE, GONE)
    with pytest.raises(UnavailableError):
        await subject.call(lambda balance: balance(7), on_failure="raise")
    assert 0 == subject.ledger.asked


async def test_mistakes_raise(subject: Subject) -> None:
    """Otherwise nobody would notice that nothing is cached."""
    subject.play.answer(Refusal(code=grpc.StatusCode.NOT_FOUND, reason="CACHE_UNKNOWN"))
    with pytest.raises(NotConfiguredError):
        await subject.call(lambda balance: balance(7))
    subject.play.answer(LEASE, Refusal(code=grpc.StatusCode.INVALID_ARGUMENT, reason="VALUE_TOO_LARGE"))
    with pytest.raises(InvalidRequestError):
        await subject.call(lambda balance: balance(7))


async def test_invalidate_deletes_the_entry(subject: Subject) -> None:
    """Of the same arguments, however they are passed."""
    subject.play.answer(DELETED)
    await subject.call(lambda balance: balance.invalidate(account=7))
    request = subject.play.received[0].request
    assert (cache_pb2.DeleteRequest(cache="balances", key="balance(account=7)")) == request


async def test_a_serializer_of_ones_own(subject: Subject) -> None:
    """It need not know msgspec."""

    class Cents:
        def encode(self, value: Balance, /) -> bytes:
            return f"{value.account} {value.cents}".encode()

        def decode(self, octets: bytes, /) -> Balance:
            account, cents = octets.split()
            return Balance(int(account), int(cents))

    subject.play.answer(LEASE, FILLED, hit(b"7 1"))
    values = [await subject.call(lambda balance: balance(7), serializer=Cents()) for _ in range(2)]
    assert ([Balance(7, 1250), Balance(7, 1)], b"7 1250") == (values, subject.play.received[1].request.value)


async def test_a_method_is_cached_without_its_object(play: Play, sidecar: SidecarClient) -> None:
    """A cache that is opened later is asked for at the call; names and documentation are the method's."""

    class Bank:
        @cached(lambda: sidecar.cache("balances"), name="bank", ignore=["trace"])
        async def balance(self, account: int, trace: str = "") -> int:
            """Read a balance."""
            return account + len(trace)

    play.answer(LEASE, FILLED, DELETED)
    bank = Bank()
    assert 10 == await bank.balance(7, trace="abc")
    await bank.balance.invalidate(7)
    keys = {received.request.key for received in play.received} | {bank.balance.key_for(7, "x")}
    assert ({"bank(account=7)"}, "balance", "Read a balance.") == (keys, bank.balance.__name__, bank.balance.__doc__)


async def test_a_method_of_threads_is_cached_without_its_object(play: Play) -> None:
    """As an asyncio one is."""
    play.answer(LEASE, FILLED)
    with BlockingSidecar(play.address, timeout=30) as sidecar:

        class Bank:
            @cached(sidecar.cache("balances"), name="bank")
            def balance(self, account: int) -> int:
                return account

        assert 7 == await asyncio.to_thread(Bank().balance, 7)
    assert "bank(account=7)" == play.received[0].request.key


async def test_a_key_of_ones_own(sidecar: SidecarClient) -> None:
    """It is used as it is, so that others can name it, as long as it is not too long."""

    @cached(sidecar.cache("balances"), key=lambda account: f"account:{account}")
    async def balance(account: str) -> str:
        return account

    assert "account:7" == balance.key_for("7")
    assert 512 == len(balance.key_for("7" * 600))

    @cached(sidecar.cache("balances"), key=lambda _: "")
    async def nameless(account: str) -> str:
        return account

    with pytest.raises(TypeError, match="must be a text that is not empty"):
        nameless.key_for("7")


async def test_what_can_never_work_is_refused_at_once(sidecar: SidecarClient) -> None:
    """Where it is written, and not at the first call."""
    cache = sidecar.cache("balances")

    async def unannotated(account):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (the subject)
        return account

    def blocking() -> int:
        return 1

    async def fine() -> int:
        return 1

    with pytest.raises(TypeError, match="has no return annotation"):
        cached(cache)(unannotated)
    with pytest.raises(TypeError, match="needs a BlockingCache, not a Cache"):
        cached(cache)(blocking)
    with pytest.raises(ValueError, match=r"no parameters \['trace'\] to ignore"):
        cached(cache, ignore=["trace"])(fine)
    with pytest.raises(ValueError, match="'call' or 'raise'"):
        cached(cache, on_failure="open")(fine)  # type: ignore[arg-type]


async def test_without_msgspec_it_is_said_what_to_install(
    sidecar: SidecarClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless there is a serializer."""
    monkeypatch.setattr("sidecar_client.serializers.find_spec", lambda _: None)

    async def one() -> int:
        return 1

    with pytest.raises(ImportError, match=r"pip install 'sidecar-client\[cached\]'"):
        cached(sidecar.cache("balances"))(one)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="functions can be marked since Python 3.12")
async def test_frameworks_see_a_coroutine_function(sidecar: SidecarClient) -> None:
    """They would call it in a thread otherwise."""

    @cached(sidecar.cache("balances"))
    async def one() -> int:
        return 1

    assert inspect.iscoroutinefunction(one)
