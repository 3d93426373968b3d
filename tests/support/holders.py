"""Policies with reservations in a random sequence: the models of all that is stored, and what to ask next."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.ratelimit import slots_model
from sidecar.ratelimit.models import holds
from sidecar.ratelimit.models.holds import Asked, One
from sidecar.ratelimit.policy import FixedWindowPolicy
from sidecar.ratelimit.slots_model import ID_CHARS, NAMED, RANDOM, Leases, token_of
from sidecar.ratelimit.terms import NUMBERS
from support.limit_models import (
    DAY_US,
    RANDOM_POLICY,
    SECOND_US,
    Act,
    log_uniform,
    model,
    random_boundaries,
    right_boundaries,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from sidecar.ratelimit.calendar_windows import Boundaries
    from sidecar.ratelimit.model import Step, Verdict
    from sidecar.ratelimit.models.holds import After
    from sidecar.ratelimit.policy import Policy
    from support.wire import Words

_KINDS = ("check", "reserve", "commit", "cancel")
_NO_KEY = -2
# There is room for some hundred small holds.
_ROOMY = 300


class Request(NamedTuple):
    """One run of a script."""

    script: str
    keys: tuple[str, ...]
    words: tuple[str | int, ...]
    answer_at: Callable[[int], list[int]]
    """What the models answer at a time; they take the step."""

    def command(self, sha: str, *more: int) -> Words:
        """Return the command that runs the script, which must be loaded."""
        return ("EVALSHA", sha, len(self.keys), *self.keys, *self.words, *more)


class Account:
    """One key of a policy: its limits, what is stored of them, and what is held if it has reservations."""

    def __init__(self, rng: random.Random, name: str, kinds: Sequence[type[Policy]], *, reserves: bool) -> None:
        self._name = name
        self._kinds = kinds
        self.reserves = reserves
        self.policies: list[Policy] = []
        self.change(rng)
        self.states: list[Any] = [None] * len(kinds)
        self.ttls_ms: list[int | None] = [None] * len(kinds)
        self.held: Leases | None = None
        self.held_ttl_ms: int | None = None

    def change(self, rng: random.Random) -> None:
        """Give it other limits, of the same kinds."""
        self.policies = [_random_policy(rng, kind) for kind in self._kinds]

    @property
    def most(self) -> int:
        """The highest cost that may be asked for."""
        return min(policy.limit for policy in self.policies)

    @property
    def limit_keys(self) -> tuple[str, ...]:
        """The keys of the limits' states."""
        return tuple([f"{self._name}:{number}" for number in range(len(self._kinds))])

    @property
    def held_key(self) -> str:
        """The key of the holds."""
        return f"{self._name}:h"

    @property
    def keys(self) -> tuple[str, ...]:
        """All its keys, as the scripts want them."""
        return (*self.limit_keys, self.held_key) if self.reserves else self.limit_keys

    def limits(self, now_us: int, boundaries: Sequence[Boundaries | None]) -> list[One]:
        """Return the limits as they are, for the model."""
        return [
            One(partial(_decide, policy, now_us, bounds), policy.limit, state)
            for policy, bounds, state in zip(self.policies, boundaries, self.states, strict=True)
        ]

    def words(self, boundaries: Sequence[Boundaries | None]) -> list[str | int]:
        """Return what the scripts get of the limits."""
        return [
            word
            for policy, bounds in zip(self.policies, boundaries, strict=True)
            for word in (NUMBERS[type(policy)], *policy.constants, *(bounds or ()))
        ]

    def take(self, after: After) -> tuple[Verdict, ...]:
        """Store what the model says is stored."""
        for number, ttl_ms in enumerate(after.ttls_ms):
            self.states[number] = after.states[number]
            if ttl_ms is not None:
                self.ttls_ms[number] = ttl_ms
        self.held = after.holds
        if after.holds_ttl_ms is not None:
            self.held_ttl_ms = after.holds_ttl_ms
        return after.verdicts

    def stored(self) -> dict[bytes, float]:
        """Return the members of the key of the holds, with their scores."""
        if self.held is None:
            return {}
        members = {"used": -self.held.used, "longest": -self.held.longest_us}
        for hold_id, (cost, ends_us) in self.held.by_id.items():
            members[token_of(hold_id, cost)] = ends_us
            if hold_id.startswith(NAMED):
                members[hold_id] = -cost
        return {member.encode(): float(score) for member, score in members.items()}

    def expiries_ms(self, from_ms: int) -> list[int]:
        """Return what PEXPIRETIME says of each of the keys."""
        ttls_ms = list(self.ttls_ms)
        if self.reserves:
            ttls_ms.append(None if self.held is None else self.held_ttl_ms)
        return [_NO_KEY if ttl_ms is None else from_ms + ttl_ms for ttl_ms in ttls_ms]


