"""Origins as caches see them, made of their policies, and what a test wants to know of their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.origin import OriginValue
from sidecar.call import Call
from sidecar.clock import NEVER, after
from sidecar.config.named_parameters import take_apart
from sidecar.config.origin_rules import KNOWN_PARAMETERS
from sidecar.errors import SidecarError
from sidecar.origins.breaker import BreakerPolicy
from sidecar.origins.catalog import Origins
from sidecar.origins.gate import GatePolicy
from sidecar.origins.policies import CacheOriginPolicy, DatabasePolicy, OriginPolicy, WebPolicy
from sidecar.telemetry.metrics import Counter, Metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.cache.origin import Origin

MAX_VALUE_BYTES = 10_000


def gate_policy(
    *, timeout: float = 10.0, max_concurrency: int = 8, failures: int = 1000, window: float = 10.0, pause: float = 0.05
) -> GatePolicy:
    """Return a gate's policy that leaves all to the test."""
    breaker = BreakerPolicy(failures=failures, window=window, pause=pause)
    return GatePolicy(name="home", timeout=timeout, max_concurrency=max_concurrency, breaker=breaker)


class Made(NamedTuple):
    """An origin of one cache, `things`, and what belongs to it."""

    origin: Origin
    origins: Origins
    metrics: Metrics

    def outcomes(self) -> dict[str, int]:
        """Return how its calls ended, and how often."""
        family = self.metrics.families["sidecar_origin_calls"]
        if not isinstance(family, Counter):
            raise TypeError("calls are counted")
        return {outcome: cell.value for (_, outcome), cell in family.cells.items() if cell.value}


def made(policy: OriginPolicy, asked: Mapping[str, str] | None = None) -> Made:
    """Return an origin; `asked` is what stands with the cache, by what it is for."""
    metrics = Metrics()
    written = dict(asked or {})
    cache = CacheOriginPolicy(cache="things", origin="home", paths=written if isinstance(policy, WebPolicy) else {})
    if isinstance(policy, DatabasePolicy):
        statements = {key: take_apart(sql, KNOWN_PARAMETERS[key]) for key, sql in written.items()}
        cache = CacheOriginPolicy(cache="things", origin="home", statements=statements)
    origins = Origins([policy], [cache], max_value_bytes=MAX_VALUE_BYTES, metrics=metrics, draw=lambda: 0.0)
    return Made(origins.of_caches["things"], origins, metrics)


def call_within(seconds: float | None = None) -> Call:
    """Return a call with so much time."""
    return Call("/test/Load", deadline=NEVER if seconds is None else after(seconds))


def said(answers: Sequence[OriginValue | SidecarError | None]) -> list[object]:
    """Return answers in a form to compare: bytes for a value without more, a reason's name and code for an error."""
    return [_said(answer) for answer in answers]


def _said(answer: OriginValue | SidecarError | None) -> object:
    if isinstance(answer, SidecarError):
        code = answer.metadata.get("code")
        return answer.reason.name.removeprefix("ORIGIN_") + (f" {code}" if code else "")
    if isinstance(answer, OriginValue) and answer.ttl_ms is None and not answer.tags:
        return answer.value
    return answer
