"""Every RPC that takes a key, each as one call that would succeed if nothing were wrong with its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from sidecar_client.gen.sidecar.v1 import cache_pb2, rate_limit_pb2, record_pb2
from sidecar_client.gen.sidecar.v1.record_pb2 import FieldValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.contract import Contract

FIELDS = {"name": FieldValue(text="Ada")}
# The good item before the one that a test spoils, so that the path of the latter has a number.
_GOOD = "good-"


@dataclass(frozen=True)
class Rpc:
    """One RPC."""

    name: str
    call: Callable[[Contract, str, str, Any], object]
    """Call it for a cache or policy, a key, and a TTL or None."""
    owner_field: str = "cache"
    key_field: str = "key"
    ttl_field: str = ""
    """Where a TTL that is wrong is reported; none for an RPC without."""
    fails_whole: bool = False
    """Whether a batch fails as one, and not item by item."""

    @property
    def owner(self) -> str:
        """What names the cache or policy, without the way there."""
        return self.owner_field.rpartition(".")[2]

    @property
    def is_batch(self) -> bool:
        """Whether its items fail by themselves."""
        return "[" in self.key_field and not self.fails_whole


def _set_many(api: Contract, cache: str, key: str, ttl: Duration | None) -> object:
    entries = [cache_pb2.SetManyEntry(key=_GOOD + key[:64]), cache_pb2.SetManyEntry(key=key, ttl=ttl)]
    return api.cache.SetMany(cache_pb2.SetManyRequest(cache=cache, entries=entries))


def _set_many_at_once(api: Contract, cache: str, key: str, ttl: Duration | None) -> object:
    entries = [cache_pb2.SetManyEntry(key=key)]
    return api.cache.SetMany(cache_pb2.SetManyRequest(cache=cache, entries=entries, ttl=ttl))


def _check_many(api: Contract, policy: str, key: str, _: Any) -> object:
    checks = [rate_limit_pb2.CheckRequest(policy="bucket", key=_GOOD + key[:64])]
    checks.append(rate_limit_pb2.CheckRequest(policy=policy, key=key))
    return api.limits.CheckMany(rate_limit_pb2.CheckManyRequest(checks=checks))


VALUE_RPCS = (
    Rpc("Get", lambda api, cache, key, _: api.cache.Get(cache_pb2.GetRequest(cache=cache, key=key))),
    Rpc(
        "Set",
        lambda api, cache, key, ttl: api.cache.Set(cache_pb2.SetRequest(cache=cache, key=key, ttl=ttl)),
        ttl_field="ttl",
    ),
    Rpc("Delete", lambda api, cache, key, _: api.cache.Delete(cache_pb2.DeleteRequest(cache=cache, key=key))),
    Rpc(
        "GetMany",
        lambda api, cache, key, _: api.cache.GetMany(cache_pb2.GetManyRequest(cache=cache, keys=[_GOOD, key])),
        key_field="keys[1]",
    ),
    Rpc("SetMany", _set_many, key_field="entries[1].key", ttl_field="entries[1].ttl"),
    Rpc("SetMany with one TTL", _set_many_at_once, key_field="entries[0].key", ttl_field="ttl"),
    Rpc(
        "DeleteMany",
        lambda api, cache, key, _: api.cache.DeleteMany(cache_pb2.DeleteManyRequest(cache=cache, keys=[_GOOD, key])),
        key_field="keys[1]",
    ),
    Rpc(
        "Touch",
        lambda api, cache, key, ttl: api.cache.Touch(cache_pb2.TouchRequest(cache=cache, key=key, ttl=ttl)),
        ttl_field="ttl",
    ),
    Rpc(
        "Increment",
        lambda api, cache, key, ttl: api.cache.Increment(cache_pb2.IncrementRequest(cache=cache, key=key, ttl=ttl)),
        ttl_field="ttl",
    ),
)

# These need a lease or give one.
LOAD_RPCS = (
    Rpc(
        "GetOrLoad",
        lambda api, cache, key, _: api.cache.GetOrLoad(
            cache_pb2.GetOrLoadRequest(cache=cache, key=key, wait=Duration(seconds=0))
        ),
    ),
    Rpc(
        "GetOrLoadMany",
        lambda api, cache, key, _: api.cache.GetOrLoadMany(
            cache_pb2.GetOrLoadManyRequest(cache=cache, keys=[_GOOD, key], wait=Duration(seconds=0))
        ),
        key_field="keys[1]",
    ),
    Rpc(
        "Fill",
        lambda api, cache, key, ttl: api.cache.Fill(
            cache_pb2.FillRequest(cache=cache, key=key, token="0" * 32, value=b"", ttl=ttl)
        ),
        ttl_field="ttl",
    ),
)

RECORD_RPCS = (
    Rpc(
        "PutRecord",
        lambda api, cache, key, ttl: api.records.PutRecord(
            record_pb2.PutRecordRequest(cache=cache, key=key, fields=FIELDS, ttl=ttl)
        ),
        ttl_field="ttl",
    ),
    Rpc(
        "GetRecord",
        lambda api, cache, key, _: api.records.GetRecord(record_pb2.GetRecordRequest(cache=cache, key=key)),
    ),
    Rpc(
        "PatchRecord",
        lambda api, cache, key, ttl: api.records.PatchRecord(
            record_pb2.PatchRecordRequest(cache=cache, key=key, fields=FIELDS, ttl=ttl)
        ),
        ttl_field="ttl",
    ),
    Rpc(
        "DeleteRecord",
        lambda api, cache, key, _: api.records.DeleteRecord(record_pb2.DeleteRecordRequest(cache=cache, key=key)),
    ),
)

LIMIT_RPCS = (
    Rpc(
        "Check",
        lambda api, policy, key, _: api.limits.Check(rate_limit_pb2.CheckRequest(policy=policy, key=key)),
        owner_field="policy",
    ),
    Rpc(
        "CheckMany",
        _check_many,
        owner_field="checks[1].policy",
        key_field="checks[1].key",
        fails_whole=True,
    ),
    Rpc(
        "Peek",
        lambda api, policy, key, _: api.limits.Peek(rate_limit_pb2.PeekRequest(policy=policy, key=key)),
        owner_field="policy",
    ),
    Rpc(
        "Explain",
        lambda api, policy, key, _: api.limits.Explain(rate_limit_pb2.ExplainRequest(policy=policy, key=key)),
        owner_field="policy",
    ),
    Rpc(
        "Reset",
        lambda api, policy, key, _: api.limits.Reset(rate_limit_pb2.ResetRequest(policy=policy, key=key)),
        owner_field="policy",
    ),
)

ALL_RPCS = (*VALUE_RPCS, *LOAD_RPCS, *RECORD_RPCS, *LIMIT_RPCS)
TTL_RPCS = tuple(rpc for rpc in ALL_RPCS if rpc.ttl_field)
