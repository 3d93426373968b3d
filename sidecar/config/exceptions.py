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
        yield from _parts(path, policy)


def _lists(path: Path, policy: CheckedSettings) -> Iterator[Finding]:
    for key in _LISTS:
        entries: tuple[str, ...] = getattr(policy, key)
        for repeated in sorted({entry for entry in entries if entries.count(entry) > 1}):
            yield Finding((*path, key), f"`{repeated}` is listed twice")
    for entry in sorted(set(policy.unlimited_keys) & set(policy.denied_keys)):
        yield Finding((*path, "unlimited_keys"), f"`{entry}` is also in denied_keys", ((*path, "denied_keys"),))


def _parts(path: Path, policy: CombinedSettings) -> Iterator[Finding]:
    for name, part in policy.limits.items():
        for key, field in CheckedSettings.model_fields.items():
            if key not in _RULED_ELSEWHERE and getattr(part, key) != field.default:
                yield Finding((*path, "limits", name, key), "stands on the policy, beside `limits`, not on one of them")


def _denies_all(policy: CheckedSettings) -> bool:
    if isinstance(policy, CombinedSettings):
        return any(_denies_all(part) for part in policy.limits.values())
    return getattr(policy, "limit", None) == 0
