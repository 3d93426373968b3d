"""What policies say beside their limits, from settings to the domain."""

from __future__ import annotations

import pytest

from sidecar.config import Settings
from sidecar.config.policies import CombinedSettings, SlidingLogSettings, TokenBucketSettings
from sidecar.config.quantities import Duration, Rate
from sidecar.config.tiers import TierNumbers, TierSettings
from sidecar.errors import StartupError
from sidecar.ratelimit.exceptions import Rules
from sidecar.ratelimit.overrides import Effect, Numbers
from sidecar.ratelimit.tiers import Tier
from sidecar.translate_limits import check_policies, rate_limit_rules

LOG = SlidingLogSettings(
    algorithm="sliding_log", limit=1, window=Duration(1000), denied_keys=("a", "b*"), near_limit=0.5
)


def test_rules_are_those_of_the_policy() -> None:
    """Each as it is written."""
    expected = {"log": Rules(denied_keys=("a", "b*"), near_limit=0.5)}
    assert expected == rate_limit_rules(Settings(rate_limits={"log": LOG}))


def test_tiers_are_numbers_or_an_effect() -> None:
    """Those of the only limit without a name, those of several by theirs."""
    rate = Rate(3, 1000)
    bucket = TokenBucketSettings(
        algorithm="token_bucket",
        rate=rate,
        burst=5,
        tiers={"pro": TierSettings(rate=rate), "staff": TierSettings(unlimited=True), "gone": TierSettings(limit=0)},
    )
    log = SlidingLogSettings(algorithm="sliding_log", limit=1, window=Duration(1000))
    several = CombinedSettings(limits={"l": log}, tiers={"pro": TierSettings(limits={"l": TierNumbers(limit=9)})})
    rules = rate_limit_rules(Settings(rate_limits={"bucket": bucket, "several": several}))
    expected = (
        Tier(name="pro", effect=Effect.NUMBERS, numbers=(Numbers("", 0, 3, 1_000_000),)),
        Tier(name="staff", effect=Effect.UNLIMITED),
        Tier(name="gone", effect=Effect.DENIED),
    )
    assert expected == rules["bucket"].tiers
    assert (Tier(name="pro", effect=Effect.NUMBERS, numbers=(Numbers("l", 9),)),) == rules["several"].tiers


def test_a_tier_that_cannot_be_counted_is_a_problem() -> None:
    """By its path."""
    tiers = {"odd": TierSettings(rate=Rate(86_399_999_989, 86_400_000))}
    bucket = TokenBucketSettings(algorithm="token_bucket", rate=Rate(1, 1000), burst=5, tiers=tiers)
    with pytest.raises(StartupError, match=r"^rate_limits\.bucket\.tiers\.odd: .*cannot be counted exactly"):
        check_policies(Settings(rate_limits={"bucket": bucket}))


def test_the_mode_of_all_is_that_of_each() -> None:
    """Whatever its own says."""
    settings = Settings(rate_limits={"log": LOG}, rate_limits_shadow=True)
    assert Rules(denied_keys=("a", "b*"), near_limit=0.5, shadow=True) == rate_limit_rules(settings)["log"]
