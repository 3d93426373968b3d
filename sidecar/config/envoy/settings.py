"""The settings of the front end for Envoy, beside the files that say what is limited."""

from __future__ import annotations

from typing import Annotated, Literal

from sidecar.config.section import Count, NonEmpty, Section, Share, Switch
from sidecar.config.words import Field

# A token of RFC 9110, section 5.6.2, without the characters that nobody has in a header's name.
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


class EnvoyHeaderSettings(Section):
    """The headers that Envoy adds to its responses."""

    kind: Literal["none", "fields", "ietf"] = Field(
        "none",
        description="`fields`: a header each for the limit, what remains of it and the seconds to its reset, about the "
        "limit that is nearest. `ietf`: `RateLimit-Policy` and `RateLimit` about all of them, and `Retry-After` "
        "with a refusal.",
    )
    limit: HeaderName = Field("RateLimit-Limit", description="Name of the first, for `fields`.")
    remaining: HeaderName = Field("RateLimit-Remaining", description="Name of the second, for `fields`.")
    reset: HeaderName = Field("RateLimit-Reset", description="Name of the third, for `fields`.")


class EnvoySettings(Section):
    """Envoy's rate limit service, with the configuration of envoyproxy/ratelimit."""

    config_dir: NonEmpty | None = Field(
        None,
        description="Folder with the `*.yaml` files of envoyproxy/ratelimit. Null: the service is not served.",
    )
    merge_domains: Switch = Field(
        False, description="Whether files may share a domain, which then has the descriptors of all of them."
    )
    shadow_mode: Switch = Field(False, description="Let every call through, whatever its limits say.")
    quota_mode: Switch = Field(
        False, description="Treat every limit as one in quota mode: a call is over when all that apply are."
    )
    near_limit_ratio: Share = Field(
        0.8, ge=0, le=1, description="Share of a limit past which hits are counted as near it. 0 to 1."
    )
    stop_counting_when_over: Switch = Field(
        False,
        description="Whether a refused request does not count towards those of its limits that it is not over. The "
        "store is asked twice then.",
    )
    cache_refusals: Switch = Field(
        False,
        description="Remember a counter that is over its limit until its window ends, and refuse without the store. "
        "For fixed windows, which is what envoyproxy/ratelimit has.",
    )
    max_cached_refusals: Count = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="How many are remembered in each process, for some 0.4 kB each. 1 to 10000000.",
    )
    dynamic_metadata: Switch = Field(
        False,
        description="Send dynamic metadata to Envoy: what was asked, and the `metadata` of the limits that have room.",
    )
    response_headers: EnvoyHeaderSettings = Field(
        default_factory=EnvoyHeaderSettings, description="The headers that Envoy adds to its responses."
    )
