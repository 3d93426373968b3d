"""What is measured: a call, the data that it needs, and the answer that shows it really did its work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration

from bench.limits import BUCKET, FIXED, GCRA, LEASED, LOG, SEVERAL, WINDOW
from bench.stream import load_stream
from sidecar.gen.sidecar.v1 import cache_pb2, common_pb2, pipeline_pb2, rate_limit_pb2, record_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from bench.load import Report

    Drive = Callable[[str, "Profile", float], Report]
    """Loads the server at an address with a profile's calls, for so many seconds."""

# What a cached answer of a small service weighs; the echo answers with as much.
VALUE = b"v" * 100
BATCH = 32
NEAR = "near"
"""The cache that keeps copies in the process, where a sidecar is started with it."""
CHECKS = 3
"""How many checks a CheckMany makes."""

_CACHE = "sidecar.v1.CacheService"
_PIPELINE = "sidecar.v1.PipelineService"
_RECORD = "sidecar.v1.RecordService"
_LIMIT = "sidecar.v1.RateLimitService"
# Longer than any run, so that a read never misses.
_TTL = Duration(seconds=3600)
# The longest that the example's PHI cache allows; each run seeds anew.
_PHI_TTL = Duration(seconds=900)


@dataclass(frozen=True, slots=True)
class Load:
    """How many callers call at once, each waiting for its answer, over how many connections."""

    callers: int
    connections: int
    rps: int | None = None
    """How many calls they begin each second, together; None for as many as they can."""

    def __str__(self) -> str:
        """Return the load as the table shows it."""
        return f"{self.callers} on {self.connections}" + (f", {self.rps:,}/s" if self.rps is not None else "")


CROWD = Load(50, 4)
ALONE = Load(1, 1)
STEADY = Load(50, 4, rps=5_000)
# The callers of a stream are the batches that are under way at once; the sidecar reads no more than 16.
STREAM = Load(8, 1)


@dataclass(frozen=True, slots=True)
class Request:
    """A call: `package.Service/Method` and its message."""

    method: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """One row of the table; each is equal to itself alone, since messages cannot be hashed."""

    name: str
    title: str
    request: Request
    works: Callable[[Any], bool]
    """Whether an answer is the one expected; asked before and after each run."""
    seeds: tuple[Request, ...] = ()
    """Calls that put the data in place."""
    load: Load = CROWD
    keys: int = 1
    """How many keys a call asks for."""
    drive: Drive | None = None
    """What loads the server, in place of ghz."""


def _set(key: str, cache: str = "default") -> Request:
    return Request(f"{_CACHE}/Set", cache_pb2.SetRequest(cache=cache, key=key, value=VALUE, ttl=_TTL))


def _is_hit(answer: cache_pb2.GetResponse) -> bool:
    return answer.outcome == common_pb2.OUTCOME_HIT and answer.value == VALUE


def _is_loaded(answer: cache_pb2.GetOrLoadResponse) -> bool:
    return answer.outcome == cache_pb2.LOAD_OUTCOME_HIT and answer.entry.value == VALUE


def _is_whole_batch(answer: cache_pb2.GetManyResponse) -> bool:
    return len(answer.results) == BATCH and all(_is_hit(result.entry) for result in answer.results)


def _is_whole_pipeline(answer: pipeline_pb2.ExecuteResponse | pipeline_pb2.StreamResponse) -> bool:
    return len(answer.results) == BATCH and all(_is_hit(result.get) for result in answer.results)


def _is_applied(answer: cache_pb2.SetResponse) -> bool:
    return answer.outcome == common_pb2.WRITE_OUTCOME_APPLIED


def _check(name: str, title: str, policy: str) -> Profile:
    return Profile(
        name=name,
        title=f"Check, {title}",
        request=Request(f"{_LIMIT}/Check", rate_limit_pb2.CheckRequest(policy=policy, key="bench")),
        works=_is_allowed,
    )


def _check_many(name: str, title: str, mode: rate_limit_pb2.CheckMode) -> Profile:
    checks = [rate_limit_pb2.CheckRequest(policy=BUCKET, key=f"bench:{number}") for number in range(CHECKS)]
    return Profile(
        name=name,
        title=f"CheckMany of {CHECKS}, {title}",
        request=Request(f"{_LIMIT}/CheckMany", rate_limit_pb2.CheckManyRequest(checks=checks, mode=mode)),
        works=_are_allowed,
        keys=CHECKS,
    )


def _is_allowed(answer: rate_limit_pb2.CheckResponse) -> bool:
    return answer.allowed


def _are_allowed(answer: rate_limit_pb2.CheckManyResponse) -> bool:
    return len(answer.results) == CHECKS and all(_is_allowed(result.decision) for result in answer.results)


