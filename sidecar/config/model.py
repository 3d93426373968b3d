"""Every setting of the sidecar: its name, type, default, bounds and meaning. Caches and limits are in `policies.py`.

The models are the one place where a setting is described: the JSON schema for editors comes from them, and so do the
defaults. A rule about one value stands here with its field; rules that tie several together are in `rules.py`.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 (pydantic reads the annotations)
from pathlib import Path
from typing import Annotated, Literal

from sidecar.config.addresses import check_store_url, is_local
from sidecar.config.envoy.settings import EnvoySettings
from sidecar.config.events import EventSettings  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.near import NearLimitSettings
from sidecar.config.origins import AnyOriginSettings  # noqa: TC001 (pydantic reads the annotations)
from sidecar.config.policies import CacheSettings, RateLimitSettings, TokenBucketSettings
from sidecar.config.quantities import Duration, Lasting, Rate, Sized, WorkerCount
from sidecar.config.rules import broken_rules
from sidecar.config.section import Address, Count, Name, NonEmpty, Section, Share, Switch, VariableName
from sidecar.config.words import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PydanticCustomError,
    model_validator,
)


def _listener(value: object) -> object:
    """Let a listener be written as its address alone."""
    if isinstance(value, str):
        return {"address": value}
    if isinstance(value, dict | ListenerSettings):
        return value
    raise ValueError("must be an address, such as 127.0.0.1:50051, or a mapping with `address`")


class ListenerSettings(Section):
    """One address to serve on."""

    address: Address = Field(
        description="`host:port`, `[IPv6]:port` or `unix:/absolute/path`. Port 0 takes a free one."
    )
    engine: Literal["fast", "grpcio"] | None = Field(
        None,
        description="The server behind this address: `fast` serves loopback and Unix sockets for a fraction of the "
        "CPU, `grpcio` any address. Null: `fast` where it can.",
    )

    @property
    def chosen_engine(self) -> Literal["fast", "grpcio"]:
        """The engine that serves the address."""
        return self.engine or ("fast" if is_local(self.address) else "grpcio")


class TlsSettings(Section):
    """How to speak TLS with the store; a `rediss://` URL turns it on."""

    ca_file: NonEmpty | None = Field(
        None,
        description="PEM file with the authorities to trust. Null: those of the system.",
    )
    cert_file: NonEmpty | None = Field(
        None, description="PEM file with the sidecar's own certificate; needs `key_file`."
    )
    key_file: NonEmpty | None = Field(None, description="PEM file with the private key of `cert_file`.")
    server_name: NonEmpty | None = Field(
        None, description="The name to check in the store's certificate. Null: the URL's host."
    )


class BackoffSettings(Section):
    """The waits between attempts to connect: random, up to a bound that doubles with each failure."""

    base: Annotated[Duration, Lasting("1ms", "10s")] = Field(
        Duration(10), description="The bound of the first wait. 1ms to 10s."
    )
    cap: Annotated[Duration, Lasting("1ms", "1m")] = Field(
        Duration(500), description="The bound that no wait exceeds. 1ms to 1m; at least `base`."
    )


class RetryBudgetSettings(Section):
    """What retries may add to the store's load: a share of the calls and a steady rate."""

    ratio: Share = Field(0.2, ge=0, le=1, description="Retries earned by each call. 0 to 1; 0.2 adds at most a fifth.")
    per_second: Share = Field(10.0, ge=0, le=1000, description="Retries earned by each second. 0 to 1000.")


class EmbeddedSettings(Section):
    """The Valkey that the sidecar runs itself when `store.url` is null."""

    state_dir: NonEmpty | None = Field(
        None,
        description="Folder for its data. Null: `$XDG_STATE_HOME/sidecar`, or `~/.local/state/sidecar`.",
    )
    max_memory: Annotated[int, Sized("16MiB", "1024GiB")] = Field(
        256 << 20,
        json_schema_extra={"default": "256MiB"},
        description="Memory for its data, as bytes or a size. 16MiB to 1024GiB.",
    )
    eviction: Literal[
        "noeviction",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ] = Field("volatile-lru", description="What to give up when the memory is full: `maxmemory-policy`.")

    def folder(self, environ: Mapping[str, str]) -> Path:
        """Return the folder of the embedded store's data and of a development key; it need not exist."""
        if self.state_dir is not None:
            return Path(self.state_dir)
        state_home = environ.get("XDG_STATE_HOME", "")
        # The XDG specification has a relative path ignored.
        if not Path(state_home).is_absolute():
            return Path(environ.get("HOME") or Path.home()) / ".local" / "state" / "sidecar"
        return Path(state_home) / "sidecar"


