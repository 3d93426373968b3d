import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from . import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecidedBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECIDED_BY_UNSPECIFIED: _ClassVar[DecidedBy]
    DECIDED_BY_UNLIMITED_POLICY: _ClassVar[DecidedBy]
    DECIDED_BY_UNLIMITED_KEY: _ClassVar[DecidedBy]
    DECIDED_BY_ZERO_LIMIT: _ClassVar[DecidedBy]
    DECIDED_BY_DENIED_KEY: _ClassVar[DecidedBy]
    DECIDED_BY_OVERRIDE_UNLIMITED: _ClassVar[DecidedBy]
    DECIDED_BY_OVERRIDE_DENIED: _ClassVar[DecidedBy]
    DECIDED_BY_OVERRIDE_LIMITS: _ClassVar[DecidedBy]
    DECIDED_BY_TIER_UNLIMITED: _ClassVar[DecidedBy]
    DECIDED_BY_TIER_DENIED: _ClassVar[DecidedBy]
    DECIDED_BY_TIER_LIMITS: _ClassVar[DecidedBy]

class Enforcement(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENFORCEMENT_UNSPECIFIED: _ClassVar[Enforcement]
    ENFORCEMENT_STORE: _ClassVar[Enforcement]
    ENFORCEMENT_FAILED_OPEN: _ClassVar[Enforcement]
    ENFORCEMENT_FAILED_CLOSED: _ClassVar[Enforcement]
    ENFORCEMENT_LOCAL_SHARE: _ClassVar[Enforcement]
    ENFORCEMENT_LEASE: _ClassVar[Enforcement]

class CheckMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECK_MODE_UNSPECIFIED: _ClassVar[CheckMode]
    CHECK_MODE_ALL_OR_NOTHING: _ClassVar[CheckMode]
    CHECK_MODE_EACH: _ClassVar[CheckMode]

class FailureMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_MODE_UNSPECIFIED: _ClassVar[FailureMode]
    FAILURE_MODE_ERROR: _ClassVar[FailureMode]
    FAILURE_MODE_OPEN: _ClassVar[FailureMode]
    FAILURE_MODE_CLOSED: _ClassVar[FailureMode]
    FAILURE_MODE_LOCAL_SHARE: _ClassVar[FailureMode]

class Algorithm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALGORITHM_UNSPECIFIED: _ClassVar[Algorithm]
    ALGORITHM_TOKEN_BUCKET: _ClassVar[Algorithm]
    ALGORITHM_GCRA: _ClassVar[Algorithm]
    ALGORITHM_SLIDING_WINDOW: _ClassVar[Algorithm]
    ALGORITHM_SLIDING_LOG: _ClassVar[Algorithm]
    ALGORITHM_FIXED_WINDOW: _ClassVar[Algorithm]
    ALGORITHM_CONCURRENCY: _ClassVar[Algorithm]
DECIDED_BY_UNSPECIFIED: DecidedBy
DECIDED_BY_UNLIMITED_POLICY: DecidedBy
DECIDED_BY_UNLIMITED_KEY: DecidedBy
DECIDED_BY_ZERO_LIMIT: DecidedBy
DECIDED_BY_DENIED_KEY: DecidedBy
DECIDED_BY_OVERRIDE_UNLIMITED: DecidedBy
DECIDED_BY_OVERRIDE_DENIED: DecidedBy
DECIDED_BY_OVERRIDE_LIMITS: DecidedBy
DECIDED_BY_TIER_UNLIMITED: DecidedBy
DECIDED_BY_TIER_DENIED: DecidedBy
DECIDED_BY_TIER_LIMITS: DecidedBy
ENFORCEMENT_UNSPECIFIED: Enforcement
ENFORCEMENT_STORE: Enforcement
ENFORCEMENT_FAILED_OPEN: Enforcement
ENFORCEMENT_FAILED_CLOSED: Enforcement
ENFORCEMENT_LOCAL_SHARE: Enforcement
ENFORCEMENT_LEASE: Enforcement
CHECK_MODE_UNSPECIFIED: CheckMode
CHECK_MODE_ALL_OR_NOTHING: CheckMode
CHECK_MODE_EACH: CheckMode
FAILURE_MODE_UNSPECIFIED: FailureMode
FAILURE_MODE_ERROR: FailureMode
FAILURE_MODE_OPEN: FailureMode
FAILURE_MODE_CLOSED: FailureMode
FAILURE_MODE_LOCAL_SHARE: FailureMode
ALGORITHM_UNSPECIFIED: Algorithm
ALGORITHM_TOKEN_BUCKET: Algorithm
ALGORITHM_GCRA: Algorithm
ALGORITHM_SLIDING_WINDOW: Algorithm
ALGORITHM_SLIDING_LOG: Algorithm
ALGORITHM_FIXED_WINDOW: Algorithm
ALGORITHM_CONCURRENCY: Algorithm

class CheckRequest(_message.Message):
    __slots__ = ("policy", "key", "cost", "tier")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    cost: int
    tier: str
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ..., cost: _Optional[int] = ..., tier: _Optional[str] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("allowed", "limit", "remaining", "retry_after", "reset_after", "limits", "enforcement", "max_overshoot", "decided_by", "shadow_denied")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    RESET_AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    MAX_OVERSHOOT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    SHADOW_DENIED_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    limit: int
    remaining: int
    retry_after: _duration_pb2.Duration
    reset_after: _duration_pb2.Duration
    limits: _containers.RepeatedCompositeFieldContainer[LimitStatus]
    enforcement: Enforcement
    max_overshoot: int
    decided_by: DecidedBy
    shadow_denied: bool
    def __init__(self, allowed: _Optional[bool] = ..., limit: _Optional[int] = ..., remaining: _Optional[int] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reset_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[LimitStatus, _Mapping]]] = ..., enforcement: _Optional[_Union[Enforcement, str]] = ..., max_overshoot: _Optional[int] = ..., decided_by: _Optional[_Union[DecidedBy, str]] = ..., shadow_denied: _Optional[bool] = ...) -> None: ...

