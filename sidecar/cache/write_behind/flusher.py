"""Sends the changes of a write-behind cache to its origin: the doing that `schedule` decides on.

One task goes round: renews what is owned (`ownership`), takes what there is room for, and starts the calls of the
origin, each a task of its own that settles its answers before it ends. The round begins anew when a call has ended,
when something is due, or after `flush_after`, which is how soon a change is seen that came by another sidecar.

What the origin has answered is told to the store until the store has heard it, or the partition is another's: who
forgot it would have the origin asked again, which is right with tokens, and twice the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

from sidecar.cache.origin import backstop, blames_configuration
from sidecar.cache.write_behind.changes import UNREADABLE, born_ms, order_of
from sidecar.cache.write_behind.ownership import Ownership
from sidecar.cache.write_behind.partitions import Ask
from sidecar.cache.write_behind.schedule import Schedule, Settled, Verdict
from sidecar.call import Call
from sidecar.clock import Deadline, after
from sidecar.errors import Reason, SidecarError, StoreError
from sidecar.lasting import lasting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.origin import Change, Origin
    from sidecar.cache.write_behind.changes import Reader, Taken
    from sidecar.cache.write_behind.gauges import Gauges
    from sidecar.cache.write_behind.partitions import Partitions, Standing
    from sidecar.cache.write_behind.policy import BehindPolicy

_log = logging.getLogger("sidecar.write_behind")

# Of one call of the store.
_STORE_SECONDS = 2.0
# Between two attempts to tell the store what the origin has answered.
_SETTLE_PAUSE_SECONDS = 0.1
# An origin's answer may be on its way when its time is over.
_MARGIN_SECONDS = 0.2


class Flusher:
    """Sends the changes of one cache."""

    def __init__(
        self,
        *,
        cache: str,
        policy: BehindPolicy,
        partitions: Partitions,
        origin: Origin,
        reader: Reader,
        owner: str,
        gauges: Gauges,
    ) -> None:
        self._cache = cache
        self._policy = policy
        self._partitions = partitions
        self._origin = origin
        self._reader = reader
        self._gauges = gauges
        self._schedule = Schedule(policy, random.random)
        self._own = Ownership(partitions, owner, policy.lease_ms, self._call)
        self._fences = self._own.fences
        self._take_at: dict[int, float] = {}
        self._after: dict[int, str] = {}
        self._passed: dict[int, set[bytes]] = {}
        self._settled: dict[int, int] = {}
        """How often something was settled: a taking that it came into begins anew, since a name may be free again."""
        self._anew: set[int] = set()
        self._sends: set[asyncio.Task[None]] = set()
        self._under_way: Counter[int] = Counter()
        """How many calls of the origin have changes of a partition, until they are settled."""
        self._nudged = asyncio.Event()
        self._hurried = False
        self._task: asyncio.Task[None] | None = None
        self._problem: Reason | None = None
        self._is_blamed = False

    @property
    def owned(self) -> frozenset[int]:
        """The partitions whose changes are sent from here."""
        return frozenset(self._fences)

    @property
    def resting(self) -> frozenset[int]:
        """Those of them that are let go once nothing is under way."""
        return frozenset(self._own.resting)

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(
            lasting(self._run, f"write-behind of cache {self._cache!r}"), name=f"write-behind-{self._cache}"
        )

    def hurry(self) -> None:
        """Take what there is now, without waiting for more to come together."""
        self._take_at.clear()
        self._nudged.set()

    async def drain(self, deadline: Deadline) -> bool:
        """Send what waits now in what is owned here, and let others go on; return whether that was done by `deadline`.

        The last of all who send also takes what nobody owns, and sends all.
        """
        self._hurried = self._own.leaves = True
        self._own.renew_at = 0.0
        until: list[str] = []
        while time.monotonic() < deadline:
            self.hurry()
            try:
                standings = await self._partitions.look(self._call("look"))
            except SidecarError:
                standings = []
            until = until or [standing.last for standing in standings]
            if standings and self._own.alone is not None and self._is_drained(standings, until):
                return True
            await asyncio.sleep(min(0.02, max(0.0, deadline - time.monotonic())))
        return False

    def _is_drained(self, standings: Sequence[Standing], until: Sequence[str]) -> bool:
        if self._own.alone:
            return not any(
                standing.waiting or standing.taken
                for number, standing in enumerate(standings)
                if number in self._fences or not standing.owner
            )
        for number in self._fences:
            first = standings[number].first
            if not (first and until[number] and order_of(first) <= order_of(until[number])):
                self._own.resting.add(number)
        return not self._fences

    async def stop(self) -> None:
        """Stop sending, and let others go on at once."""
        tasks = [task for task in (self._task, *self._sends) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(SidecarError):
            await self._own.end()

    # --- the round ---

    async def _run(self) -> None:
        while True:
            self._nudged.clear()
            try:
                await self._turn()
            except SidecarError as error:
                self._note(error)
            except Exception:  # noqa: BLE001 (it is logged, and told as a failure)
                # Whatever it is, what is pending is safe in the store; the next round may do better.
                _log.exception("a round of write-behind for cache %r failed", self._cache)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._nudged.wait()

    async def _turn(self) -> None:
        now = time.monotonic()
        if now >= self._own.renew_at:
            await self._renew(now)
        else:
            self._forget(self._own.lapsed(now))
        await self._take(time.monotonic())
        while batch := self._schedule.next_batch(time.monotonic(), self._own.resting):
            self._under_way.update({taken.partition for taken in batch})
            send = asyncio.create_task(self._send(batch), name=f"write-behind-{self._cache}-send")
            self._sends.add(send)
            send.add_done_callback(self._sends.discard)
        await self._let_go()
        self._problem = None

    def _pause(self) -> float:
        """Return the seconds until there may be something to do."""
        now = time.monotonic()
        # Of what waits nothing can be sent while all calls are under way; the end of one begins a round.
        full = len(self._sends) >= self._policy.concurrency
        moments = [self._own.renew_at, now + self._policy.flush_after_ms / 1_000]
        wake_at = self._schedule.wake_at(self._own.resting)
        if wake_at is not None and not full and not (self._schedule.origin_is_away and self._sends):
            moments.append(wake_at)
        resting = self._own.resting
        moments += [at for number, at in self._take_at.items() if number not in resting and self._schedule.room(number)]
        return max(0.001, min(moments) - now)

    async def _renew(self, now: float) -> None:
        before = dict(self._fences)
        try:
            renewed = await self._own.renew(now)
        finally:
            self._forget({number for number, fence in before.items() if self._fences.get(number) != fence})
        self._anew |= renewed.gained
        for number in renewed.hurried:
            self._take_at.pop(number, None)
        if self._fences:
            numbers = sorted(self._fences)
            standings = await self._partitions.look(self._call("look"), numbers)
            self._gauges.standings = dict(zip(numbers, standings, strict=True))

    async def _let_go(self) -> None:
        """Let others have what rests and has nothing under way."""
        numbers = {number for number in self._own.resting if not self._under_way[number]}
        if numbers:
            try:
                await self._own.let_go(numbers)
            finally:
                self._forget(numbers)

    def _lose(self, numbers: set[int]) -> None:
        self._own.lose(numbers)
        self._forget(numbers)

    def _forget(self, numbers: set[int]) -> None:
        """Forget the changes of partitions that are not ours any more."""
        for number in numbers:
            self._schedule.drop(number)
            for kept in (self._take_at, self._after, self._passed, self._gauges.standings):
                kept.pop(number, None)
            self._anew.discard(number)

    async def _take(self, now: float) -> None:
        asks = []
        for number, fence in self._fences.items():
            if number in self._own.resting:
                continue
            anew = number in self._anew
            room = self._schedule.room(number)
            if anew or (room and now >= self._take_at.get(number, 0.0)):
                passed = frozenset(self._passed.get(number, ()))
                asks.append(Ask(number, fence, room, self._after.get(number, ""), anew, passed))
        if not asks:
            return
        settled_before = dict(self._settled)
        try:
            gots = await self._partitions.take(asks, self._call("take"))
        except BaseException:
            self._anew.update(ask.partition for ask in asks)
            raise
        for ask, got in zip(asks, gots, strict=True):
            number = ask.partition
            if got is None:
                self._lose({number})
            elif isinstance(got, StoreError):
                self._anew.add(number)
                self._take_at[number] = now + self._policy.flush_after_ms / 1_000
                self._note(got)
            else:
                self._anew.discard(number)
                self._schedule.add(got.taken, now)
                self._gauges.coalesced.value += got.coalesced
                if got.on and self._settled.get(number) == settled_before.get(number):
                    self._after[number] = got.on
                    self._passed[number] = self._passed.get(number, set()) | got.passed
                else:
                    self._look_anew(number)
                # Where there is more it is taken as soon as there is room.
                full = bool(got.on) or len(got.taken) >= max(1, ask.room)
                wait = 0.0 if full or self._hurried else self._policy.flush_after_ms / 1_000
                self._take_at[number] = now + (wait or 0.001)

    # --- a call of the origin ---

    async def _send(self, batch: list[Taken]) -> None:
        try:
            await self._send_and_settle(batch)
        finally:
            self._under_way.subtract({taken.partition for taken in batch})
        self._nudged.set()

    async def _send_and_settle(self, batch: list[Taken]) -> None:
        deadline = Deadline(
            min(time.monotonic() + self._policy.store_timeout_ms / 1_000, self._own.until - _MARGIN_SECONDS)
        )
        call = Call(f"write_behind.{self._cache}", deadline=deadline)
        begun = time.monotonic()
        try:
            answers = await self._answers(batch, call)
        except Exception:  # noqa: BLE001 (it is logged, and told as a failure)
            # A batch without answers would be under way for ever, and its names with it.
            _log.exception("a batch of cache %r could not be sent", self._cache)
            answers = [SidecarError(Reason.INTERNAL, "the batch could not be sent; see the log")] * len(batch)
        self._gauges.seconds.observe(time.monotonic() - begun)
        self._note_blame(answers)
        settled = self._schedule.answered(batch, answers, time.monotonic())
        self._gauges.count(settled)
        dead = [one for one in settled if one.verdict is Verdict.DEAD]
        if dead:
            _log.error(
                "%d changes of cache %r will not reach their origin (%s); they are dead letters",
                len(dead), self._cache, ", ".join(sorted({one.reason for one in dead})),
            )  # fmt: skip
        for number in {one.taken.partition for one in settled}:
            await self._settle(number, [one for one in settled if one.taken.partition == number])

    async def _answers(self, batch: list[Taken], call: Call) -> Sequence[SidecarError | None]:
        """Have the origin make changes; return for each why it was not made, or None."""
        answers: list[SidecarError | None] = [None] * len(batch)
        places: list[int] = []
        changes: list[Change] = []
        oldest = self._own.store_ms() - self._policy.change_life_ms
        for place, taken in enumerate(batch):
            if born_ms(taken.id) < oldest:
                answers[place] = SidecarError(Reason.CHANGE_EXPIRED, "the change is too old to be made")
                continue
            try:
                changes.append(await self._reader.read(taken.name, taken.id, taken.change, call))
                places.append(place)
            except SidecarError as error:
                # What the store does not tell now is no fault of the change.
                is_final = error.reason in UNREADABLE
                answers[place] = error if is_final else SidecarError(Reason.ORIGIN_UNAVAILABLE, error.message)
        if not changes:
            return answers
        made: Sequence[SidecarError | None]
        try:
            async with asyncio.timeout(backstop(max(0.0, call.deadline - time.monotonic()))):
                made = await self._origin.store(changes, call)
        except TimeoutError:
            made = [SidecarError(Reason.ORIGIN_OUTCOME_UNKNOWN, "the origin has not answered in time")] * len(changes)
        except SidecarError as error:
            made = [error] * len(changes)
        except Exception:  # noqa: BLE001 (it is logged, and told as a failure)
            _log.exception("the origin of cache %r failed", self._cache)
            made = [SidecarError(Reason.INTERNAL, "the origin failed; see the log")] * len(changes)
        for place, answer in zip(places, made, strict=True):
            answers[place] = answer
        return answers

    async def _settle(self, number: int, settled: list[Settled]) -> None:
        fence, is_said = self._fences.get(number), False
        while fence is not None and self._fences.get(number) == fence:
            try:
                if not await self._partitions.settle(number, fence, settled, self._call("settle")):
                    self._lose({number} & set(self._fences))
                    return
            except SidecarError as error:
                self._note(error)
                await asyncio.sleep(_SETTLE_PAUSE_SECONDS)
                continue
            except Exception:  # noqa: BLE001 (it is logged, and told again)
                if not is_said:
                    _log.exception("what the origin of cache %r has answered cannot be told to the store", self._cache)
                is_said = True
                await asyncio.sleep(_SETTLE_PAUSE_SECONDS)
                continue
            self._schedule.settle(settled)
            self._settled[number] = self._settled.get(number, 0) + 1
            passed = self._passed.get(number, set())
            if any(one.verdict is not Verdict.RETRY and one.taken.name in passed for one in settled):
                # What was passed over for its sake comes before whatever else of that name.
                self._look_anew(number)
                self._take_at.pop(number, None)
            return

    def _look_anew(self, number: int) -> None:
        """Have a partition's stream looked at from its beginning."""
        self._after.pop(number, None)
        self._passed.pop(number, None)

    def _note(self, error: SidecarError) -> None:
        """Say what goes wrong, once."""
        if error.reason is not self._problem:
            self._problem = error.reason
            _log.warning("the changes of cache %r wait: %s", self._cache, error.message)

    def _note_blame(self, answers: Sequence[SidecarError | None]) -> None:
        """Count what the origin cannot do as it is configured, and say it once, until it can do something again."""
        blames = [answer for answer in answers if answer is not None and blames_configuration(answer)]
        self._gauges.misconfigured.value += len(blames)
        if blames and not self._is_blamed:
            self._is_blamed = True
            _log.error(
                "changes of cache %r wait until its configuration or its origin is mended: %s",
                self._cache,
                blames[0].message,
            )
        elif len(blames) < len(answers):
            self._is_blamed = False

    def _call(self, what: str) -> Call:
        return Call(f"write_behind.{what}", deadline=after(_STORE_SECONDS))
