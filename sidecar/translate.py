"""From the configuration's models to what the domains and the store take.

The domains know nothing of pydantic and of files, the configuration knows no domain; here and in the other modules
`translate_*`, and only there, one is said in the words of the other. Here are the store, its keys and the engines.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.cache.policy import Limits
from sidecar.config.addresses import parse_url
from sidecar.errors import StartupError
from sidecar.rpc.pipeline import PipelinePolicy
from sidecar.server.engine import EnginePolicy
from sidecar.store.address import StoreAddress
from sidecar.store.embedded import EmbeddedPolicy
from sidecar.store.pool import PoolPolicy
from sidecar.store.retry import Backoff
from sidecar.store.subscription import SubscriptionPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.config.model import LimitSettings, Settings, StoreSettings


def store_address(settings: StoreSettings, environ: Mapping[str, str]) -> StoreAddress:
    """Return the store's address with its credentials; raises `StartupError` for a file that cannot be read."""
    url = parse_url(settings.url or "")
    password = url.password
    if settings.password_env is not None:
        password = environ.get(settings.password_env, "")
        if not password:
            raise StartupError(f"store.password_env: the environment variable {settings.password_env} is not set")
    if settings.password_file is not None:
        try:
            password = Path(settings.password_file).read_text().rstrip("\r\n")
        except OSError as error:
            raise StartupError(f"store.password_file: {settings.password_file}: {error.strerror}") from None
    return StoreAddress(
        host=url.host,
        port=url.port,
        path=url.path,
        username=settings.username or url.username,
        password=password,
        database=url.database,
        tls=_tls_context(settings) if url.tls else None,
        server_name=settings.tls.server_name,
    )


def _tls_context(settings: StoreSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.tls.ca_file)
        if settings.tls.cert_file is not None:
            context.load_cert_chain(settings.tls.cert_file, settings.tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise StartupError(f"store.tls: a certificate or key cannot be used: {error.strerror or error}") from None
    return context


def embedded_policy(settings: Settings, environ: Mapping[str, str]) -> EmbeddedPolicy:
    """Return how the embedded store is run."""
    embedded = settings.store.embedded
    return EmbeddedPolicy(
        directory=embedded.folder(environ) / "embedded",
        max_memory_bytes=embedded.max_memory,
        eviction=embedded.eviction,
    )


def tracking_interval(settings: Settings) -> float | None:
    """Return how often the store is asked on the tracked connection, in seconds; None where there is no near cache.

    Twice within the shortest time that a copy may be out of date, and twice a second at the least: a read-your-writes
    token waits for that, and so does the news that the connection is lost.
    """
    bounds = [cache.l1.max_staleness.seconds for cache in settings.caches.values() if cache.l1 is not None]
    return min([1.0, *bounds]) / 2 if bounds else None


def development_key(settings: Settings, environ: Mapping[str, str]) -> Path | None:
    """Return the file of the key that is generated when something is to be sealed and no key is configured."""
    if settings.encryption.keys or not seals(settings):
        return None
    return settings.store.embedded.folder(environ) / "development.kek"


def seals(settings: Settings) -> bool:
    """Say whether any cache holds what must be sealed."""
    return any(cache.data_class == "phi" for cache in settings.caches.values())


def pool_policy(settings: StoreSettings, *, busy_wait: bool) -> PoolPolicy:
    """Return how the pool behaves."""
    return PoolPolicy(
        connections=settings.connections,
        connect_timeout=settings.connect_timeout.seconds,
        reply_timeout=settings.reply_timeout.seconds,
        unavailable_grace=settings.unavailable_grace.seconds,
        backoff=Backoff(base_ms=settings.backoff.base.ms, cap_ms=settings.backoff.cap.ms),
        retry_ratio=settings.retry_budget.ratio,
        retries_per_second=settings.retry_budget.per_second,
        client_name=settings.client_name,
        busy_wait=busy_wait,
    )


def subscription_policy(settings: StoreSettings) -> SubscriptionPolicy:
    """Return how subscriptions behave."""
    return SubscriptionPolicy(
        client_name=settings.client_name,
        connect_timeout=settings.connect_timeout.seconds,
        reply_timeout=settings.reply_timeout.seconds,
        backoff=Backoff(base_ms=settings.backoff.base.ms, cap_ms=settings.backoff.cap.ms),
    )


def request_limits(settings: LimitSettings) -> Limits:
    """Return the bounds of cache requests."""
    return Limits(
        max_key_bytes=settings.max_key_bytes,
        max_value_bytes=settings.max_value_bytes,
        max_unpacked_bytes=settings.max_value_bytes,
        max_batch_keys=settings.max_batch_keys,
        # A sixteenth is for names, versions and framing.
        max_answer_bytes=settings.max_message_bytes - settings.max_message_bytes // 16,
        idempotency_window_ms=settings.idempotency_window.ms,
        # A call ends at its deadline, what it has sent a little later.
        in_flight_ms=settings.max_deadline.ms + 60_000,
    )


def pipeline_policy(settings: LimitSettings) -> PipelinePolicy:
    """Return the bounds of batches."""
    limits = request_limits(settings)
    return PipelinePolicy(
        max_operations=limits.max_batch_keys,
        max_answer_bytes=limits.max_answer_bytes,
        default_timeout=settings.default_deadline.seconds,
        max_timeout=settings.max_deadline.seconds,
    )


def engine_policy(settings: LimitSettings) -> EnginePolicy:
    """Return how an engine treats its callers."""
    return EnginePolicy(
        max_message_bytes=settings.max_message_bytes,
        default_deadline=settings.default_deadline.seconds,
        max_deadline=settings.max_deadline.seconds,
        busy_wait=settings.busy_wait,
    )