class CheckManyRequest(_message.Message):
    __slots__ = ("checks", "mode")
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    checks: _containers.RepeatedCompositeFieldContainer[CheckRequest]
    mode: CheckMode
    def __init__(self, checks: _Optional[_Iterable[_Union[CheckRequest, _Mapping]]] = ..., mode: _Optional[_Union[CheckMode, str]] = ...) -> None: ...

class CheckManyResponse(_message.Message):
    __slots__ = ("allowed", "results")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    results: _containers.RepeatedCompositeFieldContainer[CheckManyResult]
    def __init__(self, allowed: _Optional[bool] = ..., results: _Optional[_Iterable[_Union[CheckManyResult, _Mapping]]] = ...) -> None: ...

class CheckManyResult(_message.Message):
    __slots__ = ("decision", "failure")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    decision: CheckResponse
    failure: _common_pb2.Failure
    def __init__(self, decision: _Optional[_Union[CheckResponse, _Mapping]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ...) -> None: ...

class LimitStatus(_message.Message):
    __slots__ = ("name", "allowed", "limit", "remaining", "retry_after", "reset_after")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    RESET_AFTER_FIELD_NUMBER: _ClassVar[int]
    name: str
    allowed: bool
    limit: int
    remaining: int
    retry_after: _duration_pb2.Duration
    reset_after: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., allowed: _Optional[bool] = ..., limit: _Optional[int] = ..., remaining: _Optional[int] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reset_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class PeekRequest(_message.Message):
    __slots__ = ("policy", "key", "cost", "tier")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    cost: int
    tier: str
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ..., cost: _Optional[int] = ..., tier: _Optional[str] = ...) -> None: ...

