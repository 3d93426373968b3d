"""The parts of the comparison: who is measured against whom, and what is asked of the result."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.contest import Contestant, cpu_us, p50_ms, ratios
from bench.peers.binaries import DAPRD, LIMITADOR, RATELIMIT, Missing
from bench.peers.daprd import get_state, start_daprd
from bench.peers.limitador import LIMITADOR_CHECK, start_limitador
from bench.peers.ratelimit import SHOULD_RATE_LIMIT, SHOULD_RATE_LIMIT_MANY, start_ratelimit
from bench.profiles import (
    ALONE,
    CROWD,
    ECHO,
    GET_NEAR,
    GET_NEAR_ALONE,
    GET_OR_LOAD,
    PIPELINE_STREAM,
    STEADY,
    profile,
)
from bench.servers import NearOptions, installed_sidecar, start_echo
from bench.verdicts import Bound, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.contest import Entry
    from bench.profiles import Profile
    from bench.rig import Rig

_WORKERS = 2
# How long the peer may gather commands before it sends them, which makes it cheaper under load: the strongest of its
# settings that keeps its latency.
_PIPELINE_WINDOW = "150us"
# The profiles of the rate limits: by each algorithm, and several at once.
_CHECK = ("check_bucket", "check_gcra", "check_window", "check_log", "check_fixed", "check_several")
_CHECK_MANY = ("check_many", "check_each")
# What a call may cost at most where a compiler was at work, for that to be worth its trouble.
_WORTH_A_BUILD = 0.9
# The sidecar's probes and what it tells the store of its copies are some commands a second, of ten thousand calls.
_PROBES_ALONE = 0.01
# What the store does at rest costs it a little more where others use the cores.
_NO_WORK = 0.05
# What a constant load may fall behind and still be called steady.
_PACE_KEPT = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a part came to."""

    entries: Sequence[Entry]
    verdicts: Sequence[Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the comparison, that can be run by itself; raises `Missing` for a peer that is not there."""

    name: str
    title: str
    run: Callable[[Rig], Outcome]


def _echo(rig: Rig) -> Outcome:
    with ExitStack() as stack:
        fast, grpcio = rig.compete(
            *(
                Contestant(name=f"echo on {engine}", target=start_echo(stack, rig.folder, engine), profile=ECHO)
                for engine in ("fast", "grpcio")
            )
        )
    verdict = Verdict(
        what="echo: CPU per RPC of the fast engine to grpcio's",
        figures=ratios(fast, grpcio, cpu_us),
        bound=Bound.AT_MOST,
        target=1 / 6,
    )
    return Outcome(entries=[fast, grpcio], verdicts=[verdict])


def _get(rig: Rig) -> Outcome:
    program = DAPRD.find(rig.options.daprd)
    with ExitStack() as stack:
        *sidecars, daprd = rig.compete(
            *_builds(rig, stack, profile("get")),
            Contestant(
                name="daprd",
                target=start_daprd(stack, rig.folder, program, rig.redis_port),
                profile=get_state(CROWD),
            ),
        )
    verdicts = [
        Verdict(
            what=f"Get, {sidecar.contestant.name}: CPU per RPC to that of daprd's GetState",
            figures=ratios(sidecar, daprd, cpu_us),
            bound=Bound.AT_MOST,
            target=0.85,
        )
        for sidecar in sidecars
    ]
    return Outcome(entries=[*sidecars, daprd], verdicts=verdicts)


def _builds(rig: Rig, stack: ExitStack, load: Profile) -> list[Contestant]:
    """Return the sidecar of the sources, and with it the one that `--python` names, if it does."""
    builds = [Contestant(name="sidecar", target=rig.start_sidecar(stack), profile=load)]
    if rig.options.python is not None:
        program = installed_sidecar(rig.options.python)
        builds.append(Contestant(name="other build", target=rig.start_sidecar(stack, program=program), profile=load))
    return builds


def _alone(rig: Rig) -> Outcome:
    program = DAPRD.find(rig.options.daprd)
    with ExitStack() as stack:
        *sidecars, daprd = rig.compete(
            *_builds(rig, stack, profile("get_alone")),
            Contestant(
                name="daprd",
                target=start_daprd(stack, rig.folder, program, rig.redis_port),
                profile=get_state(ALONE),
            ),
        )
    verdicts = [
        Verdict(
            what=f"one caller, {sidecar.contestant.name}: p50 of Get to that of daprd's GetState",
            figures=ratios(sidecar, daprd, p50_ms),
            bound=Bound.BELOW,
            target=1,
        )
        for sidecar in sidecars
    ]
    return Outcome(entries=[*sidecars, daprd], verdicts=verdicts)


def _check(rig: Rig) -> Outcome:
    program = RATELIMIT.find(rig.options.ratelimit)
    windows = {"ratelimit": None, f"ratelimit-{_PIPELINE_WINDOW}": _PIPELINE_WINDOW}
    with ExitStack() as stack:
        sidecar, *peers = rig.compete(
            Contestant(name="sidecar", target=rig.start_sidecar(stack), profile=profile("check_bucket")),
            *(
                Contestant(
                    name=name,
                    target=start_ratelimit(
                        stack, rig.folder, program, rig.redis_port, name=name, pipeline_window=window
                    ),
                    profile=SHOULD_RATE_LIMIT,
                )
                for name, window in windows.items()
            ),
        )
    verdicts = [
        Verdict(
            what=f"Check: CPU per RPC to that of ShouldRateLimit of {peer.contestant.name}",
            figures=ratios(sidecar, peer, cpu_us),
            bound=Bound.AT_MOST,
            target=0.75,
        )
        for peer in peers
    ]
    return Outcome(entries=[sidecar, *peers], verdicts=verdicts)


def _limits(rig: Rig) -> Outcome:
    program = RATELIMIT.find(rig.options.ratelimit)
    name = f"ratelimit-{_PIPELINE_WINDOW}"
    with ExitStack() as stack:
        sidecar = rig.start_sidecar(stack)
        peer = start_ratelimit(stack, rig.folder, program, rig.redis_port, name=name, pipeline_window=_PIPELINE_WINDOW)
        entries = rig.compete(
            *(Contestant(name="sidecar", target=sidecar, profile=profile(each)) for each in (*_CHECK, *_CHECK_MANY)),
            *(Contestant(name=name, target=peer, profile=each) for each in (SHOULD_RATE_LIMIT, SHOULD_RATE_LIMIT_MANY)),
        )
    *ours, _, its_many = entries
    verdicts = [
        Verdict(
            what=f"{many.contestant.profile.title}: CPU per RPC to that of {name} for as many descriptors",
            figures=ratios(many, its_many, cpu_us),
            bound=Bound.BELOW,
            target=1,
        )
        for many in ours[len(_CHECK) :]
    ]
    return Outcome(entries=entries, verdicts=verdicts)


def _leased(rig: Rig) -> Outcome:
    program = LIMITADOR.find(rig.options.limitador)
    # Each of the sidecar's stands against the storage that asks Redis as often.
    pairs = {"check_leased": "redis_cached", "check_bucket": "redis"}
    with ExitStack() as stack:
        sidecar = rig.start_sidecar(stack)
        entries = rig.compete(
            *(Contestant(name="sidecar", target=sidecar, profile=profile(each)) for each in pairs),
            *(
                Contestant(
                    name=f"limitador, {storage}",
                    target=start_limitador(stack, rig.folder, program, rig.redis_port, storage=storage),
                    profile=LIMITADOR_CHECK,
                )
                for storage in pairs.values()
            ),
        )
    leased, bucket, cached, asking = entries
    verdicts = [
        Verdict(
            what=f"{ours.contestant.profile.title}: CPU per RPC to that of {its.contestant.name}",
            figures=ratios(ours, its, cpu_us),
            bound=bound,
            target=target,
        )
        for ours, its, bound, target in (
            (leased, cached, Bound.AT_MOST, 1.15),
            (bucket, asking, Bound.BELOW, 1),
        )
    ]
    return Outcome(entries=entries, verdicts=verdicts)


def _workers(rig: Rig) -> Outcome:
    with ExitStack() as stack:
        sidecar = rig.start_sidecar(stack, workers=_WORKERS)
        (entry,) = rig.compete(Contestant(name=f"sidecar, {_WORKERS} workers", target=sidecar, profile=profile("get")))
    verdict = Verdict(
        what=f"{_WORKERS} workers: Get",
        figures=[sample.report.rps for sample in entry.samples],
        bound=Bound.ABOVE,
        target=10_000,
        unit="RPC/s",
    )
    return Outcome(entries=[entry], verdicts=[verdict])


def _steady(rig: Rig) -> Outcome:
    pace = STEADY.rps or 0
    with ExitStack() as stack:
        sidecar = rig.start_sidecar(stack)
        get = replace(profile("get"), name="get_steady", load=STEADY)
        (entry,) = rig.compete(Contestant(name="sidecar", target=sidecar, profile=get))
    what = f"one worker at {pace:,} RPC/s: Get"
    verdicts = [
        Verdict(
            what=f"{what} keeps the pace",
            figures=[sample.report.rps for sample in entry.samples],
            bound=Bound.AT_LEAST,
            target=_PACE_KEPT * pace,
            unit="RPC/s",
        ),
        Verdict(
            what=f"{what} P95",
            figures=[sample.report.p95_ms for sample in entry.samples],
            bound=Bound.BELOW,
            target=5,
            unit="ms",
        ),
        Verdict(
            what=f"{what} P99",
            figures=[sample.report.p99_ms for sample in entry.samples],
            bound=Bound.BELOW,
            target=10,
            unit="ms",
        ),
    ]
    return Outcome(entries=[entry], verdicts=verdicts)


def _keys_per_second(entry: Entry) -> Verdict:
    batch = entry.contestant.profile
    return Verdict(
        what=f"one worker: {batch.title}",
        figures=[batch.keys * sample.report.rps for sample in entry.samples],
        bound=Bound.AT_LEAST,
        target=100_000,
        unit="keys/s",
    )


def _batches(rig: Rig) -> Outcome:
    with ExitStack() as stack:
        sidecar = rig.start_sidecar(stack)
        entries = rig.compete(
            *(
                Contestant(name="sidecar", target=sidecar, profile=each)
                for each in (profile("get_many"), profile("execute"), PIPELINE_STREAM)
            )
        )
    get_many, _, stream = entries
    return Outcome(entries=entries, verdicts=[_keys_per_second(get_many), _keys_per_second(stream)])


def _build(rig: Rig) -> Outcome:
    engine, python = rig.options.engine, rig.options.python
    if python is None:
        raise Missing("no other build is named: name its interpreter with --python PATH")
    program = installed_sidecar(python)
    with ExitStack() as stack:
        its_echo, echo, its_get, get = rig.compete(
            Contestant(name="its echo", target=start_echo(stack, rig.folder, engine, python), profile=ECHO),
            Contestant(name="echo", target=start_echo(stack, rig.folder, engine), profile=ECHO),
            Contestant(name="its sidecar", target=rig.start_sidecar(stack, program=program), profile=profile("get")),
            Contestant(name="sidecar", target=rig.start_sidecar(stack), profile=profile("get")),
        )
    verdicts = [
        Verdict(
            what=f"{what}: CPU per RPC of the other build to that of the sources",
            figures=ratios(its, ours, cpu_us),
            bound=Bound.AT_MOST,
            target=_WORTH_A_BUILD,
        )
        for what, its, ours in (("echo", its_echo, echo), ("Get", its_get, get))
    ]
    return Outcome(entries=[its_echo, echo, its_get, get], verdicts=verdicts)


def _l1(rig: Rig) -> Outcome:
    with ExitStack() as stack:
        sidecar = rig.start_sidecar(stack, near=NearOptions(admission="all"))
        rest = rig.meter.rest()
        near, get, loaded, near_alone, alone = rig.compete(
            *(
                Contestant(name="sidecar", target=sidecar, profile=each)
                for each in (GET_NEAR, profile("get"), GET_OR_LOAD, GET_NEAR_ALONE, profile("get_alone"))
            )
        )
    verdicts = [
        Verdict(
            what="Get from L1: CPU per RPC to that of Get from the store",
            figures=ratios(near, get, cpu_us),
            bound=Bound.BELOW,
            target=1,
        ),
        Verdict(
            what="Get from L1: the store's commands per RPC",
            figures=[sample.store_commands for sample in near.samples],
            bound=Bound.AT_MOST,
            target=_PROBES_ALONE,
        ),
        Verdict(
            what="Get from L1: the store's CPU per RPC to that of Get from it, what it takes at rest left out",
            figures=ratios(near, get, lambda sample: sample.beyond(rest).store_us),
            bound=Bound.AT_MOST,
            target=_NO_WORK,
        ),
        Verdict(
            what="one caller: p50 of Get from L1 to that of Get from the store",
            figures=ratios(near_alone, alone, p50_ms),
            bound=Bound.AT_MOST,
            target=0.8,
        ),
        Verdict(
            what="GetOrLoad, hit: CPU per RPC to that of Get",
            figures=ratios(loaded, get, cpu_us),
            bound=Bound.AT_MOST,
            target=1.1,
        ),
    ]
    return Outcome(entries=[near, get, loaded, near_alone, alone], verdicts=verdicts)


PARTS = (
    Part(name="echo", title="The fast engine and grpcio", run=_echo),
    Part(name="get", title="Get and daprd's GetState", run=_get),
    Part(name="check", title="Check and envoyproxy/ratelimit's ShouldRateLimit", run=_check),
    Part(name="limits", title="Every rate limit, and CheckMany, beside envoyproxy/ratelimit", run=_limits),
    Part(name="leased", title="Check of a leased hot key, and limitador", run=_leased),
    Part(name="workers", title="Two workers", run=_workers),
    Part(name="steady", title="A steady load", run=_steady),
    Part(name="alone", title="One caller alone", run=_alone),
    Part(name="batches", title="Batches", run=_batches),
    Part(name="l1", title="Get from the near cache and from the store", run=_l1),
    Part(name="build", title="Another build of the sidecar", run=_build),
)
