"""The store over one server: commands, batches, scripts, and whose answer is whose."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from support.stopwatch import Stopwatch

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, StoreError
from sidecar.store import commands, scripts
from sidecar.store.base import Command, ScriptCall

if TYPE_CHECKING:
    from support.servers import StoreServer

    from sidecar.store.base import Reply
    from sidecar.store.pool import Pool
    from sidecar.store.standalone import StandaloneStore


def a_call(seconds: float = 30.0) -> Call:
    """Return a call with that much time."""
    return Call("/test", deadline=after(seconds))


def said(reply: Reply | StoreError) -> object:
    """Return a reply that can be compared."""
    return (reply.reason, reply.message) if isinstance(reply, StoreError) else reply


def set_script(key: bytes, value: bytes) -> ScriptCall:
    """Return a run of a script that writes `value`."""
    return ScriptCall(scripts.load("set_raw"), (key, key), (value, 60_000, "", b"", 0), False)


class TestCall:
    """Single commands."""

    async def test_a_value_comes_back_as_it_was_written(self, store: StandaloneStore) -> None:
        """Bytes pass unchanged in both directions."""
        value = bytes(range(256)) + b"\r\n$5\r\n"
        await store.call(Command(("SET", b"k", value), False), a_call())
        assert value == await store.call(commands.get(b"k"), a_call())

    async def test_a_missing_key_is_none(self, store: StandaloneStore) -> None:
        """RESP3's null is None."""
        assert await store.call(commands.get(b"nothing"), a_call()) is None

    async def test_an_error_reply_becomes_the_projects_error(self, store: StandaloneStore) -> None:
        """A wrong type has its own reason, and its message does not repeat the key."""
        await store.call(Command(("LPUSH", b"secret-key", b"x"), False), a_call())
        with pytest.raises(StoreError) as caught:
            await store.call(commands.get(b"secret-key"), a_call())
        assert (Reason.WRONG_TYPE, False) == (caught.value.reason, "secret" in caught.value.message)

    async def test_commands_of_one_tick_share_a_write(self, store: StandaloneStore, server: StoreServer) -> None:
        """Fifty commands reach the server in a handful of reads."""
        oracle = server.oracle()
        before = int(oracle.info("stats")["total_reads_processed"])
        await asyncio.gather(*(store.call(commands.get(b"k"), a_call()) for _ in range(50)))
        assert int(oracle.info("stats")["total_reads_processed"]) - before <= 5

    async def test_callers_out_of_step_are_answered_alike(self, store: StandaloneStore) -> None:
        """Commands that come one by one are written at once; those that then come together are gathered again."""
        for number in range(50):
            await store.call(Command(("SET", b"%d" % number, b"v%d" % number), False), a_call())
        for _ in range(3):
            got = await asyncio.gather(*(store.call(commands.get(b"%d" % number), a_call()) for number in range(50)))
            assert [b"v%d" % number for number in range(50)] == got


class TestCallMany:
    """Batches."""

    async def test_replies_stand_in_order(self, store: StandaloneStore) -> None:
        """Each reply is at its command's place."""
        await store.call_many([Command(("SET", b"%d" % n, b"v%d" % n), False) for n in range(100)], a_call())
        replies = await store.call_many([commands.get(b"%d" % n) for n in range(100)], a_call())
        assert [b"v%d" % n for n in range(100)] == replies

    async def test_one_failure_leaves_the_others_alone(self, store: StandaloneStore) -> None:
        """An error stands in place of its reply only."""
        await store.call_many([Command(("SET", b"a", b"1"), False), Command(("LPUSH", b"list", b"x"), False)], a_call())
        first, second, third = await store.call_many(
            [commands.get(b"a"), commands.get(b"list"), commands.get(b"b")], a_call()
        )
        assert (b"1", Reason.WRONG_TYPE, None) == (first, second.reason, third)

    async def test_an_empty_batch_asks_nothing(self, store: StandaloneStore) -> None:
        """No commands, no replies."""
        assert [] == await store.call_many([], a_call())


class TestGetMany:
    """Reads together."""

    @pytest.mark.parametrize("count", [1, 2, 100])
    async def test_they_are_what_a_get_of_each_returns(self, store: StandaloneStore, count: int) -> None:
        """Values, nulls and errors, under keys of any bytes and lengths."""
        keys = [b"\r\n$3\r\n%d" % number * number for number in range(1, count + 1)]
        await store.call_many([Command(("SET", key, key[::-1]), False) for key in keys[::2]], a_call())
        await store.call_many([Command(("LPUSH", key, b"x"), False) for key in keys[1::4]], a_call())
        expected = await store.call_many([commands.get(key) for key in keys], a_call())
        got = await store.get_many(keys, a_call())
        assert list(map(said, expected)) == list(map(said, got))

    async def test_none_asks_nothing(self, store: StandaloneStore) -> None:
        """No keys, no replies."""
        assert [] == await store.get_many([], a_call())