class PeekResponse(_message.Message):
    __slots__ = ("allowed", "limit", "remaining", "retry_after", "reset_after", "limits", "enforcement", "max_overshoot", "decided_by", "shadow_denied")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    RESET_AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    MAX_OVERSHOOT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    SHADOW_DENIED_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    limit: int
    remaining: int
    retry_after: _duration_pb2.Duration
    reset_after: _duration_pb2.Duration
    limits: _containers.RepeatedCompositeFieldContainer[LimitStatus]
    enforcement: Enforcement
    max_overshoot: int
    decided_by: DecidedBy
    shadow_denied: bool
    def __init__(self, allowed: _Optional[bool] = ..., limit: _Optional[int] = ..., remaining: _Optional[int] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reset_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[LimitStatus, _Mapping]]] = ..., enforcement: _Optional[_Union[Enforcement, str]] = ..., max_overshoot: _Optional[int] = ..., decided_by: _Optional[_Union[DecidedBy, str]] = ..., shadow_denied: _Optional[bool] = ...) -> None: ...

class ResetRequest(_message.Message):
    __slots__ = ("policy", "key")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class ResetResponse(_message.Message):
    __slots__ = ("existed",)
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    existed: bool
    def __init__(self, existed: _Optional[bool] = ...) -> None: ...

