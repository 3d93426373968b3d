import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from . import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LoadOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOAD_OUTCOME_UNSPECIFIED: _ClassVar[LoadOutcome]
    LOAD_OUTCOME_HIT: _ClassVar[LoadOutcome]
    LOAD_OUTCOME_STALE: _ClassVar[LoadOutcome]
    LOAD_OUTCOME_LEASE: _ClassVar[LoadOutcome]
    LOAD_OUTCOME_WAIT: _ClassVar[LoadOutcome]
    LOAD_OUTCOME_ABSENT: _ClassVar[LoadOutcome]
LOAD_OUTCOME_UNSPECIFIED: LoadOutcome
LOAD_OUTCOME_HIT: LoadOutcome
LOAD_OUTCOME_STALE: LoadOutcome
LOAD_OUTCOME_LEASE: LoadOutcome
LOAD_OUTCOME_WAIT: LoadOutcome
LOAD_OUTCOME_ABSENT: LoadOutcome

class GetRequest(_message.Message):
    __slots__ = ("cache", "key", "max_staleness", "token")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    max_staleness: _duration_pb2.Duration
    token: str
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("outcome", "value", "version", "ttl", "age", "source")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    outcome: _common_pb2.Outcome
    value: bytes
    version: int
    ttl: _duration_pb2.Duration
    age: _duration_pb2.Duration
    source: _common_pb2.Source
    def __init__(self, outcome: _Optional[_Union[_common_pb2.Outcome, str]] = ..., value: _Optional[bytes] = ..., version: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., source: _Optional[_Union[_common_pb2.Source, str]] = ...) -> None: ...

