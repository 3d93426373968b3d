"""What the client sends and reads of overrides."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import duration_pb2
from sidecar_client import Numbers, Override, SidecarClient
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb

if TYPE_CHECKING:
    from played_sidecar import Play

MINUTE = duration_pb2.Duration(seconds=60)
FASTER = pb.LimitNumbers(name="steady", rate_tokens=3, rate_period=MINUTE)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"unlimited": True}, pb.Override(unlimited=True)),
        ({"denied": True}, pb.Override(denied=True)),
        (
            {"numbers": [Numbers(name="steady", rate_tokens=3, rate_period=timedelta(minutes=1))]},
            pb.Override(numbers=pb.OverrideNumbers(limits=[FASTER])),
        ),
    ],
)
async def test_an_override_is_sent(
    play: Play, sidecar: SidecarClient, said: dict[str, Any], expected: pb.Override
) -> None:
    """With policy, key and end."""
    play.answer(pb.SetOverrideResponse())
    await sidecar.limit("api").override("k", expires_after=60, **said)
    expected.MergeFrom(pb.Override(policy="api", key="k", expires_after=MINUTE))
    assert pb.SetOverrideRequest(override=expected) == play.received[0].request


async def test_an_override_says_one_thing(sidecar: SidecarClient) -> None:
    """Neither nothing nor two."""
    limit = sidecar.limit("api")
    with pytest.raises(ValueError, match="one of unlimited, denied and numbers"):
        await limit.override("k", expires_after=60)
    with pytest.raises(ValueError, match="one of unlimited, denied and numbers"):
        await limit.override("k", expires_after=60, unlimited=True, denied=True)


async def test_an_override_is_deleted(play: Play, sidecar: SidecarClient) -> None:
    """It says whether there was one."""
    play.answer(pb.DeleteOverrideResponse(existed=True))
    assert await sidecar.limit("api").delete_override("k")


async def test_overrides_are_listed(play: Play, sidecar: SidecarClient) -> None:
    """As they were set."""
    numbers = pb.OverrideNumbers(limits=[FASTER])
    play.answer(
        pb.ListOverridesResponse(overrides=[pb.Override(policy="api", key="k", numbers=numbers, expires_after=MINUTE)])
    )
    minute = timedelta(minutes=1)
    own = Numbers(name="steady", rate_tokens=3, rate_period=minute)
    assert (Override(policy="api", key="k", numbers=(own,), expires_after=minute),) == await sidecar.overrides()