class TestScripts:
    """Scripts, and servers that have forgotten them (F5)."""

    async def test_a_flushed_script_is_loaded_again(self, store: StandaloneStore, server: StoreServer) -> None:
        """No caller sees NOSCRIPT."""
        await store.run(set_script(b"k", b"one"), a_call())
        server.oracle().script_flush()
        await store.run(set_script(b"k", b"two"), a_call())
        assert server.oracle().get("k") == b"two"

    async def test_scripts_of_a_batch_are_loaded_too(self, store: StandaloneStore, server: StoreServer) -> None:
        """All run once, although none was known."""
        server.oracle().script_flush()
        replies = await store.call_many([set_script(b"%d" % n, b"v") for n in range(10)], a_call())
        assert ([[1, 0, 60_000]] * 10, 10) == (replies, server.oracle().dbsize())

    async def test_what_concerns_one_key_keeps_its_order_when_scripts_are_loaded(
        self, store: StandaloneStore, server: StoreServer
    ) -> None:
        """A script that has to be sent anew is not overtaken by what stands behind it in the batch."""
        server.oracle().script_flush()
        batch: list[Command | ScriptCall] = [
            commands.get(b"k"),
            set_script(b"k", b"one"),
            set_script(b"other", b"else"),
            commands.get(b"k"),
            set_script(b"k", b"two"),
            commands.get(b"k"),
            commands.delete(b"k"),
            commands.get(b"k"),
        ]
        replies = await store.call_many(batch, a_call())
        expected = [None, [1, 0, 60_000], [1, 0, 60_000], b"one", [1, 0, 60_000], b"two", 1, None]
        assert expected == replies

    async def test_flushes_under_load_reach_no_caller(self, store: StandaloneStore, server: StoreServer) -> None:
        """A script is flushed again and again while many callers run it."""
        oracle = server.oracle()

        async def write(number: int) -> None:
            for turn in range(50):
                await store.run(set_script(b"%d" % number, b"%d" % turn), a_call())

        async def flush() -> None:
            for _ in range(20):
                oracle.script_flush()
                await asyncio.sleep(0.002)

        await asyncio.gather(flush(), *(write(number) for number in range(20)))
        assert [b"49"] * 20 == oracle.mget([str(number) for number in range(20)])


class TestDeadlines:
    """A request ends with its call."""

    async def test_a_hung_server_costs_the_deadline_and_no_more(
        self, store: StandaloneStore, server: StoreServer
    ) -> None:
        """The caller is told within 50 ms of its deadline."""
        server.pause()
        watch = Stopwatch()
        with pytest.raises(StoreError) as caught:
            await store.call(commands.get(b"k"), a_call(0.2))
        assert caught.value.reason is Reason.DEADLINE_EXCEEDED
        assert watch.seconds < 0.25
        server.resume()

    async def test_a_late_reply_goes_to_nobody(self, store: StandaloneStore, server: StoreServer) -> None:
        """The next caller on the connection gets its own answer."""
        await store.call(Command(("SET", b"a", b"A"), False), a_call())
        await store.call(Command(("SET", b"b", b"B"), False), a_call())
        server.pause()
        with pytest.raises(StoreError):
            await store.call(commands.get(b"a"), a_call(0.1))
        server.resume()
        assert await store.call(commands.get(b"b"), a_call()) == b"B"


class Crowd:
    """Callers who ask for keys' values, and often give up; each answer is checked against its own key."""

    KEYS = 1_000

    def __init__(self, store: StandaloneStore) -> None:
        self._store = store
        self._rng = random.Random(1)
        self.abandoned = 0
        self.answered = 0

    async def fill(self) -> None:
        """Give every key a value that tells whose it is."""
        await self._store.call_many(
            [Command(("SET", b"k%d" % n, b"v%d" % n), False) for n in range(self.KEYS)], a_call(30)
        )

    async def rush(self) -> None:
        """Let 500 callers begin, and most of them be cancelled somewhere on their way."""
        rng = self._rng
        tasks = [
            asyncio.create_task(self._ask(rng.randrange(self.KEYS), rng.choice([5.0, 0.0, 0.0001]))) for _ in range(500)
        ]
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        for task in rng.sample(tasks, 400):
            if rng.random() < 0.1:
                await asyncio.sleep(0)
            self.abandoned += task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)

    async def _ask(self, number: int, seconds: float) -> None:
        wanted = [number] if number % 5 else [(number + offset) % self.KEYS for offset in range(3)]
        try:
            if len(wanted) == 1:
                got = [await self._store.call(commands.get(b"k%d" % number), a_call(seconds))]
            else:
                got = await self._store.call_many([commands.get(b"k%d" % n) for n in wanted], a_call(seconds))
        except StoreError as error:
            got = [error]
        if all(isinstance(reply, StoreError) and reply.reason is Reason.DEADLINE_EXCEEDED for reply in got):
            self.abandoned += 1
            return
        assert [b"v%d" % n for n in wanted] == got
        self.answered += 1


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_callers_who_give_up_never_shift_the_answers(store: StandaloneStore, pool: Pool) -> None:
    """F1: after 10^5 random cancellations and timeouts on one pool, each reply was its own key's, and none is left."""
    crowd = Crowd(store)
    await crowd.fill()
    while crowd.abandoned < 100_000:
        await crowd.rush()
    await store.call(commands.get(b"k0"), a_call())
    assert crowd.answered > 10_000
    assert (0, 2) == (pool.in_flight, pool.ready_connections)
