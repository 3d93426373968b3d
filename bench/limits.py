"""The rate limits that the sidecar is measured with, beside the example's; no load reaches them.

The example's `bench_bucket` and `bench_window` are the token bucket and the sliding window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKET, WINDOW = "bench_bucket", "bench_window"
GCRA, LOG, FIXED, SEVERAL = "bench_gcra", "bench_log", "bench_fixed", "bench_several"
LEASED = "bench_leased"

RATE_LIMITS: Mapping[str, Mapping[str, Any]] = {
    GCRA: {"algorithm": "gcra", "rate": "1000000/s", "burst": 1_000_000_000},
    # The most that a log holds, and so short that it is never full: at 20,000 RPC/s there are 2,000 calls in it.
    LOG: {"algorithm": "sliding_log", "limit": 10_000, "window": "100ms"},
    FIXED: {"algorithm": "fixed_window", "limit": 1_000_000_000, "window": "1h"},
    # A hundred thousand a second, of which a process may hold a twentieth: 5,000 tokens for as many calls.
    LEASED: {"algorithm": "token_bucket", "rate": "100000/s", "burst": 100_000, "lease": {}},
    SEVERAL: {
        "limits": {
            "burst": {"algorithm": "token_bucket", "rate": "1000000/s", "burst": 1_000_000_000},
            "daily": {"algorithm": "fixed_window", "limit": 1_000_000_000, "calendar": "day"},
        }
    },
}
"""As the configuration writes them, by name."""
