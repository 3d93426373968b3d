"""Conditions under which a write is made; the sidecar checks one and writes in one atomic step."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar_client.gen.sidecar.v1 import common_pb2


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Holds when there is no entry."""


@dataclass(frozen=True, slots=True)
class IfPresent:
    """Holds when there is an entry."""


@dataclass(frozen=True, slots=True)
class IfVersion:
    """Holds when the entry's version is this one: compare-and-set."""

    version: int


Condition = IfAbsent | IfPresent | IfVersion


def if_absent() -> IfAbsent:
    """Write only what is not there yet."""
    return IfAbsent()


def if_present() -> IfPresent:
    """Write only over what is there."""
    return IfPresent()


def if_version(version: int) -> IfVersion:
    """Write only if nobody has since the read that returned `version`."""
    return IfVersion(version)


def to_condition(condition: Condition | None) -> common_pb2.Condition | None:
    """Return `condition` as it travels."""
    match condition:
        case None:
            return None
        case IfAbsent():
            return common_pb2.Condition(if_absent=True)
        case IfPresent():
            return common_pb2.Condition(if_present=True)
        case IfVersion(version):
            return common_pb2.Condition(if_version=version)
