"""What policies say beside their limits, from settings to the domain."""

from __future__ import annotations

from sidecar.config import Settings
from sidecar.config.policies import SlidingLogSettings
from sidecar.config.quantities import Duration
from sidecar.ratelimit.exceptions import Rules
from sidecar.translate import rate_limit_rules

LOG = SlidingLogSettings(
    algorithm="sliding_log", limit=1, window=Duration(1000), denied_keys=("a", "b*"), near_limit=0.5
)


def test_rules_are_those_of_the_policy() -> None:
    """Each as it is written."""
    expected = {"log": Rules(denied_keys=("a", "b*"), near_limit=0.5)}
    assert expected == rate_limit_rules(Settings(rate_limits={"log": LOG}))


def test_the_mode_of_all_is_that_of_each() -> None:
    """Whatever its own says."""
    settings = Settings(rate_limits={"log": LOG}, rate_limits_shadow=True)
    assert Rules(denied_keys=("a", "b*"), near_limit=0.5, shadow=True) == rate_limit_rules(settings)["log"]
