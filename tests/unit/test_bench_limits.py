"""The rate limits that the benchmark measures with: the sidecar takes them, and every algorithm is among them."""

from __future__ import annotations

import json
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from bench.limits import BUCKET, RATE_LIMITS, WINDOW
from bench.profiles import PROFILES
from sidecar.config import load
from sidecar.ratelimit.policy import CombinedPolicy
from sidecar.ratelimit.terms import SCRIPT_NAMES
from sidecar.translate_limits import rate_limit_policy

EXAMPLE = Path(__file__).parents[2] / "examples" / "hospital" / "sidecar.yaml"


def test_every_algorithm_is_measured(tmp_path: Path) -> None:
    """By the example's limits and the benchmark's own, which the configuration takes; and several at once."""
    file = tmp_path / "limits.json"
    file.write_text(json.dumps({"rate_limits": RATE_LIMITS}), encoding="utf-8")
    settings = {**load(EXAMPLE, environ={}).rate_limits, **load(file, environ={}).rate_limits}
    kinds = [type(rate_limit_policy(name, settings[name])) for name in (BUCKET, WINDOW, *RATE_LIMITS)]
    assert {*SCRIPT_NAMES, CombinedPolicy} == set(kinds)


def test_every_limit_has_a_profile() -> None:
    """None stands in the configuration for nothing."""
    asked = [MessageToDict(profile.request.message).get("policy") for profile in PROFILES]
    assert {BUCKET, WINDOW, *RATE_LIMITS} == set(filter(None, asked))