class AcquireRequest(_message.Message):
    __slots__ = ("policy", "key", "holder", "slots", "lease")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    holder: str
    slots: int
    lease: _duration_pb2.Duration
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ..., holder: _Optional[str] = ..., slots: _Optional[int] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AcquireResponse(_message.Message):
    __slots__ = ("acquired", "token", "limit", "in_use", "remaining", "expires_after", "retry_after")
    ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    IN_USE_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    acquired: bool
    token: str
    limit: int
    in_use: int
    remaining: int
    expires_after: _duration_pb2.Duration
    retry_after: _duration_pb2.Duration
    def __init__(self, acquired: _Optional[bool] = ..., token: _Optional[str] = ..., limit: _Optional[int] = ..., in_use: _Optional[int] = ..., remaining: _Optional[int] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("policy", "key", "token")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    token: str
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ..., token: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("slots", "in_use", "remaining")
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    IN_USE_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    slots: int
    in_use: int
    remaining: int
    def __init__(self, slots: _Optional[int] = ..., in_use: _Optional[int] = ..., remaining: _Optional[int] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("policy", "key", "token", "lease")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    token: str
    lease: _duration_pb2.Duration
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ..., token: _Optional[str] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("expires_after",)
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    expires_after: _duration_pb2.Duration
    def __init__(self, expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: str
    def __init__(self, policy: _Optional[str] = ...) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies",)
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[PolicyDescription]
    def __init__(self, policies: _Optional[_Iterable[_Union[PolicyDescription, _Mapping]]] = ...) -> None: ...

class PolicyDescription(_message.Message):
    __slots__ = ("name", "version", "limits", "unlimited", "unlimited_keys", "denied_keys", "shadow", "near_limit", "on_failure", "cache_refusals", "tiers", "candidate", "lease", "reservations", "personal")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    UNLIMITED_FIELD_NUMBER: _ClassVar[int]
    UNLIMITED_KEYS_FIELD_NUMBER: _ClassVar[int]
    DENIED_KEYS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    NEAR_LIMIT_FIELD_NUMBER: _ClassVar[int]
    ON_FAILURE_FIELD_NUMBER: _ClassVar[int]
    CACHE_REFUSALS_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    RESERVATIONS_FIELD_NUMBER: _ClassVar[int]
    PERSONAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    limits: _containers.RepeatedCompositeFieldContainer[LimitDescription]
    unlimited: bool
    unlimited_keys: int
    denied_keys: int
    shadow: bool
    near_limit: float
    on_failure: FailureMode
    cache_refusals: bool
    tiers: _containers.RepeatedCompositeFieldContainer[TierDescription]
    candidate: _containers.RepeatedCompositeFieldContainer[LimitDescription]
    lease: LeaseDescription
    reservations: ReservationSettings
    personal: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., limits: _Optional[_Iterable[_Union[LimitDescription, _Mapping]]] = ..., unlimited: _Optional[bool] = ..., unlimited_keys: _Optional[int] = ..., denied_keys: _Optional[int] = ..., shadow: _Optional[bool] = ..., near_limit: _Optional[float] = ..., on_failure: _Optional[_Union[FailureMode, str]] = ..., cache_refusals: _Optional[bool] = ..., tiers: _Optional[_Iterable[_Union[TierDescription, _Mapping]]] = ..., candidate: _Optional[_Iterable[_Union[LimitDescription, _Mapping]]] = ..., lease: _Optional[_Union[LeaseDescription, _Mapping]] = ..., reservations: _Optional[_Union[ReservationSettings, _Mapping]] = ..., personal: _Optional[bool] = ...) -> None: ...

class TierDescription(_message.Message):
    __slots__ = ("name", "unlimited", "denied", "limits")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNLIMITED_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    name: str
    unlimited: bool
    denied: bool
    limits: _containers.RepeatedCompositeFieldContainer[LimitDescription]
    def __init__(self, name: _Optional[str] = ..., unlimited: _Optional[bool] = ..., denied: _Optional[bool] = ..., limits: _Optional[_Iterable[_Union[LimitDescription, _Mapping]]] = ...) -> None: ...

class LeaseDescription(_message.Message):
    __slots__ = ("max_fraction", "max_tokens", "ttl")
    MAX_FRACTION_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    max_fraction: float
    max_tokens: int
    ttl: _duration_pb2.Duration
    def __init__(self, max_fraction: _Optional[float] = ..., max_tokens: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LimitDescription(_message.Message):
    __slots__ = ("name", "algorithm", "limit", "window", "calendar", "time_zone", "sub_windows", "rate_tokens", "rate_period", "lease", "max_lease")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    CALENDAR_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    SUB_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    RATE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RATE_PERIOD_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    MAX_LEASE_FIELD_NUMBER: _ClassVar[int]
    name: str
    algorithm: Algorithm
    limit: int
    window: _duration_pb2.Duration
    calendar: str
    time_zone: str
    sub_windows: int
    rate_tokens: int
    rate_period: _duration_pb2.Duration
    lease: _duration_pb2.Duration
    max_lease: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., algorithm: _Optional[_Union[Algorithm, str]] = ..., limit: _Optional[int] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., calendar: _Optional[str] = ..., time_zone: _Optional[str] = ..., sub_windows: _Optional[int] = ..., rate_tokens: _Optional[int] = ..., rate_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Override(_message.Message):
    __slots__ = ("policy", "key", "unlimited", "denied", "numbers", "expires_after")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    UNLIMITED_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    unlimited: bool
    denied: bool
    numbers: OverrideNumbers
    expires_after: _duration_pb2.Duration
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ..., unlimited: _Optional[bool] = ..., denied: _Optional[bool] = ..., numbers: _Optional[_Union[OverrideNumbers, _Mapping]] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class OverrideNumbers(_message.Message):
    __slots__ = ("limits",)
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    limits: _containers.RepeatedCompositeFieldContainer[LimitNumbers]
    def __init__(self, limits: _Optional[_Iterable[_Union[LimitNumbers, _Mapping]]] = ...) -> None: ...

class LimitNumbers(_message.Message):
    __slots__ = ("name", "limit", "rate_tokens", "rate_period")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    RATE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RATE_PERIOD_FIELD_NUMBER: _ClassVar[int]
    name: str
    limit: int
    rate_tokens: int
    rate_period: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., limit: _Optional[int] = ..., rate_tokens: _Optional[int] = ..., rate_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SetOverrideRequest(_message.Message):
    __slots__ = ("override",)
    OVERRIDE_FIELD_NUMBER: _ClassVar[int]
    override: Override
    def __init__(self, override: _Optional[_Union[Override, _Mapping]] = ...) -> None: ...

class SetOverrideResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteOverrideRequest(_message.Message):
    __slots__ = ("policy", "key")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class DeleteOverrideResponse(_message.Message):
    __slots__ = ("existed",)
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    existed: bool
    def __init__(self, existed: _Optional[bool] = ...) -> None: ...

class ListOverridesRequest(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: str
    def __init__(self, policy: _Optional[str] = ...) -> None: ...

class ListOverridesResponse(_message.Message):
    __slots__ = ("overrides",)
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    overrides: _containers.RepeatedCompositeFieldContainer[Override]
    def __init__(self, overrides: _Optional[_Iterable[_Union[Override, _Mapping]]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("policy", "key", "tier")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    tier: str
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ..., tier: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("policy", "decided_by", "entry", "override", "store_time", "limits", "outcomes", "tier")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    OVERRIDE_FIELD_NUMBER: _ClassVar[int]
    STORE_TIME_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    policy: PolicyDescription
    decided_by: DecidedBy
    entry: str
    override: Override
    store_time: _timestamp_pb2.Timestamp
    limits: _containers.RepeatedCompositeFieldContainer[LimitState]
    outcomes: _containers.RepeatedCompositeFieldContainer[CostOutcome]
    tier: str
    def __init__(self, policy: _Optional[_Union[PolicyDescription, _Mapping]] = ..., decided_by: _Optional[_Union[DecidedBy, str]] = ..., entry: _Optional[str] = ..., override: _Optional[_Union[Override, _Mapping]] = ..., store_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[LimitState, _Mapping]]] = ..., outcomes: _Optional[_Iterable[_Union[CostOutcome, _Mapping]]] = ..., tier: _Optional[str] = ...) -> None: ...

class LimitState(_message.Message):
    __slots__ = ("limit", "remaining", "reset_after", "words")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    RESET_AFTER_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    limit: LimitDescription
    remaining: int
    reset_after: _duration_pb2.Duration
    words: str
    def __init__(self, limit: _Optional[_Union[LimitDescription, _Mapping]] = ..., remaining: _Optional[int] = ..., reset_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., words: _Optional[str] = ...) -> None: ...

class CostOutcome(_message.Message):
    __slots__ = ("cost", "allowed", "retry_after", "refused_by", "shadow_denied")
    COST_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BY_FIELD_NUMBER: _ClassVar[int]
    SHADOW_DENIED_FIELD_NUMBER: _ClassVar[int]
    cost: int
    allowed: bool
    retry_after: _duration_pb2.Duration
    refused_by: _containers.RepeatedScalarFieldContainer[str]
    shadow_denied: bool
    def __init__(self, cost: _Optional[int] = ..., allowed: _Optional[bool] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., refused_by: _Optional[_Iterable[str]] = ..., shadow_denied: _Optional[bool] = ...) -> None: ...

class ReportLimitsRequest(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: str
    def __init__(self, policy: _Optional[str] = ...) -> None: ...

class ReportLimitsResponse(_message.Message):
    __slots__ = ("version", "processes", "age", "since", "refused", "keys", "hashed", "candidate")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    HASHED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    version: str
    processes: int
    age: _duration_pb2.Duration
    since: _timestamp_pb2.Timestamp
    refused: int
    keys: _containers.RepeatedCompositeFieldContainer[RefusedKey]
    hashed: bool
    candidate: CandidateReport
    def __init__(self, version: _Optional[str] = ..., processes: _Optional[int] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., refused: _Optional[int] = ..., keys: _Optional[_Iterable[_Union[RefusedKey, _Mapping]]] = ..., hashed: _Optional[bool] = ..., candidate: _Optional[_Union[CandidateReport, _Mapping]] = ...) -> None: ...

class RefusedKey(_message.Message):
    __slots__ = ("key", "refused", "excess")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    EXCESS_FIELD_NUMBER: _ClassVar[int]
    key: str
    refused: int
    excess: int
    def __init__(self, key: _Optional[str] = ..., refused: _Optional[int] = ..., excess: _Optional[int] = ...) -> None: ...

class CandidateReport(_message.Message):
    __slots__ = ("since", "processes", "both_allowed", "both_refused", "only_candidate_refused", "only_live_refused", "unanswered", "sample")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    BOTH_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    BOTH_REFUSED_FIELD_NUMBER: _ClassVar[int]
    ONLY_CANDIDATE_REFUSED_FIELD_NUMBER: _ClassVar[int]
    ONLY_LIVE_REFUSED_FIELD_NUMBER: _ClassVar[int]
    UNANSWERED_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    since: _timestamp_pb2.Timestamp
    processes: int
    both_allowed: int
    both_refused: int
    only_candidate_refused: int
    only_live_refused: int
    unanswered: int
    sample: _containers.RepeatedCompositeFieldContainer[CandidateRefusal]
    def __init__(self, since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., processes: _Optional[int] = ..., both_allowed: _Optional[int] = ..., both_refused: _Optional[int] = ..., only_candidate_refused: _Optional[int] = ..., only_live_refused: _Optional[int] = ..., unanswered: _Optional[int] = ..., sample: _Optional[_Iterable[_Union[CandidateRefusal, _Mapping]]] = ...) -> None: ...

class CandidateRefusal(_message.Message):
    __slots__ = ("key", "time")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    key: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, key: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReservationSettings(_message.Message):
    __slots__ = ("ttl", "max_ttl", "max_held")
    TTL_FIELD_NUMBER: _ClassVar[int]
    MAX_TTL_FIELD_NUMBER: _ClassVar[int]
    MAX_HELD_FIELD_NUMBER: _ClassVar[int]
    ttl: _duration_pb2.Duration
    max_ttl: _duration_pb2.Duration
    max_held: int
    def __init__(self, ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_held: _Optional[int] = ...) -> None: ...

class ReserveRequest(_message.Message):
    __slots__ = ("policy", "key", "cost", "ttl", "reservation_id", "tier")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    cost: int
    ttl: _duration_pb2.Duration
    reservation_id: str
    tier: str
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ..., cost: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reservation_id: _Optional[str] = ..., tier: _Optional[str] = ...) -> None: ...

class ReserveResponse(_message.Message):
    __slots__ = ("reserved", "token", "limit", "remaining", "retry_after", "reset_after", "expires_after", "limits", "decided_by", "shadow_denied")
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    RESET_AFTER_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    SHADOW_DENIED_FIELD_NUMBER: _ClassVar[int]
    reserved: bool
    token: str
    limit: int
    remaining: int
    retry_after: _duration_pb2.Duration
    reset_after: _duration_pb2.Duration
    expires_after: _duration_pb2.Duration
    limits: _containers.RepeatedCompositeFieldContainer[LimitStatus]
    decided_by: DecidedBy
    shadow_denied: bool
    def __init__(self, reserved: _Optional[bool] = ..., token: _Optional[str] = ..., limit: _Optional[int] = ..., remaining: _Optional[int] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reset_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[LimitStatus, _Mapping]]] = ..., decided_by: _Optional[_Union[DecidedBy, str]] = ..., shadow_denied: _Optional[bool] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("policy", "key", "token", "cost", "tier")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    token: str
    cost: int
    tier: str
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ..., token: _Optional[str] = ..., cost: _Optional[int] = ..., tier: _Optional[str] = ...) -> None: ...

class CommitResponse(_message.Message):
    __slots__ = ("charged", "shortfall", "limit", "remaining", "reset_after")
    CHARGED_FIELD_NUMBER: _ClassVar[int]
    SHORTFALL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    RESET_AFTER_FIELD_NUMBER: _ClassVar[int]
    charged: int
    shortfall: int
    limit: int
    remaining: int
    reset_after: _duration_pb2.Duration
    def __init__(self, charged: _Optional[int] = ..., shortfall: _Optional[int] = ..., limit: _Optional[int] = ..., remaining: _Optional[int] = ..., reset_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("policy", "key", "token")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    policy: str
    key: str
    token: str
    def __init__(self, policy: _Optional[str] = ..., key: _Optional[str] = ..., token: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("freed",)
    FREED_FIELD_NUMBER: _ClassVar[int]
    freed: int
    def __init__(self, freed: _Optional[int] = ...) -> None: ...
