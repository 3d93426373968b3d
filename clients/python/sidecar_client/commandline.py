"""`python -m sidecar_client`: a sidecar's caches, records and limits from a shell.

For those who have no grpcurl. Answers are for people to read; a miss and a refusal are answers, an error is one line on
standard error and exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sidecar_client.client import DEFAULT_ADDRESS, SidecarClient
from sidecar_client.errors import SidecarError
from sidecar_client.reflection import list_services

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sidecar_client.fields import Value
    from sidecar_client.results import Lookup, Record

# A person who starts a sidecar and calls it at once should not meet the client's second.
_TIMEOUT_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        lines = asyncio.run(run(options))
    except (SidecarError, RuntimeError, ValueError, OverflowError) as error:
        sys.stderr.write(f"{_one_line(_complaint(error))}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m sidecar_client", description="Call a sidecar.")
    parser.add_argument(
        "--address",
        default=os.environ.get("SIDECAR_ADDRESS", DEFAULT_ADDRESS),
        help="host:port or unix:/path (default: SIDECAR_ADDRESS, or %(default)s)",
    )
    parser.add_argument("--timeout", type=float, default=_TIMEOUT_S, metavar="SECONDS", help="default: %(default)s")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(
        name: str, does: Callable[..., Awaitable[list[str]]], text: str, *names: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(does=does)
        for positional in names:
            added.add_argument(positional, metavar=positional.upper())
        return added

    command("list", _list, "list the services, by reflection")
    command("get", _get, "read a value", "cache", "key")
    write = command("set", _set, "write a value", "cache", "key", "value")
    write.add_argument("--ttl", type=float, metavar="SECONDS", help="default: the cache's own")
    command("record", _record, "read a record", "cache", "key")
    put = command("put-record", _put_record, "write a record of text fields", "cache", "key")
    put.add_argument("fields", nargs="+", type=_field, metavar="NAME=VALUE")
    put.add_argument("--ttl", type=float, metavar="SECONDS", help="default: the cache's own")
    check = command("check", _check, "ask a rate limit for leave", "policy", "key")
    check.add_argument("--cost", type=int, default=1, metavar="N", help="default: %(default)s")
    explain = command("explain", _explain, "say what a rate limit decides on a key, and why", "policy", "key")
    for asking in (check, explain):
        asking.add_argument("--tier", default="", metavar="NAME", help="default: the policy's own numbers")
    command("report", _report, "say whom a rate limit refuses most, and whom its candidate would", "policy")
    return parser


async def run(options: argparse.Namespace) -> list[str]:
    """Do what the options ask for; return the lines to print."""
    async with SidecarClient(options.address, timeout=options.timeout) as sidecar:
        lines: list[str] = await options.does(sidecar, options)
        return lines


async def _list(sidecar: SidecarClient, options: argparse.Namespace) -> list[str]:
    return await list_services(sidecar.channel, timeout_s=options.timeout)


async def _get(sidecar: SidecarClient, options: argparse.Namespace) -> list[str]:
    found = await sidecar.cache(options.cache).get(options.key)
    return [_read_line(found)] if found.value is None else [_read_line(found), _shown(found.value)]


async def _set(sidecar: SidecarClient, options: argparse.Namespace) -> list[str]:
    written = await sidecar.cache(options.cache).set(options.key, options.value, ttl=options.ttl)
    return [_facts(written.outcome.name, version=written.version, ttl=written.ttl)]


async def _record(sidecar: SidecarClient, options: argparse.Namespace) -> list[str]:
    found = await sidecar.records(options.cache).get(options.key)
    width = max(map(len, found.fields), default=0)
    return [_read_line(found), *(f"  {name:<{width}}  {_shown(value)}" for name, value in found.fields.items())]


async def _put_record(sidecar: SidecarClient, options: argparse.Namespace) -> list[str]:
    written = await sidecar.records(options.cache).put(options.key, dict(options.fields), ttl=options.ttl)
    return [_facts(written.outcome.name, version=written.version, ttl=written.ttl)]


async def _check(sidecar: SidecarClient, options: argparse.Namespace) -> list[str]:
    decision = await sidecar.limit(options.policy).check(options.key, cost=options.cost, tier=options.tier)
    facts = {"limit": decision.limit, "remaining": decision.remaining}
    if decision.allowed:
        return [_facts("ALLOWED", **facts, reset_after=decision.reset_after)]
    return [_facts("REFUSED", **facts, retry_after=decision.retry_after)]


async def _explain(sidecar: SidecarClient, options: argparse.Namespace) -> list[str]:
    found = await sidecar.limit(options.policy).explain(options.key, tier=options.tier)
    by = {"tier": found.tier or None, "entry": _shown(found.entry) if found.entry else None}
    lines = [_facts(found.decided_by.name, policy=found.policy.name, version=found.policy.version, **by)]
    for state in found.limits:
        name = f"{state.limit.name}: " if state.limit.name else ""
        lines.append(f"  {name}{_shown(state.words)}")
    for outcome in found.outcomes:
        verdict = "ALLOWED" if outcome.allowed else "REFUSED"
        lines.append(f"  {_facts(verdict, cost=outcome.cost, retry_after=outcome.retry_after or None)}")
    return lines


async def _report(sidecar: SidecarClient, options: argparse.Namespace) -> list[str]:
    found = await sidecar.limit(options.policy).report()
    since, of = found.since.isoformat(timespec="seconds"), found.processes
    lines = [_facts("REFUSED", calls=found.refused, since=since, processes=of, age=found.age)]
    lines += [f"  {_facts(_shown(one.key), refused=one.refused, excess=one.excess or None)}" for one in found.keys]
    tried = found.candidate
    if tried is not None:
        lines.append(
            _facts(
                "CANDIDATE",
                since=tried.since.isoformat(timespec="seconds"),
                both_allowed=tried.both_allowed,
                both_refused=tried.both_refused,
                only_candidate_refused=tried.only_candidate_refused,
                only_live_refused=tried.only_live_refused,
                unanswered=tried.unanswered,
            )
        )
        lines += [f"  {_shown(one.key)}  {one.time.isoformat(timespec='seconds')}" for one in tried.sample]
    return lines


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _read_line(found: Lookup | Record) -> str:
    if not found.found:
        return found.outcome.name
    return _facts(found.outcome.name, version=found.version, ttl=found.ttl, age=found.age)


def _facts(headline: str, **facts: int | str | timedelta | None) -> str:
    """Return one line: what happened, then each fact that there is."""
    parts = [
        f"{name} {fact.total_seconds():.1f} s" if isinstance(fact, timedelta) else f"{name} {fact}"
        for name, fact in facts.items()
        if fact is not None
    ]
    return "  ".join([headline, *parts])


def _shown(value: Value) -> str:
    """Return a value as a terminal can take it: control characters, which may steer it, are escaped."""
    match value:
        case bytes():
            try:
                return _shown(value.decode())
            except UnicodeDecodeError:
                return repr(value)
        case str():
            return value if value.isprintable() else repr(value)
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def _complaint(error: Exception) -> str:
    if not isinstance(error, SidecarError):
        return f"error: {error}"
    field = f" (field {error.field})" if error.field else ""
    wait = f" (retry after {error.retry_after.total_seconds():.1f} s)" if error.retry_after else ""
    return f"error: {error}{field}{wait}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
