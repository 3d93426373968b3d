"""The scripts of reservations against their model: equal step by step, and in what they store, on real servers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import hiredis
import pytest
from support.holders import Walk
from support.timed_scripts import LUA, TIMED_NOW_AMONG_OTHERS, TTLS_FROM_MS

from sidecar.store.scripts import Script, load, load_from

if TYPE_CHECKING:
    from support.holders import Request
    from support.wire import Wire, Words

    Step = tuple[Request, int, list[int]]

BATCH_SEQUENCES = 250
NAMES = ("check_reserved", "reserve_limits", "commit_hold", "release_slots")
TIMED = {name: load_from(LUA, name, replaced={"now": TIMED_NOW_AMONG_OTHERS}) for name in NAMES}
PRODUCTION = {name: load(name) for name in NAMES}
# Where an answer has the store's time, if not in third place.
NOW_AT = {"check_reserved": 0}


def load_all(wire: Wire, scripts: dict[str, Script]) -> None:
    """Load the scripts that the commands name."""
    wire.send(*(("SCRIPT", "LOAD", script.source) for script in scripts.values()))


def compare(wire: Wire, walks: list[tuple[Walk, list[Step]]]) -> None:
    """Run all sequences, each on keys of its own, and hold replies, TTLs and holds against the models'."""
    batch: list[Words] = []
    for walk, steps in walks:
        batch += [request.command(TIMED[request.script].sha, now_us) for request, now_us, _ in steps]
        for account in walk.accounts:
            batch += [("PEXPIRETIME", key) for key in account.keys]
            batch += [("ZRANGE", account.held_key, 0, -1, "WITHSCORES"), ("DEL", *account.keys)]
    replies = iter(wire.send(*batch))
    for walk, steps in walks:
        assert [answer for *_, answer in steps] == [next(replies) for _ in steps], f"after {steps}"
        for account in walk.accounts:
            expiries_ms = [next(replies) for _ in account.keys]
            flat = next(replies)
            stored = {member: float(score) for member, score in zip(flat[::2], flat[1::2], strict=True)}
            assert (account.expiries_ms(TTLS_FROM_MS), account.stored()) == (expiries_ms, stored), f"after {steps}"
            next(replies)


def random_steps(walk: Walk, number: int) -> list[Step]:
    """Walk the models at random."""
    steps = []
    for _ in range(number):
        walk.pass_time()
        request = walk.request()
        steps.append((request, walk.now_us, request.answer_at(walk.now_us)))
    return steps


def test_random_sequences_equal_the_model(wire: Wire, sequences: int) -> None:
    """Ten thousand random sequences give the model's answers step by step, and leave its holds and TTLs.

    Checks of several policies, reservations, commits and cancellations, at times around those when holds end or limits
    give back, after clocks that went back, and under policies that change.
    """
    load_all(wire, TIMED)
    rng = random.Random("reservations")
    for _ in range(sequences // BATCH_SEQUENCES):
        walks = [Walk(rng, f"reserved:{number}") for number in range(BATCH_SEQUENCES)]
        compare(wire, [(walk, random_steps(walk, rng.randint(1, 12))) for walk in walks])


def test_sequences_of_many_holds_equal_the_model(wire: Wire) -> None:
    """What refusals have to wait for is right, too, where dozens of holds end before there is room."""
    load_all(wire, TIMED)
    rng = random.Random("many holds")
    walks = [Walk(rng, f"crowded:{number}", crowded=True) for number in range(60)]
    compare(wire, [(walk, random_steps(walk, 120)) for walk in walks])


def test_production_scripts_equal_the_model_at_the_servers_times(wire: Wire) -> None:
    """The scripts as they ship, TTLs included, give what the model says for the times that they return."""
    load_all(wire, PRODUCTION)
    rng = random.Random("production: reservations")
    for number in range(200):
        # What a TTL lets go under a changed policy is forgotten, and the models know nothing of that.
        walk = Walk(rng, f"reserved-production:{number}", changes=False)
        for _ in range(15):
            walk.now_us = wire.now_us()
            request = walk.request()
            (reply,) = wire.send(request.command(PRODUCTION[request.script].sha))
            assert request.answer_at(reply[NOW_AT.get(request.script, 2)]) == reply
        wire.send(*(("DEL", *account.keys) for account in walk.accounts))


def test_nothing_is_charged_or_held_when_a_state_is_foreign(wire: Wire) -> None:
    """A string that no script wrote ends the call, whatever the limits before it would have taken."""
    load_all(wire, PRODUCTION)
    window = (2, 5, 100_000, 11)
    keys = ("{foreign}:0", "{foreign}:1", "{foreign}:h")
    check = (1, 2, 1, 1, *window, *window)
    reserve = (1, 1_000_000, "r" * 23, 10, *window, *window)
    for name, words in (("check_reserved", check), ("reserve_limits", reserve)):
        _, reply, first, second, held, _ = wire.send_raw(
            [
                ("SET", keys[1], "x"),
                ("EVALSHA", PRODUCTION[name].sha, 3, *keys, *words),
                ("EXISTS", keys[0]),
                ("GET", keys[1]),
                ("EXISTS", keys[2]),
                ("DEL", keys[1]),
            ]
        )
        assert ("SCFORMAT", 0, b"x", 0) == (str(reply).split(" ", 1)[0], first, second, held)


@pytest.mark.parametrize("foreign", [("SET", "{foreign}:h", "x"), ("ZADD", "{foreign}:h", 7, "seven")])
def test_nothing_is_charged_when_the_holds_are_foreign(wire: Wire, foreign: Words) -> None:
    """Nor written over."""
    load_all(wire, PRODUCTION)
    words = (
        "EVALSHA",
        PRODUCTION["check_reserved"].sha,
        2,
        "{foreign}:0",
        "{foreign}:h",
        1,
        1,
        1,
        1,
        2,
        5,
        100_000,
        11,
    )
    _, reply, state, left, _ = wire.send_raw(
        [foreign, words, ("EXISTS", "{foreign}:0"), ("EXISTS", "{foreign}:h"), ("DEL", "{foreign}:h")]
    )
    assert (True, 0, 1) == (isinstance(reply, hiredis.ReplyError), state, left)
