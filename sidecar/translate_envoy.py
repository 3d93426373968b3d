"""From the files of envoyproxy/ratelimit to the trees that requests are matched against.

As in `translate.py`: the domain knows nothing of files, the configuration knows no domain.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sidecar.config.envoy.folder import read_folder
from sidecar.config.envoy.reader import read
from sidecar.config.problems import ConfigError, Problem
from sidecar.ratelimit.envoy.headers import HeaderKind, HeaderPolicy
from sidecar.ratelimit.envoy.limiter import EnvoyPolicy
from sidecar.ratelimit.envoy.rules import Limit, Node, Rule, Unit
from sidecar.ratelimit.policy import SlidingWindowPolicy, TokenBucketPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sidecar.config.envoy.model import EnvoyDescriptor, EnvoyFile, EnvoyLimit
    from sidecar.config.envoy.settings import EnvoySettings
    from sidecar.config.model import Settings
    from sidecar.ratelimit.policy import Policy


class EnvoyRules(NamedTuple):
    """What the files come to."""

    domains: Mapping[str, Node]
    warnings: Sequence[str]
    """What they say without effect, a sentence each."""


def envoy_files(settings: Settings) -> tuple[EnvoyFile, ...] | None:
    """Return what the configured folder holds, None if none is; raises `ConfigError`."""
    folder = settings.envoy.config_dir
    return None if folder is None else read_folder(Path(folder))


def envoy_rules(files: Iterable[EnvoyFile], settings: EnvoySettings) -> EnvoyRules:
    """Return what the files say; raises `ConfigError` with every problem."""
    config = read(files, merge_domains=settings.merge_domains)
    problems: list[Problem] = []
    domains = {domain.name: Node(children=_children(domain.descriptors, "", problems)) for domain in config.domains}
    if problems:
        raise ConfigError(problems)
    return EnvoyRules(domains, [str(warning) for warning in config.warnings])


def envoy_policy(settings: Settings) -> EnvoyPolicy:
    """Return what holds for all domains."""
    envoy = settings.envoy
    sent = envoy.response_headers
    return EnvoyPolicy(
        shadow_mode=envoy.shadow_mode,
        quota_mode=envoy.quota_mode,
        near_limit_ratio=envoy.near_limit_ratio,
        max_descriptors=settings.limits.max_batch_keys,
        stop_counting_when_over=envoy.stop_counting_when_over,
        dynamic_metadata=envoy.dynamic_metadata,
        remembered_refusals=envoy.max_cached_refusals if envoy.cache_refusals else 0,
        headers=HeaderPolicy(kind=HeaderKind(sent.kind), limit=sent.limit, remaining=sent.remaining, reset=sent.reset),
    )


def check_envoy(settings: Settings) -> Sequence[str]:
    """Return the warnings of the configured folder, if any; raises `ConfigError` with every problem of its files."""
    files = envoy_files(settings)
    return () if files is None else envoy_rules(files, settings.envoy).warnings


def _children(descriptors: Sequence[EnvoyDescriptor], path: str, problems: list[Problem]) -> dict[str, Node]:
    return {
        descriptor.composite: Node(
            children=_children(descriptor.descriptors, f"{path}{descriptor.composite}.", problems),
            rule=_rule(descriptor, f"{path}{descriptor.composite}", problems),
            share_threshold=descriptor.share_threshold,
            value_to_metric=descriptor.value_to_metric,
        )
        for descriptor in descriptors
    }


def _rule(descriptor: EnvoyDescriptor, label: str, problems: list[Problem]) -> Rule | None:
    written = descriptor.limit
    if written is None:
        return None
    policy: Policy | None = None
    try:
        policy = _policy(written, label)
    except ValueError as error:
        problems.append(Problem(origin=written.origin, path="", message=str(error)))
    return Rule(
        limit=written.unit and Limit(written.requests_per_unit, Unit[written.unit.upper()], written.name),
        label=label,
        replaces=frozenset(written.replaces),
        shadow_mode=descriptor.shadow_mode,
        quota_mode=descriptor.quota_mode,
        detailed_metric=descriptor.detailed_metric,
        metadata=descriptor.metadata,
        policy=policy,
    )


def _policy(written: EnvoyLimit, label: str) -> Policy | None:
    """Return the policy of another algorithm than the fixed window; raises ValueError for what cannot be counted."""
    # Of nothing at all, every algorithm lets nothing through.
    if written.unit is None or written.algorithm == "fixed_window" or written.requests_per_unit == 0:
        return None
    length_us = Unit[written.unit.upper()].length_us
    if written.algorithm == "sliding_window":
        return SlidingWindowPolicy(name=label, limit=written.requests_per_unit, window_us=length_us)
    burst = written.requests_per_unit if written.burst is None else written.burst
    return TokenBucketPolicy(name=label, tokens=written.requests_per_unit, period_us=length_us, burst=burst)