class SetRequest(_message.Message):
    __slots__ = ("cache", "key", "value", "ttl", "condition", "idempotency_key", "tags")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    value: bytes
    ttl: _duration_pb2.Duration
    condition: _common_pb2.Condition
    idempotency_key: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., condition: _Optional[_Union[_common_pb2.Condition, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class SetResponse(_message.Message):
    __slots__ = ("outcome", "version", "ttl", "token")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    outcome: _common_pb2.WriteOutcome
    version: int
    ttl: _duration_pb2.Duration
    token: str
    def __init__(self, outcome: _Optional[_Union[_common_pb2.WriteOutcome, str]] = ..., version: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("cache", "key", "condition", "idempotency_key")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    condition: _common_pb2.Condition
    idempotency_key: str
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., condition: _Optional[_Union[_common_pb2.Condition, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("outcome", "token")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    outcome: _common_pb2.WriteOutcome
    token: str
    def __init__(self, outcome: _Optional[_Union[_common_pb2.WriteOutcome, str]] = ..., token: _Optional[str] = ...) -> None: ...

class GetManyRequest(_message.Message):
    __slots__ = ("cache", "keys", "max_staleness", "token")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    cache: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    max_staleness: _duration_pb2.Duration
    token: str
    def __init__(self, cache: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class GetManyResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[GetManyResult]
    def __init__(self, results: _Optional[_Iterable[_Union[GetManyResult, _Mapping]]] = ...) -> None: ...

class GetManyResult(_message.Message):
    __slots__ = ("key", "entry", "failure")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    key: str
    entry: GetResponse
    failure: _common_pb2.Failure
    def __init__(self, key: _Optional[str] = ..., entry: _Optional[_Union[GetResponse, _Mapping]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...

class SetManyRequest(_message.Message):
    __slots__ = ("cache", "entries", "ttl", "idempotency_key")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    cache: str
    entries: _containers.RepeatedCompositeFieldContainer[SetManyEntry]
    ttl: _duration_pb2.Duration
    idempotency_key: str
    def __init__(self, cache: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[SetManyEntry, _Mapping]]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SetManyEntry(_message.Message):
    __slots__ = ("key", "value", "ttl", "condition", "tags")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: bytes
    ttl: _duration_pb2.Duration
    condition: _common_pb2.Condition
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., condition: _Optional[_Union[_common_pb2.Condition, _Mapping]] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class SetManyResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SetManyResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SetManyResult, _Mapping]]] = ...) -> None: ...

class SetManyResult(_message.Message):
    __slots__ = ("key", "written", "failure")
    KEY_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    key: str
    written: SetResponse
    failure: _common_pb2.Failure
    def __init__(self, key: _Optional[str] = ..., written: _Optional[_Union[SetResponse, _Mapping]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...

class DeleteManyRequest(_message.Message):
    __slots__ = ("cache", "keys", "idempotency_key")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    cache: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    idempotency_key: str
    def __init__(self, cache: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class DeleteManyResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[DeleteManyResult]
    def __init__(self, results: _Optional[_Iterable[_Union[DeleteManyResult, _Mapping]]] = ...) -> None: ...

class DeleteManyResult(_message.Message):
    __slots__ = ("key", "deleted", "failure")
    KEY_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    key: str
    deleted: DeleteResponse
    failure: _common_pb2.Failure
    def __init__(self, key: _Optional[str] = ..., deleted: _Optional[_Union[DeleteResponse, _Mapping]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...

class TouchRequest(_message.Message):
    __slots__ = ("cache", "key", "ttl", "idempotency_key")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    ttl: _duration_pb2.Duration
    idempotency_key: str
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class TouchResponse(_message.Message):
    __slots__ = ("outcome", "version", "ttl", "token")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    outcome: _common_pb2.WriteOutcome
    version: int
    ttl: _duration_pb2.Duration
    token: str
    def __init__(self, outcome: _Optional[_Union[_common_pb2.WriteOutcome, str]] = ..., version: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class IncrementRequest(_message.Message):
    __slots__ = ("cache", "key", "delta", "initial", "ttl", "idempotency_key")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    INITIAL_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    delta: int
    initial: int
    ttl: _duration_pb2.Duration
    idempotency_key: str
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., delta: _Optional[int] = ..., initial: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class IncrementResponse(_message.Message):
    __slots__ = ("value", "version", "ttl", "token")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    value: int
    version: int
    ttl: _duration_pb2.Duration
    token: str
    def __init__(self, value: _Optional[int] = ..., version: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class GetOrLoadRequest(_message.Message):
    __slots__ = ("cache", "key", "wait")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    wait: _duration_pb2.Duration
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetOrLoadResponse(_message.Message):
    __slots__ = ("outcome", "entry", "token", "expires_after", "retry_after")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    outcome: LoadOutcome
    entry: GetResponse
    token: str
    expires_after: _duration_pb2.Duration
    retry_after: _duration_pb2.Duration
    def __init__(self, outcome: _Optional[_Union[LoadOutcome, str]] = ..., entry: _Optional[_Union[GetResponse, _Mapping]] = ..., token: _Optional[str] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetOrLoadManyRequest(_message.Message):
    __slots__ = ("cache", "keys", "wait")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    cache: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    wait: _duration_pb2.Duration
    def __init__(self, cache: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetOrLoadManyResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[GetOrLoadManyResult]
    def __init__(self, results: _Optional[_Iterable[_Union[GetOrLoadManyResult, _Mapping]]] = ...) -> None: ...

class GetOrLoadManyResult(_message.Message):
    __slots__ = ("key", "loaded", "failure")
    KEY_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    key: str
    loaded: GetOrLoadResponse
    failure: _common_pb2.Failure
    def __init__(self, key: _Optional[str] = ..., loaded: _Optional[_Union[GetOrLoadResponse, _Mapping]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...

class FillRequest(_message.Message):
    __slots__ = ("cache", "key", "token", "value", "absent", "failed", "ttl", "tags")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    token: str
    value: bytes
    absent: bool
    failed: bool
    ttl: _duration_pb2.Duration
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., token: _Optional[str] = ..., value: _Optional[bytes] = ..., absent: _Optional[bool] = ..., failed: _Optional[bool] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class FillResponse(_message.Message):
    __slots__ = ("version", "ttl", "token")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    version: int
    ttl: _duration_pb2.Duration
    token: str
    def __init__(self, version: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class InvalidateRequest(_message.Message):
    __slots__ = ("cache", "keys", "tags", "prefix", "all")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    cache: str
    keys: InvalidateKeys
    tags: InvalidateTags
    prefix: str
    all: bool
    def __init__(self, cache: _Optional[str] = ..., keys: _Optional[_Union[InvalidateKeys, _Mapping]] = ..., tags: _Optional[_Union[InvalidateTags, _Mapping]] = ..., prefix: _Optional[str] = ..., all: _Optional[bool] = ...) -> None: ...

class InvalidateKeys(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, keys: _Optional[_Iterable[str]] = ...) -> None: ...

class InvalidateTags(_message.Message):
    __slots__ = ("tags",)
    TAGS_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tags: _Optional[_Iterable[str]] = ...) -> None: ...

class InvalidateResponse(_message.Message):
    __slots__ = ("removed", "generation", "failures", "token")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    removed: int
    generation: int
    failures: _containers.RepeatedCompositeFieldContainer[InvalidateFailure]
    token: str
    def __init__(self, removed: _Optional[int] = ..., generation: _Optional[int] = ..., failures: _Optional[_Iterable[_Union[InvalidateFailure, _Mapping]]] = ..., token: _Optional[str] = ...) -> None: ...

class InvalidateFailure(_message.Message):
    __slots__ = ("key", "failure")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    key: str
    failure: _common_pb2.Failure
    def __init__(self, key: _Optional[str] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...
