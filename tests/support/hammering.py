"""A process of callers who all check the same key: `python -m support.hammering ADDRESS KEY CALLERS CALLS POLICY...`.

It prints how many calls each policy allowed, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

from sidecar_client import SidecarClient


async def hammer(address: str, key: str, callers: int, calls: int, policies: list[str]) -> dict[str, int]:
    """Let every caller check each policy so often, all callers at once; return what was allowed."""
    allowed = dict.fromkeys(policies, 0)

    async def call(sidecar: SidecarClient) -> None:
        for _ in range(calls):
            for policy in policies:
                decision = await sidecar.limit(policy).check(key, timeout=30)
                allowed[policy] += decision.allowed

    async with SidecarClient(address) as sidecar:
        await asyncio.gather(*(call(sidecar) for _ in range(callers)))
    return allowed


if __name__ == "__main__":
    _, to, about, many, often, *names = sys.argv
    print(json.dumps(asyncio.run(hammer(to, about, int(many), int(often), names))))  # noqa: T201 (its result)
