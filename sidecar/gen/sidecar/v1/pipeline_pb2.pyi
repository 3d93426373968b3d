import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from . import cache_pb2 as _cache_pb2
from . import common_pb2 as _common_pb2
from . import rate_limit_pb2 as _rate_limit_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Operation(_message.Message):
    __slots__ = ("get", "set", "delete", "touch", "increment", "check", "peek", "reset")
    GET_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    TOUCH_FIELD_NUMBER: _ClassVar[int]
    INCREMENT_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    PEEK_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    get: _cache_pb2.GetRequest
    set: _cache_pb2.SetRequest
    delete: _cache_pb2.DeleteRequest
    touch: _cache_pb2.TouchRequest
    increment: _cache_pb2.IncrementRequest
    check: _rate_limit_pb2.CheckRequest
    peek: _rate_limit_pb2.PeekRequest
    reset: _rate_limit_pb2.ResetRequest
    def __init__(self, get: _Optional[_Union[_cache_pb2.GetRequest, _Mapping]] = ..., set: _Optional[_Union[_cache_pb2.SetRequest, _Mapping]] = ..., delete: _Optional[_Union[_cache_pb2.DeleteRequest, _Mapping]] = ..., touch: _Optional[_Union[_cache_pb2.TouchRequest, _Mapping]] = ..., increment: _Optional[_Union[_cache_pb2.IncrementRequest, _Mapping]] = ..., check: _Optional[_Union[_rate_limit_pb2.CheckRequest, _Mapping]] = ..., peek: _Optional[_Union[_rate_limit_pb2.PeekRequest, _Mapping]] = ..., reset: _Optional[_Union[_rate_limit_pb2.ResetRequest, _Mapping]] = ...) -> None: ...

class OperationResult(_message.Message):
    __slots__ = ("get", "set", "delete", "touch", "increment", "check", "peek", "reset", "failure")
    GET_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    TOUCH_FIELD_NUMBER: _ClassVar[int]
    INCREMENT_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    PEEK_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    get: _cache_pb2.GetResponse
    set: _cache_pb2.SetResponse
    delete: _cache_pb2.DeleteResponse
    touch: _cache_pb2.TouchResponse
    increment: _cache_pb2.IncrementResponse
    check: _rate_limit_pb2.CheckResponse
    peek: _rate_limit_pb2.PeekResponse
    reset: _rate_limit_pb2.ResetResponse
    failure: _common_pb2.Failure
    def __init__(self, get: _Optional[_Union[_cache_pb2.GetResponse, _Mapping]] = ..., set: _Optional[_Union[_cache_pb2.SetResponse, _Mapping]] = ..., delete: _Optional[_Union[_cache_pb2.DeleteResponse, _Mapping]] = ..., touch: _Optional[_Union[_cache_pb2.TouchResponse, _Mapping]] = ..., increment: _Optional[_Union[_cache_pb2.IncrementResponse, _Mapping]] = ..., check: _Optional[_Union[_rate_limit_pb2.CheckResponse, _Mapping]] = ..., peek: _Optional[_Union[_rate_limit_pb2.PeekResponse, _Mapping]] = ..., reset: _Optional[_Union[_rate_limit_pb2.ResetResponse, _Mapping]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...

class ExecuteRequest(_message.Message):
    __slots__ = ("operations",)
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[OperationResult]
    def __init__(self, results: _Optional[_Iterable[_Union[OperationResult, _Mapping]]] = ...) -> None: ...

class StreamRequest(_message.Message):
    __slots__ = ("id", "operations", "timeout")
    ID_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    id: int
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    timeout: _duration_pb2.Duration
    def __init__(self, id: _Optional[int] = ..., operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StreamResponse(_message.Message):
    __slots__ = ("id", "results", "failure")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    id: int
    results: _containers.RepeatedCompositeFieldContainer[OperationResult]
    failure: _common_pb2.Failure
    def __init__(self, id: _Optional[int] = ..., results: _Optional[_Iterable[_Union[OperationResult, _Mapping]]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...
