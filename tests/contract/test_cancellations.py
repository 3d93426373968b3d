"""F1 at the level of the API: callers who leave at any moment, and answers that are never mixed up."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import grpc
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import record_pb2
from support.api import Api
from support.contract import taken_apart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.contract import Contract

CALLS = 3000
AT_ONCE = 100
# Where a busy machine lets a call and its cancellation arrive together, they look like an attack; so many are forgiven
# on each connection (sidecar/server/h2/guard.py).
FORGIVEN = 200


def value_of(future: Any) -> bytes | None:
    """Return what a read found, or None if its caller left; raises what else went wrong.

    Where the machine is so busy that many are late, some of the others are refused.
    """
    try:
        value: bytes = future.result().value
    except grpc.FutureCancelledError:
        return None
    except grpc.RpcError as error:
        if taken_apart(error).code in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}:
            return None
        raise
    return value


def connections(api: Contract, *, rounds: int, resets: int) -> Iterator[Api]:
    """Yield a connection for each round of so many resets, as often the same as is forgiven."""
    each = FORGIVEN // resets
    for begun in range(0, rounds, each):
        with Api(api.sidecar.address) as own:
            for _ in range(min(each, rounds - begun)):
                yield own


def test_no_caller_gets_anothers_value(api: Contract, key: str) -> None:
    """Of thousands of reads, some cancelled and some timed out at random, each answer is that of its own key."""
    chance = random.Random(1)
    cancelled = AT_ONCE // 3
    keys = [f"{key}-{number}" for number in range(AT_ONCE)]
    for name in keys:
        api.cache.Set(pb.SetRequest(cache="plain", key=name, value=name.encode()))
    wrong: list[tuple[str, bytes | None]] = []
    answered = 0
    for own in connections(api, rounds=CALLS // AT_ONCE, resets=2 * cancelled):
        asked = []
        timed = set(chance.sample(keys, cancelled))
        for name in chance.sample(keys, AT_ONCE):
            timeout = chance.uniform(0.0005, 0.02) if name in timed else None
            asked.append((name, own.cache.Get.future(pb.GetRequest(cache="plain", key=name), timeout=timeout)))
        for _, future in chance.sample(asked, cancelled):
            time.sleep(chance.choice([0.0, 0.0, chance.uniform(0, 0.001)]))
            future.cancel()
        for name, future in asked:
            value = value_of(future)
            answered += value is not None
            if value not in {None, name.encode()}:
                wrong.append((name, value))
    assert ([], True) == (wrong, answered > CALLS // 4)


def test_no_caller_gets_anothers_record_or_sum(api: Contract, key: str) -> None:
    """The same with scripts and hashes among them: each answer is of its own kind and key."""
    chance = random.Random(2)
    for number in range(20):
        fields = {"number": record_pb2.FieldValue(integer=number)}
        api.records.PutRecord(record_pb2.PutRecordRequest(cache="patients", key=f"{key}-r{number}", fields=fields))
    wrong: list[int] = []
    for own in connections(api, rounds=CALLS // AT_ONCE // 3, resets=38):
        sums = [own.cache.Increment.future(pb.IncrementRequest(cache="plain", key=f"{key}-c")) for _ in range(20)]
        records = [
            (
                number % 20,
                own.records.GetRecord.future(
                    record_pb2.GetRecordRequest(cache="patients", key=f"{key}-r{number % 20}")
                ),
            )
            for number in range(80)
        ]
        for future in chance.sample(sums, 8):
            future.cancel()
        for _, record in chance.sample(records, 30):
            record.cancel()
        for number, record in records:
            if not record.cancelled() and record.result().fields["number"].integer != number:
                wrong.append(number)
        answers = [future.result().value for future in sums if not future.cancelled()]
        assert sorted(set(answers)) == sorted(answers)
    assert [] == wrong


def test_a_cancelled_write_is_whole_or_not_at_all(api: Contract, key: str) -> None:
    """Whatever moment a Set is cancelled at, the entry is what one of the writes made it."""
    chance = random.Random(3)
    values = [b"%d" % number * 100 for number in range(200)]
    with Api(api.sidecar.address) as own:
        for value in values:
            future = own.cache.Set.future(pb.SetRequest(cache="plain", key=key, value=value))
            time.sleep(chance.choice([0.0, chance.uniform(0, 0.001)]))
            future.cancel()
        own.cache.Set(pb.SetRequest(cache="plain", key=f"{key}-after"))  # whatever is under way comes before
    found = api.cache.Get(pb.GetRequest(cache="plain", key=key))
    assert found.value in {b"", *values}
