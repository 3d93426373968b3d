"""The script of several limits against its model: equal step by step, on real servers."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from support.limit_models import RANDOM_POLICY, SECOND_US, Act, log_uniform, model, most_cost, random_boundaries
from support.timed_scripts import LUA, TIMED_NOW, TTLS_FROM_MS

from sidecar.ratelimit.models.together import check_together
from sidecar.ratelimit.terms import NUMBERS
from sidecar.store.scripts import load, load_from

if TYPE_CHECKING:
    from support.wire import Wire, Words

    from sidecar.ratelimit.model import Step
    from sidecar.ratelimit.policy import Policy

BATCH_SEQUENCES = 250
TIMED = load_from(LUA, "check_limits", replaced={"now": TIMED_NOW})
PRODUCTION = load("check_limits")
NO_KEY = -2


def words(acts: list[Act], keys: list[str], sha: str, *more: int) -> Words:
    """Return the command that charges several limits."""
    said = [word for act in acts for word in (NUMBERS[type(act.policy)], act.cost, *act.constants)]
    return ("EVALSHA", sha, len(keys), *keys, int(acts[0].commit), *said, *more)


def act_on(act: Act, state: Any, *, commit: bool) -> Step[Any]:
    """Return what the model of one limit does."""
    return model(act._replace(commit=commit), state)


class Run:
    """The models of several limits in the middle of a sequence."""

    def __init__(self, policies: list[Policy]) -> None:
        self.policies = policies
        self.states: list[Any] = [None] * len(policies)
        self.ttls_ms: list[int | None] = [None] * len(policies)

    def step(self, acts: list[Act]) -> list[int]:
        """Take one step and return what the script is to answer."""
        checks = [partial(act_on, act) for act in acts]
        answer = [acts[0].now_us]
        for number, step in enumerate(check_together(checks, self.states, commit=acts[0].commit)):
            self.states[number] = step.state
            if step.ttl_ms is not None:
                self.ttls_ms[number] = step.ttl_ms
            answer += map(int, step.verdict)
        return answer


def random_steps(rng: random.Random, run: Run) -> list[tuple[list[Act], list[int]]]:
    """Walk the models at random, with a taste for costs that some of the limits refuse."""
    at_us = 1_700_000_000 * SECOND_US + rng.randrange(86_400 * SECOND_US)
    steps = []
    waits = [0]
    for _ in range(rng.randint(1, 10)):
        back = -1 if rng.random() < 0.1 else 1
        at_us += back * rng.choice([0, rng.choice(waits), rng.randint(0, 5), log_uniform(rng, 1, 90_000 * SECOND_US)])
        at_us = max(0, min(at_us, 2**52))
        commit, cost = rng.random() < 0.85, rng.choice([0, 1, 1, rng.randint(0, 60)])
        acts = [
            Act(policy, at_us, min(cost, most_cost(policy)), commit, random_boundaries(rng, policy, at_us))
            for policy in run.policies
        ]
        answer = run.step(acts)
        waits = [*answer[3::4], *answer[4::4]]
        steps.append((acts, answer))
    return steps


def random_policies(rng: random.Random) -> list[Policy]:
    """Return one to four policies of any kinds, some of the same."""
    return [RANDOM_POLICY[rng.choice(list(RANDOM_POLICY))](rng) for _ in range(rng.randint(1, 4))]


def test_random_sequences_equal_the_model(wire: Wire, sequences: int) -> None:
    """Ten thousand random sequences on several limits give the model's answers step by step, and leave its TTLs."""
    sha = wire.send(("SCRIPT", "LOAD", TIMED.source))[0]
    rng = random.Random("several limits")
    for _ in range(sequences // BATCH_SEQUENCES):
        batch: list[Words] = []
        expected: list[Any] = []
        for number in range(BATCH_SEQUENCES):
            run = Run(random_policies(rng))
            keys = [f"{{several:{number}}}:{place}" for place in range(len(run.policies))]
            for acts, answer in random_steps(rng, run):
                batch.append(words(acts, keys, sha.decode(), acts[0].now_us))
                expected.append(answer)
            for key, ttl_ms in zip(keys, run.ttls_ms, strict=True):
                batch += [("PEXPIRETIME", key), ("DEL", key)]
                expected += [NO_KEY if ttl_ms is None else TTLS_FROM_MS + ttl_ms, int(ttl_ms is not None)]
        assert expected == wire.send(*batch)


@pytest.mark.parametrize("kind", NUMBERS)
def test_one_limit_is_decided_as_by_its_own_script(wire: Wire, kind: type[Policy]) -> None:
    """The script as it ships, TTLs included, gives what the model says for the times that it returns."""
    sha = wire.send(("SCRIPT", "LOAD", PRODUCTION.source))[0].decode()
    rng = random.Random(f"several limits, production: {kind.__name__}")
    for number in range(100):
        policy = RANDOM_POLICY[kind](rng)
        run, key = Run([policy]), f"single:{number}"
        for _ in range(10):
            act = Act(policy, 0, rng.randint(0, min(policy.limit, 5)), rng.random() < 0.8)
            act = act._replace(boundaries=random_boundaries(rng, policy, wire.now_us()))
            reply = wire.send(words([act], [key], sha))[0]
            assert run.step([act._replace(now_us=reply[0])]) == reply
        wire.send(("DEL", key))


def test_no_limit_is_charged_when_a_state_is_foreign(wire: Wire) -> None:
    """A string that no script wrote ends the call, whatever the limits before it would have taken."""
    sha = wire.send(("SCRIPT", "LOAD", PRODUCTION.source))[0].decode()
    rng = random.Random(3)
    bucket, window = (Act(RANDOM_POLICY[kind](rng), 0, 1, commit=True) for kind in list(NUMBERS)[:2])
    keys = ["{foreign}:0", "{foreign}:1"]
    _, reply, first, second, _ = wire.send_raw(
        [
            ("SET", keys[1], "x"),
            words([bucket, window], keys, sha),
            ("EXISTS", keys[0]),
            ("GET", keys[1]),
            ("DEL", keys[1]),
        ]
    )
    assert ("SCFORMAT", 0, b"x") == (str(reply).split(" ", 1)[0], first, second)
