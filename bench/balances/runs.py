"""One run: what its callers saw, and what it cost whom."""

from __future__ import annotations

from dataclasses import dataclass

_MICROS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A server under load for some seconds, while transactions were posted. CPU times are seconds, of all threads."""

    seconds: float
    """What passed on the clock."""
    calls: int
    rps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    postgres_cpu: float
    """All processes of PostgreSQL: the calls', and what the postings and their events cost."""
    service_cpu: float
    """The application's service; 0 where the sidecar is called directly."""
    sidecar_cpu: float
    """The sidecar; 0 where there is none."""
    store_cpu: float
    """The sidecar's Redis; 0 where there is none."""
    load_cpu: float
    """ghz, the poster and the benchmark itself."""
    others_cores: float
    """How many cores the machine gave to what is no part of the run: what disturbed it."""
    postings: int
    """Transactions that were posted meanwhile."""
    hits: int = 0
    misses: int = 0
    """What the sidecar's reads found; a miss is a read that waited for PostgreSQL."""
    l1_hits: int = 0
    """Those of the hits that a copy in the sidecar's memory answered."""
    loads: int = 0
    """Questions that the sidecar put to PostgreSQL; those who miss the same key wait for the same one."""

    @property
    def postgres_us(self) -> float:
        """PostgreSQL's CPU time for each call, in µs."""
        return self.postgres_cpu / self.calls * _MICROS

    @property
    def service_us(self) -> float:
        """The service's CPU time for each call, in µs."""
        return self.service_cpu / self.calls * _MICROS

    @property
    def sidecar_us(self) -> float:
        """The sidecar's CPU time for each call, in µs."""
        return self.sidecar_cpu / self.calls * _MICROS

    @property
    def store_us(self) -> float:
        """The store's CPU time for each call, in µs."""
        return self.store_cpu / self.calls * _MICROS

    @property
    def all_us(self) -> float:
        """CPU time for each call, of all but the load generator, in µs."""
        return self.postgres_us + self.service_us + self.sidecar_us + self.store_us

    @property
    def postgres_cores(self) -> float:
        """How many cores PostgreSQL used."""
        return self.postgres_cpu / self.seconds

    @property
    def hit_rate(self) -> float:
        """The part of the sidecar's reads that did not wait for PostgreSQL."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else 0.0

    @property
    def l1_share(self) -> float:
        """The part of the sidecar's reads that did not even have to ask Redis."""
        reads = self.hits + self.misses
        return self.l1_hits / reads if reads else 0.0

    @property
    def load_share(self) -> float:
        """The questions to PostgreSQL for each read."""
        reads = self.hits + self.misses
        return self.loads / reads if reads else 1.0
