"""Loads `PipelineService/Stream`: several batches are under way at once, and each answer lets the next one go.

ghz sends the messages of a stream in turn with their answers, which leaves the server idle half of the time; so this is
the benchmark's own, on `wire.py`. Every answer is decoded and counted, and one in some dozens is looked at as a whole.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.load import Report
from bench.processes import Failure
from bench.wire import Wire
from sidecar.gen.sidecar.v1 import pipeline_pb2

if TYPE_CHECKING:
    from bench.profiles import Profile

_MILLIS = 1000
# Looking at every value would cost this process as much as all the rest.
_LOOK_AT_EACH = 50


def load_stream(address: str, profile: Profile, seconds: float) -> Report:
    """Send batches for `seconds`, as many at once as the load has callers; latency is that of a batch.

    Raises `Failure` for a batch that is refused, or answered in part.
    """
    # Protobuf messages that follow one another are one: this is the batch without its id, encoded once.
    body = profile.request.message.SerializeToString()
    sent: dict[int, float] = {}
    latencies: list[float] = []
    number = 0
    with Wire(address) as wire:
        wire.open(profile.request.method)
        begun = now = time.perf_counter()
        while sent or now < begun + seconds:
            while now < begun + seconds and len(sent) < profile.load.callers:
                number += 1
                wire.send(pipeline_pb2.StreamRequest(id=number).SerializeToString() + body)
                sent[number] = now
            messages = wire.receive()
            if not messages:
                raise Failure(f"{profile.request.method}: the stream has ended with {len(sent)} batches unanswered")
            now = time.perf_counter()
            for message in messages:
                answer = pipeline_pb2.StreamResponse.FromString(message)
                latencies.append(now - sent.pop(answer.id))
                if len(answer.results) != profile.keys or (
                    len(latencies) % _LOOK_AT_EACH == 0 and not profile.works(answer)
                ):
                    raise Failure(f"{profile.name}: not the answer to measure:\n{answer}")
    latencies.sort()
    return Report(
        calls=len(latencies),
        rps=len(latencies) / (now - begun),
        p50_ms=_percentile(latencies, 50),
        p95_ms=_percentile(latencies, 95),
        p99_ms=_percentile(latencies, 99),
    )


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[(len(ordered) - 1) * percent // 100] * _MILLIS