class StoreSettings(Section):
    """The Redis or Valkey behind the sidecar, and how to treat it."""

    url: Annotated[str, AfterValidator(check_store_url)] | None = Field(
        None,
        repr=False,
        description="`redis://[user[:password]@]host[:port][/database]`, `rediss://` for TLS, or "
        "`unix://[user[:password]@]/path[?db=N]`. Null: an embedded Valkey.",
    )
    username: NonEmpty | None = Field(None, description="ACL user to log in as. Null: the URL's, else `default`.")
    password_file: NonEmpty | None = Field(None, description="File with the password; a newline at its end is dropped.")
    password_env: VariableName | None = Field(None, description="Name of the environment variable with the password.")
    tls: TlsSettings = Field(
        default_factory=TlsSettings, description="How to speak TLS with the store; a `rediss://` URL turns it on."
    )
    connections: Count = Field(4, ge=1, le=16, description="Multiplexed connections. 1 to 16.")
    connect_timeout: Annotated[Duration, Lasting("10ms", "1m")] = Field(
        Duration(1000), description="Time for a connection to be ready. 10ms to 1m."
    )
    reply_timeout: Annotated[Duration, Lasting("10ms", "1m")] = Field(
        Duration(1000),
        description="Time after which a connection that owes a reply is given up. 10ms to 1m.",
    )
    unavailable_grace: Annotated[Duration, Lasting("0s", "10s")] = Field(
        Duration(250),
        description="Time after the loss of the last connection for which calls wait for a new one "
        "instead of failing at once. 0 to 10s.",
    )
    backoff: BackoffSettings = Field(
        default_factory=BackoffSettings, description="The waits between attempts to connect."
    )
    retry_budget: RetryBudgetSettings = Field(
        default_factory=RetryBudgetSettings, description="What retries may add to the store's load."
    )
    probe_interval: Annotated[Duration, Lasting("50ms", "10s")] = Field(
        Duration(200),
        description="Time between looks at the store's health and clock. 50ms to 10s.",
    )
    client_name: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")] = Field(
        "sidecar", description="The connections' name in CLIENT LIST: 1 to 64 printable characters."
    )
    embedded: EmbeddedSettings = Field(
        default_factory=EmbeddedSettings, description="The Valkey that runs when `url` is null; else not looked at."
    )


class LimitSettings(Section):
    """Bounds on what callers may ask."""

    max_key_bytes: Count = Field(512, ge=16, le=4096, description="Longest key, in bytes of UTF-8. 16 to 4096.")
    max_value_bytes: Annotated[int, Sized("1KiB", "64MiB")] = Field(
        1 << 20,
        json_schema_extra={"default": "1MiB"},
        description="Longest value or whole record, as bytes or a size. 1KiB to 64MiB.",
    )
    max_batch_keys: Count = Field(
        1000, ge=1, le=10_000, description="Most keys in one call of GetMany and the like. 1 to 10000."
    )
    max_message_bytes: Annotated[int, Sized("64KiB", "256MiB")] = Field(
        8 << 20,
        json_schema_extra={"default": "8MiB"},
        description="Longest gRPC message, in either direction. 64KiB to 256MiB; must hold a value and its key.",
    )
    max_concurrent_calls: Count = Field(
        1000,
        ge=1,
        le=100_000,
        description="Most calls in flight before more are refused; fewer while calls come late. 1 to 100000.",
    )
    default_deadline: Annotated[Duration, Lasting("10ms", "1h")] = Field(
        Duration(5000), description="Deadline of a call that brings none. 10ms to 1h."
    )
    max_deadline: Annotated[Duration, Lasting("10ms", "1h")] = Field(
        Duration(60_000),
        description="Longest deadline; a later one is brought forward. 10ms to 1h; at least `default_deadline`.",
    )
    idempotency_window: Annotated[Duration, Lasting("1s", "1d")] = Field(
        Duration(600_000),
        description="Time for which an idempotency key is remembered. 1s to 1d.",
    )
    busy_wait: bool = Field(
        True,
        description="Whether to stay awake, for less than a millisecond, for the store's reply to a lone caller in a "
        "hurry, and for its next call: a fifth less latency, for processor time that would have been idle.",
    )


class KeySource(Section):
    """Where one key-encryption key is; exactly one of the two is given."""

    file: NonEmpty | None = Field(None, description="File with the key.")
    env: VariableName | None = Field(None, description="Name of the environment variable with the key.")

    @model_validator(mode="after")
    def _exactly_one(self) -> KeySource:
        if (self.file is None) == (self.env is None):
            raise ValueError("needs exactly one of `file` and `env`")
        return self


class EncryptionSettings(Section):
    """The keys that seal the data of phi caches."""

    keys: tuple[KeySource, ...] = Field(
        (),
        max_length=16,
        description="Key-encryption keys: the first seals, all open. None, and a phi cache: a development "
        "key is generated, which is not fit for production.",
    )
    key_epoch: Annotated[Duration, Lasting("1m", "31d")] = Field(
        Duration(86_400_000),
        description="Time for which a cache seals with the same data key. 1m to 31d.",
    )