class Walk:
    """Some accounts, and the time. A `crowded` one has a single account, with many small holds on it."""

    def __init__(self, rng: random.Random, name: str, *, changes: bool = True, crowded: bool = False) -> None:
        self._rng = rng
        self._changes = changes and not crowded
        self._crowded = crowded
        kinds = [[rng.choice(list(RANDOM_POLICY)) for _ in range(rng.choice([1, 1, 2, 3]))] for _ in range(3)]
        self.accounts = [
            Account(rng, f"{{{name}}}{place}", kinds[place], reserves=place == 0 or rng.random() < 0.5)
            for place in range(1 if crowded else rng.choice([1, 1, 1, 2, 3]))
        ]
        while crowded and self.accounts[0].most < _ROOMY:
            self.accounts[0].change(rng)
        self.now_us = 1_700_000_000 * SECOND_US + rng.randrange(DAY_US)
        self._waits = [0]
        self._serial = 0
        # In some, hardly any time passes, so that much is held at a time.
        self._haste = 0.99 if crowded else rng.choice([0.0, 0.5, 0.9])

    def pass_time(self) -> None:
        """Let time pass, often to around a moment that matters, and now and then backwards."""
        rng = self._rng
        if rng.random() < self._haste:
            self.now_us += rng.randint(0, 5)
            return
        held = [account.held for account in self.accounts if account.held is not None]
        ends_us = [lease.ends_us - self.now_us for leases in held for lease in leases.by_id.values()]
        step_us = abs(
            rng.choice(
                [
                    0,
                    rng.choice(self._waits),
                    rng.choice(self._waits) - 1,
                    rng.choice(ends_us or [0]) + rng.randint(-1, 1),
                    rng.randint(0, 5),
                    log_uniform(rng, 1, 90_000 * SECOND_US),
                ]
            )
        )
        self.now_us = max(0, min(self.now_us + (-step_us if rng.random() < 0.1 else step_us), 2**52))

    def request(self) -> Request:
        """Return what to ask next, by the models as they are now."""
        rng = self._rng
        if self._changes and rng.random() < 0.05:
            rng.choice(self.accounts).change(rng)
        account = self.accounts[0]
        weights = (4, 8, 2, 0.7) if account.held else (4, 8, 0.2, 0.1)
        kind = rng.choices(_KINDS, (3, 8, 0.3, 0.1) if self._crowded else weights)[0]
        if kind == "check" or account.most == 0:
            return self._check()
        if kind == "reserve":
            return self._reserve(account)
        hold_id, reserved = self._some_hold(account)
        return (self._commit if kind == "commit" else self._cancel)(account, hold_id, reserved)

    def _check(self) -> Request:
        rng = self._rng
        accounts = rng.sample(self.accounts, rng.randint(1, len(self.accounts)))
        taking = rng.random() < (0.1 if self._crowded else 0.8)
        costs = [self._cost(account) for account in accounts]
        bounds = [self._boundaries(account) for account in accounts]
        words: list[str | int] = [int(taking)]
        for account, cost, own in zip(accounts, costs, bounds, strict=True):
            words += [len(account.policies), cost, int(account.reserves), *account.words(own)]

        def answer_at(now_us: int) -> list[int]:
            calls = [
                Asked(account.limits(now_us, own), account.held, cost)
                for account, cost, own in zip(accounts, costs, bounds, strict=True)
            ]
            answer = [now_us]
            for account, after in zip(accounts, holds.check(calls, now_us, commit=taking), strict=True):
                answer += self._said(account.take(after))
            return answer

        keys = tuple([key for account in accounts for key in account.keys])
        return Request("check_reserved", keys, tuple(words), answer_at)

    def _reserve(self, account: Account) -> Request:
        rng = self._rng
        self._serial += 1
        named = rng.random() < 0.4 and not self._crowded
        hold_id = _an_id(NAMED, rng.randint(0, 2)) if named else _an_id(RANDOM, self._serial)
        cost, most = self._cost(account, least=1), rng.choice([1, 2, 1_000, 1_000, 1_000])
        if named and account.held and hold_id in account.held.by_id and rng.random() < 0.7:
            cost = min(account.held.by_id[hold_id].slots, account.most)
        length_us = rng.choice([10_000, SECOND_US, 30 * SECOND_US, log_uniform(rng, 10_000, DAY_US)])
        if self._crowded:
            length_us = log_uniform(rng, SECOND_US, DAY_US)
        bounds = self._boundaries(account)

        def answer_at(now_us: int) -> list[int]:
            asked = Asked(account.limits(now_us, bounds), account.held, cost)
            became, expires_after_us, after = holds.reserve(asked, now_us, hold_id, length_us=length_us, most=most)
            said = self._said(account.take(after)) if after is not None else []
            return [int(became), expires_after_us, now_us, *said]

        words = (cost, length_us, hold_id, most, *account.words(bounds))
        return Request("reserve_limits", account.keys, words, answer_at)

    def _commit(self, account: Account, hold_id: str, reserved: int) -> Request:
        cost = self._rng.choice([0, reserved, reserved // 2, reserved + 1, 2 * reserved, 2**32 - 1])
        bounds = self._boundaries(account)

        def answer_at(now_us: int) -> list[int]:
            asked = Asked(account.limits(now_us, bounds), account.held, cost)
            charged, after = holds.commit(asked, now_us, hold_id, reserved=reserved)
            said = self._said(account.take(after)) if after is not None else []
            return [int(after is not None), charged, now_us, *said]

        words = (token_of(hold_id, reserved), cost, *account.words(bounds))
        return Request("commit_hold", account.keys, words, answer_at)

    def _cancel(self, account: Account, hold_id: str, reserved: int) -> Request:
        def answer_at(now_us: int) -> list[int]:
            done = slots_model.release(account.held, now_us, hold_id, slots=reserved)
            account.held = done.state
            if done.ttl_ms is not None:
                account.held_ttl_ms = done.ttl_ms
            return [*map(int, done.answer), now_us]

        return Request("release_slots", (account.held_key,), (token_of(hold_id, reserved),), answer_at)

    def _cost(self, account: Account, least: int = 0) -> int:
        rng, most = self._rng, account.most
        live = holds.live(account.held, self.now_us)
        limits = account.limits(self.now_us, self._boundaries(account, right=True))
        left = min(holds.look(limit, live, self.now_us, 0).remaining for limit in limits)
        if self._crowded and least and rng.random() < 0.9:
            return rng.randint(1, 3)
        few = (least, 1, 1, rng.randint(1, 60), left // 3, left // 9)
        cost = rng.choice([*few, left, left + 1, left // 2, most // 3, most])
        return max(least, min(cost, most))

    def _boundaries(self, account: Account, *, right: bool = False) -> list[Boundaries | None]:
        if right:
            return [right_boundaries(policy, self.now_us) for policy in account.policies]
        return [random_boundaries(self._rng, policy, self.now_us) for policy in account.policies]

    def _said(self, verdicts: Sequence[Verdict]) -> list[int]:
        self._waits += [wait for verdict in verdicts for wait in verdict[2:]]
        return [int(value) for verdict in verdicts for value in verdict]

    def _some_hold(self, account: Account) -> tuple[str, int]:
        """Return a hold that is there, most often, and what it holds."""
        rng = self._rng
        if account.held is None or rng.random() < 0.1:
            return _an_id(rng.choice([NAMED, RANDOM]), rng.randint(0, 3)), 1
        hold_id, lease = rng.choice(list(account.held.by_id.items()))
        return hold_id, lease.slots if rng.random() < 0.95 else lease.slots + 1


def _decide(
    policy: Policy, now_us: int, boundaries: Boundaries | None, state: Any, cost: int, *, commit: bool
) -> Step[Any]:
    return model(Act(policy, now_us, cost, commit, boundaries), state)


def _random_policy(rng: random.Random, kind: type[Policy]) -> Policy:
    while True:
        policy = RANDOM_POLICY[kind](rng)
        if not isinstance(policy, FixedWindowPolicy) or not policy.charge_refused:
            return policy


def _an_id(kind: str, number: int) -> str:
    return kind + str(number).rjust(ID_CHARS - 1, "0")
