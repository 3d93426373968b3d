import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchInvalidationsRequest(_message.Message):
    __slots__ = ("cache", "prefixes")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    cache: str
    prefixes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cache: _Optional[str] = ..., prefixes: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchInvalidationsResponse(_message.Message):
    __slots__ = ("ready", "keys", "prefix", "all", "reset", "heartbeat", "as_of")
    READY_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    keys: WatchedKeys
    prefix: str
    all: bool
    reset: bool
    heartbeat: bool
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, ready: _Optional[bool] = ..., keys: _Optional[_Union[WatchedKeys, _Mapping]] = ..., prefix: _Optional[str] = ..., all: _Optional[bool] = ..., reset: _Optional[bool] = ..., heartbeat: _Optional[bool] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WatchedKeys(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, keys: _Optional[_Iterable[str]] = ...) -> None: ...