class MetricsSettings(Section):
    """The Prometheus page."""

    address: Address | None = Field("127.0.0.1:9464", description="Where `/metrics` is served. Null: nowhere.")


class TraceSettings(Section):
    """OpenTelemetry spans."""

    sample_ratio: Share = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of calls traced when the caller has not decided. 0 to 1.",
    )
    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/\S*)?$")] | None = Field(
        None,
        description="OTLP collector (gRPC): `http://host:4317`, or `https://` for TLS. Null: no export.",
    )
    service_name: NonEmpty = Field("sidecar", description="`service.name` of the spans.")


class LogSettings(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least serious level to write.")
    format: Literal["text", "json"] = Field(
        "text", description="`text` for people, `json` for machines: an object a line."
    )


class TelemetrySettings(Section):
    """What the sidecar tells about itself."""

    metrics: MetricsSettings = Field(default_factory=MetricsSettings, description="The Prometheus page.")
    traces: TraceSettings = Field(default_factory=TraceSettings, description="OpenTelemetry spans.")
    log: LogSettings = Field(default_factory=LogSettings, description="The log, on standard error.")


class Settings(Section):
    """Everything that can be configured."""

    model_config = ConfigDict(title="Sidecar configuration")

    tenant: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}$")] = Field(
        "default",
        description="Whose data this is: part of every Redis key and of what is sealed. Sidecars of "
        "different tenants can share a store without meeting. `[a-z][a-z0-9_-]{0,30}`.",
    )
    listen: tuple[
        Annotated[
            ListenerSettings,
            BeforeValidator(_listener, json_schema_input_type=str | ListenerSettings),
        ],
        ...,
    ] = Field(
        (ListenerSettings(address="127.0.0.1:50051"),),
        min_length=1,
        max_length=16,
        description="Addresses to serve on, each an address or a mapping with `address` and `engine`.",
    )
    workers: WorkerCount = Field(
        WorkerCount(1),
        description="Processes that take calls, sharing the addresses. 1 to 64, or `auto`: one for each core that the "
        "sidecar may use.",
    )
    store: StoreSettings = Field(
        default_factory=StoreSettings, description="The Redis or Valkey behind the sidecar, and how to treat it."
    )
    limits: LimitSettings = Field(default_factory=LimitSettings, description="Bounds on what callers may ask.")
    caches: dict[Name, CacheSettings] = Field(
        {"default": CacheSettings()},
        json_schema_extra={"additionalProperties": False},
        description="Caches by name (`[a-z][a-z0-9_-]{0,62}`). Not given: one named `default`.",
    )
    events: dict[Name, EventSettings] = Field(
        {},
        max_length=64,
        json_schema_extra={"additionalProperties": False},
        description="What happens elsewhere and invalidates entries, by name (`[a-z][a-z0-9_-]{0,62}`).",
    )
    l1: NearLimitSettings = Field(
        default_factory=NearLimitSettings, description="What all near caches of a worker may take together."
    )
    origins: dict[Name, AnyOriginSettings] = Field(
        {},
        json_schema_extra={"additionalProperties": False},
        description="Where the values of caches are at home, by name (`[a-z][a-z0-9_-]{0,62}`).",
    )
    rate_limits: dict[Name, RateLimitSettings] = Field(
        {"default": TokenBucketSettings(algorithm="token_bucket", rate=Rate(100, 1000), burst=200)},
        json_schema_extra={"additionalProperties": False},
        description="Rate limit policies by name (`[a-z][a-z0-9_-]{0,62}`). Not given: one named "
        "`default`, a token bucket of 100/s and burst 200.",
    )
    rate_limits_shadow: Switch = Field(
        False,
        description="Have every policy of `rate_limits` in shadow mode, whatever its own `shadow` says; slots of "
        "`concurrency` are leased as ever.",
    )
    envoy: EnvoySettings = Field(
        default_factory=EnvoySettings,
        description="Envoy's rate limit service, with the configuration of envoyproxy/ratelimit.",
    )
    encryption: EncryptionSettings = Field(
        default_factory=EncryptionSettings, description="The keys that seal the data of phi caches."
    )
    telemetry: TelemetrySettings = Field(
        default_factory=TelemetrySettings, description="What the sidecar tells about itself."
    )
    reflection: Switch = Field(
        True, description="Serve gRPC reflection, so that tools can list and call without protos."
    )
    shutdown_grace: Annotated[Duration, Lasting("0s", "10m")] = Field(
        Duration(10_000),
        description="Time that calls under way get to end after SIGTERM. 0 to 10m.",
    )

    @model_validator(mode="after")
    def _keep_rules(self) -> Settings:
        findings = tuple(broken_rules(self))
        if findings:
            lines = "\n".join(str(finding) for finding in findings)
            raise PydanticCustomError("rules", "{lines}", {"lines": lines, "findings": findings})
        return self
