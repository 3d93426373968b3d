import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from . import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FieldValue(_message.Message):
    __slots__ = ("text", "data", "integer", "number", "boolean", "time")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    text: str
    data: bytes
    integer: int
    number: float
    boolean: bool
    time: _timestamp_pb2.Timestamp
    def __init__(self, text: _Optional[str] = ..., data: _Optional[bytes] = ..., integer: _Optional[int] = ..., number: _Optional[float] = ..., boolean: _Optional[bool] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PutRecordRequest(_message.Message):
    __slots__ = ("cache", "key", "fields", "ttl", "condition", "idempotency_key")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: FieldValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[FieldValue, _Mapping]] = ...) -> None: ...
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    fields: _containers.MessageMap[str, FieldValue]
    ttl: _duration_pb2.Duration
    condition: _common_pb2.Condition
    idempotency_key: str
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., fields: _Optional[_Mapping[str, FieldValue]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., condition: _Optional[_Union[_common_pb2.Condition, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class PutRecordResponse(_message.Message):
    __slots__ = ("outcome", "version", "ttl")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    outcome: _common_pb2.WriteOutcome
    version: int
    ttl: _duration_pb2.Duration
    def __init__(self, outcome: _Optional[_Union[_common_pb2.WriteOutcome, str]] = ..., version: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetRecordRequest(_message.Message):
    __slots__ = ("cache", "key", "read_mask")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class GetRecordResponse(_message.Message):
    __slots__ = ("outcome", "fields", "version", "ttl", "age", "source")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: FieldValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[FieldValue, _Mapping]] = ...) -> None: ...
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    outcome: _common_pb2.Outcome
    fields: _containers.MessageMap[str, FieldValue]
    version: int
    ttl: _duration_pb2.Duration
    age: _duration_pb2.Duration
    source: _common_pb2.Source
    def __init__(self, outcome: _Optional[_Union[_common_pb2.Outcome, str]] = ..., fields: _Optional[_Mapping[str, FieldValue]] = ..., version: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., source: _Optional[_Union[_common_pb2.Source, str]] = ...) -> None: ...

class PatchRecordRequest(_message.Message):
    __slots__ = ("cache", "key", "fields", "remove_fields", "ttl", "condition", "idempotency_key")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: FieldValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[FieldValue, _Mapping]] = ...) -> None: ...
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELDS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    fields: _containers.MessageMap[str, FieldValue]
    remove_fields: _containers.RepeatedScalarFieldContainer[str]
    ttl: _duration_pb2.Duration
    condition: _common_pb2.Condition
    idempotency_key: str
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., fields: _Optional[_Mapping[str, FieldValue]] = ..., remove_fields: _Optional[_Iterable[str]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., condition: _Optional[_Union[_common_pb2.Condition, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class PatchRecordResponse(_message.Message):
    __slots__ = ("outcome", "version", "ttl")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    outcome: _common_pb2.WriteOutcome
    version: int
    ttl: _duration_pb2.Duration
    def __init__(self, outcome: _Optional[_Union[_common_pb2.WriteOutcome, str]] = ..., version: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DeleteRecordRequest(_message.Message):
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

class DeleteRecordResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: _common_pb2.WriteOutcome
    def __init__(self, outcome: _Optional[_Union[_common_pb2.WriteOutcome, str]] = ...) -> None: ...
