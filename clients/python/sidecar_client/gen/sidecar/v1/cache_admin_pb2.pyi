import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from . import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListCachesRequest(_message.Message):
    __slots__ = ("cache",)
    CACHE_FIELD_NUMBER: _ClassVar[int]
    cache: str
    def __init__(self, cache: _Optional[str] = ...) -> None: ...

class ListCachesResponse(_message.Message):
    __slots__ = ("caches",)
    CACHES_FIELD_NUMBER: _ClassVar[int]
    caches: _containers.RepeatedCompositeFieldContainer[CacheDescription]
    def __init__(self, caches: _Optional[_Iterable[_Union[CacheDescription, _Mapping]]] = ...) -> None: ...

class CacheDescription(_message.Message):
    __slots__ = ("name", "strategy", "data_class", "raw", "ttl", "max_ttl", "stale_for", "negative_ttl", "tags", "generations", "compress_above", "max_value_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    DATA_CLASS_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    MAX_TTL_FIELD_NUMBER: _ClassVar[int]
    STALE_FOR_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_TTL_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_ABOVE_FIELD_NUMBER: _ClassVar[int]
    MAX_VALUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    strategy: str
    data_class: str
    raw: bool
    ttl: _duration_pb2.Duration
    max_ttl: _duration_pb2.Duration
    stale_for: _duration_pb2.Duration
    negative_ttl: _duration_pb2.Duration
    tags: bool
    generations: bool
    compress_above: int
    max_value_bytes: int
    def __init__(self, name: _Optional[str] = ..., strategy: _Optional[str] = ..., data_class: _Optional[str] = ..., raw: _Optional[bool] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., stale_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., negative_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tags: _Optional[bool] = ..., generations: _Optional[bool] = ..., compress_above: _Optional[int] = ..., max_value_bytes: _Optional[int] = ...) -> None: ...

class GetCacheStatsRequest(_message.Message):
    __slots__ = ("cache",)
    CACHE_FIELD_NUMBER: _ClassVar[int]
    cache: str
    def __init__(self, cache: _Optional[str] = ...) -> None: ...

class GetCacheStatsResponse(_message.Message):
    __slots__ = ("caches", "since", "process_id", "processes", "workers")
    CACHES_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    caches: _containers.RepeatedCompositeFieldContainer[CacheStats]
    since: _timestamp_pb2.Timestamp
    process_id: int
    processes: int
    workers: int
    def __init__(self, caches: _Optional[_Iterable[_Union[CacheStats, _Mapping]]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., process_id: _Optional[int] = ..., processes: _Optional[int] = ..., workers: _Optional[int] = ...) -> None: ...

class CacheStats(_message.Message):
    __slots__ = ("cache", "hits", "misses", "stale", "loads", "origin_loads", "origin_times", "origin_waits", "refreshes", "evicted", "memory_bytes", "write_behind_pending", "write_behind_lag", "l1_hits")
    class LoadsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class OriginLoadsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    CACHE_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    LOADS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_LOADS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_TIMES_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_WAITS_FIELD_NUMBER: _ClassVar[int]
    REFRESHES_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITE_BEHIND_PENDING_FIELD_NUMBER: _ClassVar[int]
    WRITE_BEHIND_LAG_FIELD_NUMBER: _ClassVar[int]
    L1_HITS_FIELD_NUMBER: _ClassVar[int]
    cache: str
    hits: int
    misses: int
    stale: int
    loads: _containers.ScalarMap[str, int]
    origin_loads: _containers.ScalarMap[str, int]
    origin_times: LoadTimes
    origin_waits: int
    refreshes: int
    evicted: int
    memory_bytes: int
    write_behind_pending: int
    write_behind_lag: _duration_pb2.Duration
    l1_hits: int
    def __init__(self, cache: _Optional[str] = ..., hits: _Optional[int] = ..., misses: _Optional[int] = ..., stale: _Optional[int] = ..., loads: _Optional[_Mapping[str, int]] = ..., origin_loads: _Optional[_Mapping[str, int]] = ..., origin_times: _Optional[_Union[LoadTimes, _Mapping]] = ..., origin_waits: _Optional[int] = ..., refreshes: _Optional[int] = ..., evicted: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., write_behind_pending: _Optional[int] = ..., write_behind_lag: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., l1_hits: _Optional[int] = ...) -> None: ...

class LoadTimes(_message.Message):
    __slots__ = ("count", "mean", "p50", "p95", "p99")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    count: int
    mean: _duration_pb2.Duration
    p50: _duration_pb2.Duration
    p95: _duration_pb2.Duration
    p99: _duration_pb2.Duration
    def __init__(self, count: _Optional[int] = ..., mean: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., p50: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., p95: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., p99: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WarmRequest(_message.Message):
    __slots__ = ("cache", "keys", "configured", "rate", "query", "from_cache", "limit")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    FROM_CACHE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    cache: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    configured: bool
    rate: int
    query: bool
    from_cache: str
    limit: int
    def __init__(self, cache: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., configured: _Optional[bool] = ..., rate: _Optional[int] = ..., query: _Optional[bool] = ..., from_cache: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class WarmResponse(_message.Message):
    __slots__ = ("total", "loaded", "present", "absent", "failed", "failures", "cut", "processes")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    total: int
    loaded: int
    present: int
    absent: int
    failed: int
    failures: _containers.RepeatedCompositeFieldContainer[WarmFailure]
    cut: bool
    processes: int
    def __init__(self, total: _Optional[int] = ..., loaded: _Optional[int] = ..., present: _Optional[int] = ..., absent: _Optional[int] = ..., failed: _Optional[int] = ..., failures: _Optional[_Iterable[_Union[WarmFailure, _Mapping]]] = ..., cut: _Optional[bool] = ..., processes: _Optional[int] = ...) -> None: ...

class WarmFailure(_message.Message):
    __slots__ = ("key", "failure")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    key: str
    failure: _common_pb2.Failure
    def __init__(self, key: _Optional[str] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...

class InspectEntryRequest(_message.Message):
    __slots__ = ("cache", "key")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class InspectEntryResponse(_message.Message):
    __slots__ = ("outcome", "version", "ttl", "age", "expires_after", "stored_bytes", "memory_bytes", "value_bytes", "compressed", "sealed", "fields", "tags", "tag_count", "pending")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    VALUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TAG_COUNT_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    outcome: _common_pb2.Outcome
    version: int
    ttl: _duration_pb2.Duration
    age: _duration_pb2.Duration
    expires_after: _duration_pb2.Duration
    stored_bytes: int
    memory_bytes: int
    value_bytes: int
    compressed: bool
    sealed: bool
    fields: int
    tags: _containers.RepeatedScalarFieldContainer[str]
    tag_count: int
    pending: bool
    def __init__(self, outcome: _Optional[_Union[_common_pb2.Outcome, str]] = ..., version: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., stored_bytes: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., value_bytes: _Optional[int] = ..., compressed: _Optional[bool] = ..., sealed: _Optional[bool] = ..., fields: _Optional[int] = ..., tags: _Optional[_Iterable[str]] = ..., tag_count: _Optional[int] = ..., pending: _Optional[bool] = ...) -> None: ...
