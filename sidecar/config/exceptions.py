"""Rules about what a policy says beside its limits: what contradicts itself, or says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.findings import Finding
from sidecar.config.policies import CheckedSettings, CombinedSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.problems import Path

_LISTS = ("unlimited_keys", "denied_keys")

# Of these, other rules say why they are not for one of several limits.
_RULED_ELSEWHERE = frozenset({"lease"})


def exception_rules(path: Path, policy: CheckedSettings) -> Iterator[Finding]:
    """Return what is wrong with a policy's exceptions."""
    yield from _lists(path, policy)
    if policy.unlimited and policy.unlimited_keys:
        yield Finding((*path, "unlimited_keys"), "has no use where all keys are `unlimited`", ((*path, "unlimited"),))
    if policy.unlimited and _denies_all(policy):
        yield Finding((*path, "unlimited"), "contradicts a limit of 0, which refuses everything")
    if isinstance(policy, CombinedSettings):
        for name, part in policy.limits.items():
            message = "stands on the policy, beside `limits`, not on one of them"
            yield from _bare((*path, "limits", name), part, message, _RULED_ELSEWHERE)
    if policy.candidate is not None:
        yield from _candidate(path, policy, policy.candidate)


def _lists(path: Path, policy: CheckedSettings) -> Iterator[Finding]:
    for key in _LISTS:
        entries: tuple[str, ...] = getattr(policy, key)
        for repeated in sorted({entry for entry in entries if entries.count(entry) > 1}):
            yield Finding((*path, key), f"`{repeated}` is listed twice")
    for entry in sorted(set(policy.unlimited_keys) & set(policy.denied_keys)):
        yield Finding((*path, "unlimited_keys"), f"`{entry}` is also in denied_keys", ((*path, "denied_keys"),))


def _bare(path: Path, limit: CheckedSettings, message: str, but: frozenset[str] = frozenset()) -> Iterator[Finding]:
    for key, field in CheckedSettings.model_fields.items():
        if key not in but and getattr(limit, key) != field.default:
            yield Finding((*path, key), message)


def _candidate(path: Path, policy: CheckedSettings, candidate: CheckedSettings) -> Iterator[Finding]:
    yield from _bare((*path, "candidate"), candidate, "stands on the policy, not on its candidate")
    if isinstance(candidate, CombinedSettings):
        for name, part in candidate.limits.items():
            yield from _bare(
                (*path, "candidate", "limits", name), part, "stands on the policy, not on a limit of its candidate"
            )
    if policy.unlimited or _denies_all(policy):
        yield Finding((*path, "candidate"), "has no use where the policy's own limit is not asked")
    if policy.cache_refusals:
        yield Finding(
            (*path, "cache_refusals"),
            "cannot be with a candidate, which would not see what is refused without the store",
            ((*path, "candidate"),),
        )
    if policy.lease is not None:
        yield Finding(
            (*path, "lease"),
            "cannot be with a candidate, which would not see what is spent without the store",
            ((*path, "candidate"),),
        )


def _denies_all(policy: CheckedSettings) -> bool:
    if isinstance(policy, CombinedSettings):
        return any(_denies_all(part) for part in policy.limits.values())
    return getattr(policy, "limit", None) == 0
