import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OriginEntry(_message.Message):
    __slots__ = ("present", "value", "ttl", "tags")
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    present: bool
    value: bytes
    ttl: _duration_pb2.Duration
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, present: _Optional[bool] = ..., value: _Optional[bytes] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class LoadRequest(_message.Message):
    __slots__ = ("cache", "key")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class LoadResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: OriginEntry
    def __init__(self, entry: _Optional[_Union[OriginEntry, _Mapping]] = ...) -> None: ...

class LoadManyRequest(_message.Message):
    __slots__ = ("cache", "keys")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    cache: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cache: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ...) -> None: ...

class LoadManyResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[OriginEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[OriginEntry, _Mapping]]] = ...) -> None: ...

class StoreRequest(_message.Message):
    __slots__ = ("cache", "key", "value", "token")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    value: bytes
    token: str
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., value: _Optional[bytes] = ..., token: _Optional[str] = ...) -> None: ...

class StoreResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StoreManyRequest(_message.Message):
    __slots__ = ("cache", "changes")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    cache: str
    changes: _containers.RepeatedCompositeFieldContainer[OriginChange]
    def __init__(self, cache: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[OriginChange, _Mapping]]] = ...) -> None: ...

class OriginChange(_message.Message):
    __slots__ = ("key", "value", "remove", "token")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: bytes
    remove: bool
    token: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ..., remove: _Optional[bool] = ..., token: _Optional[str] = ...) -> None: ...

class StoreManyResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[OriginResult]
    def __init__(self, results: _Optional[_Iterable[_Union[OriginResult, _Mapping]]] = ...) -> None: ...

class OriginResult(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("cache", "key", "token")
    CACHE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    cache: str
    key: str
    token: str
    def __init__(self, cache: _Optional[str] = ..., key: _Optional[str] = ..., token: _Optional[str] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
