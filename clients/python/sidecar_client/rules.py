"""Which limits stand before a route, and what their answers mean together.

A `Rule` is a limit with everything that the sidecar cannot know: whose allowance a request takes from (`key`), and what
to do when the limit cannot be asked (`on_failure`). The rules of a request are asked in their order, one after the
other, and the first that does not let it through ends the matter. Each that was asked before has been charged by then:
a request that the second rule refuses has used up its cost in the first. So the narrowest comes first, the one that
costs nobody else anything. (A check of several limits at once, all or nothing, takes another call of the sidecar.)

A limit *fails* when there is no answer: the sidecar or its store cannot be reached, is overloaded or too slow, or is at
fault. It is then as good as not there ("open"), or as good as used up ("closed"). Neither is right for everything: a
login should rather stop than be guessed at without bound, a list of wards should rather be shown. So there is no
default.

A limit of nothing refuses everything, and waiting helps nobody: such a refusal has no wait. An operator may set it to
stop something at once, while the application runs, so it is neither a failure nor a mistake.

A mistake is no failure: a policy that is not configured, a key that is empty or too long, a cost that can never pass.
That raises. If a misspelt policy failed open, nobody would ever notice that the limit is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

from sidecar_client.durations import ZERO, to_timedelta
from sidecar_client.errors import COST_ABOVE_LIMIT, InvalidRequestError, NotConfiguredError, SidecarError
from sidecar_client.http_fields import is_name
from sidecar_client.results import Decision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar_client.durations import Span

SubjectT = TypeVar("SubjectT")

OnFailure = Literal["open", "closed"]
"""What becomes of a request when a limit cannot be asked: it passes, or it does not."""

# What is allowed by a limit of nothing.
_NEVER = Decision(allowed=False, limit=0, remaining=0, retry_after=ZERO, reset_after=ZERO)

# How long a caller is sent away when the sidecar itself does not say: it is back from a restart within about a second.
FAILURE_WAIT = timedelta(seconds=1)


class Ruling(Enum):
    """What one rule says of one request."""

    ALLOWED = "allowed"
    """The cost was taken."""
    REFUSED = "refused"
    """There is not enough left; nothing was taken by this rule."""
    FAILED_OPEN = "failed_open"
    """The limit could not be asked, and the rule lets the request through."""
    FAILED_CLOSED = "failed_closed"
    """The limit could not be asked, and the rule does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Generic[SubjectT]):
    """A limit before a route. Raises ValueError for what can never work.

    `key` says whose allowance is used; None: this rule does not concern the request. Keys stand in Redis as they are,
    and in the clear: hash what is personal, and whatever a caller can make longer than 512 bytes.
    """

    policy: str
    """The name of a rate limit in the sidecar's configuration."""
    key: Callable[[SubjectT], str | Awaitable[str | None] | None]
    on_failure: OnFailure
    name: str = ""
    """What the rule is called in answers and to observers; the policy's name if it is empty. Two rules need two."""
    cost: int = 1
    tier: Callable[[SubjectT], str | Awaitable[str]] | None = None
    """Says the caller's tier, one of the policy's `tiers`; empty, or None in its place: the policy's own numbers."""
    window: Span | None = None
    """The policy's window, only to be told to clients (`w` of `RateLimit-Policy`): the sidecar's answers lack it."""
    advertise: bool = True
    """Whether answers say what is left. Not where that tells a stranger what somebody else does: with a limit for each
    account, anyone could watch its owner log in. A refusal then says only when to come again."""

    def __post_init__(self) -> None:
        if not is_name(self.label):
            raise ValueError(f"the name of a rule, or of its policy, must be printable ASCII, not {self.label!r}")
        if self.on_failure not in get_args(OnFailure):
            raise ValueError(f'on_failure must be "open" or "closed", not {self.on_failure!r}')
        if self.cost < 1:
            raise ValueError(f"a cost must be at least 1, not {self.cost}: one that takes nothing allows everything")
        if self.window is not None and to_timedelta(self.window) <= ZERO:
            raise ValueError("a window must be positive")

    @property
    def label(self) -> str:
        """The rule's name, or its policy's."""
        return self.name or self.policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of asking one rule. It does not hold the key: answers go to logs and metrics."""

    rule: Rule[Any]
    ruling: Ruling
    decision: Decision | None = None
    """The sidecar's; None when the limit failed."""
    error: SidecarError | None = None
    """Why the limit failed, if it did."""

    @property
    def passes(self) -> bool:
        """Whether the rule lets the request through."""
        return self.ruling in {Ruling.ALLOWED, Ruling.FAILED_OPEN}

    @property
    def wait(self) -> timedelta | None:
        """How long a request that did not pass should wait; None: it will never pass."""
        if self.decision is not None:
            return self.decision.retry_after or None
        return (self.error and self.error.retry_after) or FAILURE_WAIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the rules say of a request together."""

    answers: tuple[Answer, ...] = field(default=())
    """Of the rules that were asked, in their order; none comes after one that does not pass."""

    @property
    def stopped_by(self) -> Answer | None:
        """The answer that does not let the request through; None if it passes."""
        last = self.answers[-1] if self.answers else None
        return None if last is None or last.passes else last


def decided(rule: Rule[Any], decision: Decision) -> Answer:
    """Return the answer of a rule whose limit was asked."""
    return Answer(rule=rule, ruling=Ruling.ALLOWED if decision.allowed else Ruling.REFUSED, decision=decision)


def failed(rule: Rule[Any], error: SidecarError) -> Answer:
    """Return the answer of a rule whose limit could not be asked; raises `error` if that was the rule's own mistake."""
    if error.reason == COST_ABOVE_LIMIT and error.metadata.get("limit") == "0":
        return decided(rule, _NEVER)
    if isinstance(error, InvalidRequestError | NotConfiguredError):
        raise error
    ruling = Ruling.FAILED_OPEN if rule.on_failure == "open" else Ruling.FAILED_CLOSED
    return Answer(rule=rule, ruling=ruling, error=error)
