"""All that invalidates by events in a sidecar, made of its settings. One process of a sidecar has it."""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from sidecar.cache.tags import MOST_TAGS
from sidecar.call import Call
from sidecar.clock import after
from sidecar.events.counters import EventCounters, EventMetrics
from sidecar.events.handling import Handling, is_permanent
from sidecar.events.payload import MisfitError, entry_fields, json_fields, text_fields
from sidecar.events.pubsub import PubSubSource
from sidecar.events.rules import Effect, Reach
from sidecar.events.stream import StreamSource
from sidecar.store.stream_group import GroupPolicy
from sidecar.translate import subscription_policy
from sidecar.translate_events import event_database, event_policy, event_warnings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AsyncExitStack

    from sidecar.cache.catalog import Caches
    from sidecar.clock import StoreClock
    from sidecar.config.events import EventSettings, PostgresEventSettings
    from sidecar.config.model import Settings
    from sidecar.events.handling import Source
    from sidecar.events.payload import Fields
    from sidecar.store.address import StoreAddress
    from sidecar.telemetry.metrics import Metrics

# One invalidation, of a page of keys or all entries of a tag.
_CALL_SECONDS = 5.0
# What a sidecar waits for its sources before it serves: what was missed while it was away should be gone by then.
_START_SECONDS = 2.0


class Eventing:
    """The sources of events of a sidecar, and what they invalidate."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        address: StoreAddress,
        clock: StoreClock,
        caches: Caches,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._address = address
        self._clock = clock
        self._caches = caches
        counting = EventMetrics(metrics)
        self._handlings: list[Handling] = []
        self._sources: list[Source] = []
        self.warnings = event_warnings(settings, environ)
        """What is not safe for production, a sentence each."""
        for name, event in settings.events.items():
            policy = event_policy(name, event, settings)
            handling = Handling(policy, self._invalidate, EventCounters(counting, name))
            self._handlings.append(handling)
            self._sources.append(self._source(event, handling))

    async def start(self, stack: AsyncExitStack) -> None:
        """Begin to listen; `stack` ends it. Returns once all sources are listened to, or that has taken too long."""
        for handling, source in zip(self._handlings, self._sources, strict=True):
            handling.start()
            stack.push_async_callback(handling.close)
            source.start()
            stack.push_async_callback(source.close)
        try:
            async with asyncio.timeout(_START_SECONDS):
                for handling, source in zip(self._handlings, self._sources, strict=True):
                    await source.up.wait()
                    await handling.idle()
        except TimeoutError:
            pass

    def _source(self, event: EventSettings, handling: Handling) -> Source:
        policy = subscription_policy(self._settings.store)
        read = text_fields if event.payload == "text" else json_fields
        if event.pubsub is not None:
            return PubSubSource(
                handling,
                self._address,
                policy,
                channels=event.pubsub.channels,
                patterns=event.pubsub.patterns,
                read=read,
            )
        if event.stream is not None:
            stream = event.stream
            group = GroupPolicy(
                stream=stream.name,
                group=stream.group,
                consumer=f"{self._settings.store.client_name}-{uuid.uuid4().hex}",
                claim_after_ms=stream.claim_after.ms,
            )
            from_entry = partial(entry_fields, channel=stream.name)
            if stream.field is not None:
                from_entry = partial(_field_of_entry, stream.field, stream.name, read)
            return StreamSource(handling, self._address, policy, group, clock=self._clock, read=from_entry)
        if event.postgres is None:
            raise TypeError("an event without a source")
        return self._postgres_source(event.postgres, handling, read)

    def _postgres_source(self, postgres: PostgresEventSettings, handling: Handling, read: Any) -> Source:
        # The driver takes some megabytes, which others have no use for.
        from sidecar.events.postgres import PostgresPolicy, PostgresSource  # noqa: PLC0415

        address = event_database(handling.name, postgres, self._settings, self._environ)
        policy = PostgresPolicy(url=address.url, password=address.password, channels=postgres.channels)
        return PostgresSource(handling, policy, read=read)

    async def _invalidate(self, effect: Effect) -> None:
        invalidation = self._caches.invalidation(effect.cache)
        if effect.reach is Reach.ALL:
            await invalidation.whole(self._call())
        elif effect.reach is Reach.PREFIX:
            for prefix in effect.values:
                await invalidation.by_prefix(prefix, self._call())
        elif effect.reach is Reach.TAGS:
            for page in _pages(effect.values, MOST_TAGS):
                await invalidation.by_tags(page, self._call())
        else:
            for page in _pages(effect.values, self._settings.limits.max_batch_keys):
                done = await invalidation.by_keys(page, self._call())
                # What may succeed the next time is not to be forgotten for the sake of what never will.
                for _, error in sorted(done.failures, key=lambda failure: is_permanent(failure[1])):
                    raise error

    @staticmethod
    def _call() -> Call:
        return Call("events.invalidate", deadline=after(_CALL_SECONDS))


def _field_of_entry(field: str, channel: str, read: Any, pairs: Sequence[bytes]) -> Fields:
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        if name == field.encode():
            fields: Fields = read(value, channel)
            return fields
    raise MisfitError("it has no field with the payload")


def _pages(values: Sequence[str], size: int) -> list[Sequence[str]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
