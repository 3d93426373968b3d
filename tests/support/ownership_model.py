"""Who sends the changes of a cache, and who owns a partition, as plain data: what the scripts are held against."""

from __future__ import annotations

from dataclasses import dataclass, field

_US_PER_MS = 1_000


@dataclass
class SendersModel:
    """Who is there, each until a moment."""

    until: dict[str, int] = field(default_factory=dict)

    def attend(self, name: str, lease_ms: int, now: int) -> list[int]:
        """Be there, or leave with a lease of 0; return how many are, how many of them stand before, and when."""
        lease_us = lease_ms * _US_PER_MS
        self.until = {one: until for one, until in self.until.items() if until > now}
        if lease_us:
            self.until = {one: until for one, until in self.until.items() if until <= now + 2 * lease_us}
            self.until[name] = now + lease_us
        else:
            self.until.pop(name, None)
        return [len(self.until), sum(one < name for one in self.until), now // _US_PER_MS]


@dataclass
class OwnerModel:
    """A partition's owner."""

    name: str = ""
    fence: int = 0
    until: int = 0
    hurried: bool = False

    def hold(self, name: str, lease_ms: int, now: int, *, wanted: bool) -> list[int | bytes]:
        """Go on to own it, or begin to."""
        lease_us = lease_ms * _US_PER_MS
        owned = bool(self.name) and now < self.until <= now + 2 * lease_us
        if owned and self.name != name:
            return [0, b"", -((now - self.until) // _US_PER_MS)]
        if not owned and not wanted:
            return [0, b"", 0]
        self.fence += not owned
        hurried, self.hurried = self.hurried, False
        self.name, self.until = name, now + lease_us
        return [1, b"%d" % self.fence, int(hurried)]

    def free(self, fence: int) -> int:
        """Let it go."""
        if fence != self.fence or not self.name:
            return 0
        self.name, self.until = "", 0
        return 1