# All six are sealed by the example's cache `patients`; with the notes the record has about 1 KiB.
_PATIENT: Mapping[str, str] = {
    "name": "Ada Example",
    "birth_date": "1970-01-01",
    "ssn": "000-00-0000",
    "phone": "+1 555 0100",
    "address": "1 Example Street, Springfield",
    "notes": "n" * 900,
}


def _is_patient(answer: record_pb2.GetRecordResponse) -> bool:
    fields = {name: field.text for name, field in answer.fields.items()}
    return answer.outcome == common_pb2.OUTCOME_HIT and fields == _PATIENT


_GET = Request(f"{_CACHE}/Get", cache_pb2.GetRequest(cache="default", key="bench:get"))
_BATCH_KEYS = [f"bench:many:{number}" for number in range(BATCH)]

_BATCH_SEEDS = tuple(_set(key) for key in _BATCH_KEYS)
_OPERATIONS = [pipeline_pb2.Operation(get=cache_pb2.GetRequest(cache="default", key=key)) for key in _BATCH_KEYS]

ECHO = Profile(name="echo", title="echo", request=_GET, works=_is_hit)
"""The bare engine of `echo.py`: the same call as Get's, and an answer as long."""

PROFILES = (
    Profile(name="get", title="Get, hit", request=_GET, works=_is_hit, seeds=(_set("bench:get"),)),
    Profile(name="set", title="Set", request=_set("bench:set"), works=_is_applied),
    Profile(
        name="get_many",
        title=f"GetMany of {BATCH}",
        request=Request(f"{_CACHE}/GetMany", cache_pb2.GetManyRequest(cache="default", keys=_BATCH_KEYS)),
        works=_is_whole_batch,
        seeds=_BATCH_SEEDS,
        keys=BATCH,
    ),
    Profile(
        name="execute",
        title=f"Execute, {BATCH} Gets",
        request=Request(f"{_PIPELINE}/Execute", pipeline_pb2.ExecuteRequest(operations=_OPERATIONS)),
        works=_is_whole_pipeline,
        seeds=_BATCH_SEEDS,
        keys=BATCH,
    ),
    _check("check_bucket", "token bucket", BUCKET),
    _check("check_gcra", "GCRA", GCRA),
    _check("check_window", "sliding window", WINDOW),
    _check("check_log", "sliding log", LOG),
    _check("check_fixed", "fixed window", FIXED),
    _check("check_several", "two limits", SEVERAL),
    _check("check_leased", "leased", LEASED),
    _check_many("check_many", "all or nothing", rate_limit_pb2.CHECK_MODE_ALL_OR_NOTHING),
    _check_many("check_each", "each for itself", rate_limit_pb2.CHECK_MODE_EACH),
    Profile(
        name="record",
        title="GetRecord, 6 PHI fields",
        request=Request(f"{_RECORD}/GetRecord", record_pb2.GetRecordRequest(cache="patients", key="bench:patient")),
        works=_is_patient,
        seeds=(
            Request(
                f"{_RECORD}/PutRecord",
                record_pb2.PutRecordRequest(
                    cache="patients",
                    key="bench:patient",
                    fields={name: record_pb2.FieldValue(text=text) for name, text in _PATIENT.items()},
                    ttl=_PHI_TTL,
                ),
            ),
        ),
    ),
    Profile(name="get_alone", title="Get, hit", request=_GET, works=_is_hit, seeds=(_set("bench:get"),), load=ALONE),
)

GET_OR_LOAD = Profile(
    name="get_or_load",
    title="GetOrLoad, hit",
    request=Request(f"{_CACHE}/GetOrLoad", cache_pb2.GetOrLoadRequest(cache="default", key="bench:get")),
    works=_is_loaded,
    seeds=(_set("bench:get"),),
)

GET_NEAR = Profile(
    name="get_near",
    title="Get, copy",
    request=Request(f"{_CACHE}/Get", cache_pb2.GetRequest(cache=NEAR, key="bench:get")),
    works=_is_hit,
    seeds=(_set("bench:get", NEAR),),
)
"""A hit in the near cache, on a sidecar that has one."""

GET_NEAR_ALONE = replace(GET_NEAR, name="get_near_alone", load=ALONE)

PIPELINE_STREAM = Profile(
    name="stream",
    title=f"Stream, batches of {BATCH} Gets",
    request=Request(f"{_PIPELINE}/Stream", pipeline_pb2.StreamRequest(operations=_OPERATIONS)),
    works=_is_whole_pipeline,
    seeds=_BATCH_SEEDS,
    keys=BATCH,
    load=STREAM,
    drive=load_stream,
)
"""A stream has no echo to stand beside; its batches are counted, not its calls."""


def profile(name: str) -> Profile:
    """Return the profile of that name."""
    return next(each for each in PROFILES if each.name == name)
