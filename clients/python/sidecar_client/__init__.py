"""An asyncio client of the sidecar: caches, records and rate limits.

async with SidecarClient("127.0.0.1:50051") as sidecar:
    balances = sidecar.cache("balances")
    await balances.set("account:7", "12.50", ttl=30)
    found = await balances.get("account:7")
"""

from sidecar_client.blocking import BlockingLimit, BlockingSidecar
from sidecar_client.blocking_cache import BlockingCache
from sidecar_client.cache import Cache, Item
from sidecar_client.cached import BlockingCachedFunction, CachedFunction, cached
from sidecar_client.client import SidecarClient
from sidecar_client.conditions import Condition, IfAbsent, IfPresent, IfVersion, if_absent, if_present, if_version
from sidecar_client.errors import (
    BatchError,
    DataLossError,
    DeadlineExceededError,
    ExhaustedError,
    InternalError,
    InvalidRequestError,
    LeaseLostError,
    NotConfiguredError,
    OutcomeUnknownError,
    OverloadedError,
    PreconditionError,
    ReservationLostError,
    SidecarError,
    UnavailableError,
)
from sidecar_client.explanation import CostOutcome, Explanation, LimitState
from sidecar_client.fields import Value
from sidecar_client.guard import BlockingGuard, Guard
from sidecar_client.idempotency import IdempotencyKey, new_idempotency_key
from sidecar_client.limit import Check, Limit
from sidecar_client.overrides import Numbers, Override
from sidecar_client.policies import (
    Algorithm,
    FailureMode,
    Policy,
    PolicyLease,
    PolicyLimit,
    PolicyReservations,
    PolicyTier,
)
from sidecar_client.records import Records
from sidecar_client.reports import CandidateRefusal, CandidateReport, LimitReport, RefusedKey
from sidecar_client.reservation import NotReservedError, Reservation
from sidecar_client.results import (
    Acquired,
    Committed,
    Counted,
    DecidedBy,
    Decision,
    Decisions,
    Deleted,
    Enforcement,
    Invalidated,
    LimitStatus,
    Lookup,
    Outcome,
    Record,
    Reserved,
    WriteOutcome,
    Written,
)
from sidecar_client.retry import RetryPolicy
from sidecar_client.rules import Answer, OnFailure, Rule, Ruling, Verdict
from sidecar_client.serializers import MsgspecSerializer, Serializer
from sidecar_client.slot import NoSlotError, Slot
from sidecar_client.watching import Change, ChangeKind, Copies

__all__ = [
    "Acquired",
    "Algorithm",
    "Answer",
    "BatchError",
    "BlockingCache",
    "BlockingCachedFunction",
    "BlockingGuard",
    "BlockingLimit",
    "BlockingSidecar",
    "Cache",
    "CachedFunction",
    "CandidateRefusal",
    "CandidateReport",
    "Change",
    "ChangeKind",
    "Check",
    "Committed",
    "Condition",
    "Copies",
    "CostOutcome",
    "Counted",
    "DataLossError",
    "DeadlineExceededError",
    "DecidedBy",
    "Decision",
    "Decisions",
    "Deleted",
    "Enforcement",
    "ExhaustedError",
    "Explanation",
    "FailureMode",
    "Guard",
    "IdempotencyKey",
    "IfAbsent",
    "IfPresent",
    "IfVersion",
    "InternalError",
    "InvalidRequestError",
    "Invalidated",
    "Item",
    "LeaseLostError",
    "Limit",
    "LimitReport",
    "LimitState",
    "LimitStatus",
    "Lookup",
    "MsgspecSerializer",
    "NoSlotError",
    "NotConfiguredError",
    "NotReservedError",
    "Numbers",
    "OnFailure",
    "Outcome",
    "OutcomeUnknownError",
    "OverloadedError",
    "Override",
    "Policy",
    "PolicyLease",
    "PolicyLimit",
    "PolicyReservations",
    "PolicyTier",
    "PreconditionError",
    "Record",
    "Records",
    "RefusedKey",
    "Reservation",
    "ReservationLostError",
    "Reserved",
    "RetryPolicy",
    "Rule",
    "Ruling",
    "Serializer",
    "SidecarClient",
    "SidecarError",
    "Slot",
    "UnavailableError",
    "Value",
    "Verdict",
    "WriteOutcome",
    "Written",
    "cached",
    "if_absent",
    "if_present",
    "if_version",
    "new_idempotency_key",
]
