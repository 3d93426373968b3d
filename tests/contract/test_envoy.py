"""ShouldRateLimit over the whole sidecar, on each engine and each kind of store."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.contract import refusal
from support.envoy import EnvoyClient, Told, descriptor
from support.metrics_page import MetricsPage
from support.sidecars import RunningSidecar

from sidecar.errors import StartupError
from sidecar.rpc.envoy_messages import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import StoreServer

DAY, YEAR = 4, 6
UNLIMITED = 2**32 - 1

# Long windows, so that none ends while a test runs, but for a test at midnight.
RULES = """
domain: shop
descriptors:
  - key: client
    rate_limit: {unit: year, requests_per_unit: 3, name: usual}
  - key: partner
    rate_limit: {unit: year, requests_per_unit: 5, replaces: [{name: usual}]}
  - key: insider
    rate_limit: {unlimited: true}
  - key: nobody
    rate_limit: {unit: year, requests_per_unit: 0}
  - key: tried
    shadow_mode: true
    rate_limit: {unit: year, requests_per_unit: 1}
  - key: quota
    quota_mode: true
    rate_limit: {unit: year, requests_per_unit: 1}
  - key: file
    value: /files/*
    share_threshold: true
    rate_limit: {unit: year, requests_per_unit: 2}
  - key: page
    value: /pages/*
    rate_limit: {unit: year, requests_per_unit: 2}
  - key: bucket
    rate_limit: {unit: year, requests_per_unit: 3, algorithm: token_bucket}
  - key: small_bucket
    rate_limit: {unit: year, requests_per_unit: 100, algorithm: token_bucket, burst: 2}
  - key: sliding
    rate_limit: {unit: year, requests_per_unit: 3, algorithm: sliding_window}
  - key: closed
    rate_limit: {unit: year, requests_per_unit: 0, algorithm: sliding_window}
"""

METADATA_RULES = """
domain: shop
descriptors:
  - key: few
    rate_limit: {unit: year, requests_per_unit: 1}
    metadata: {plan: {name: few, paid: no}, shares: [0.5, [~]]}
  - key: many
    rate_limit: {unit: year, requests_per_unit: 9}
    metadata: {plan: {name: many, more: 1}}
"""


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the rules."""
    folder = tmp_path_factory.mktemp("envoy")
    (folder / "rules.yaml").write_text(RULES)
    return folder


@pytest.fixture(scope="session")
def envoy_sidecar(shared_store: StoreServer, engine: str, rules: Path) -> Iterator[RunningSidecar]:
    """Return a sidecar with Envoy's front end."""
    overrides = {"envoy.config_dir": str(rules), "envoy.response_headers.kind": "fields"}
    sidecar = RunningSidecar(shared_store.url, engine=engine, overrides=overrides)
    sidecar.start()
    yield sidecar
    sidecar.stop()


@pytest.fixture
def envoy(envoy_sidecar: RunningSidecar) -> EnvoyClient:
    """Return a client of it."""
    return EnvoyClient(envoy_sidecar.channel())


@pytest.fixture
def who() -> str:
    """Return a value that no other test uses."""
    return uuid.uuid4().hex


class TestCounting:
    """The fixed window, which is what envoyproxy/ratelimit has."""

    def test_up_to_the_limit_and_no_further(self, envoy: EnvoyClient, who: str) -> None:
        """As many are let through as the limit says; each answer tells limit, remaining and reset."""
        replies = [envoy.ask("shop", descriptor(("client", who))) for _ in range(5)]
        assert [False, False, False, True, True] == [reply.over for reply in replies]
        assert [2, 1, 0, 0, 0] == [reply.told[0].remaining for reply in replies]
        first = replies[0].told[0]
        assert (3, YEAR, "usual") == first.limit
        assert first.reset_seconds is not None
        assert 0 < first.reset_seconds <= 365 * 86_400

    def test_refused_hits_count(self, envoy: EnvoyClient, who: str) -> None:
        """A hit that is refused counts too: what would have fitted before does not fit after it."""
        assert [True, True] == [envoy.ask("shop", descriptor(("client", who)), hits=hits).over for hits in (4, 1)]

    def test_hits_of_the_message_and_of_the_descriptor(self, envoy: EnvoyClient, who: str) -> None:
        """A descriptor's own hits go before those of the message; its 0 only looks."""
        asked = [
            envoy.ask("shop", descriptor(("client", who), hits=0), hits=3),
            envoy.ask("shop", descriptor(("client", who), hits=2), hits=3),
            envoy.ask("shop", descriptor(("client", who), hits=0)),
            envoy.ask("shop", descriptor(("client", who)), hits=2),
            envoy.ask("shop", descriptor(("client", who), hits=0)),
        ]
        assert [(False, 3), (False, 1), (False, 1), (True, 0), (True, 0)] == [
            (reply.over, reply.told[0].remaining) for reply in asked
        ]

    def test_same_descriptor_twice(self, envoy: EnvoyClient, who: str) -> None:
        """Within one message, descriptors of the same counter count one after the other."""
        reply = envoy.ask("shop", *[descriptor(("client", who))] * 4)
        assert [(False, 2), (False, 1), (False, 0), (True, 0)] == [(told.over, told.remaining) for told in reply.told]

    def test_hits_beyond_all_bounds(self, envoy: EnvoyClient, who: str) -> None:
        """The most that a message can say is over the limit, and nothing else breaks."""
        assert envoy.ask("shop", descriptor(("client", who), hits=2**64 - 1)).over
        assert envoy.ask("shop", descriptor(("client", who))).over

    def test_limit_of_nothing(self, envoy: EnvoyClient, who: str) -> None:
        """A limit of 0 lets nothing through, whatever its algorithm, and may be looked at."""
        for key in ("nobody", "closed"):
            assert [False, True] == [envoy.ask("shop", descriptor((key, who), hits=hits)).over for hits in (0, 1)]

    def test_entries_are_not_joined(self, envoy: EnvoyClient, who: str) -> None:
        """Counters are told apart by their entries, wherever an underscore stands in them."""
        asked = [descriptor(("client", f"{who}_a"), limit=(1, DAY)), descriptor((f"client_{who}", "a"), limit=(1, DAY))]
        assert [False, False] == [told.over for told in envoy.ask("shop", *asked).told]


class TestRules:
    """What rules can say."""

    def test_unlimited(self, envoy: EnvoyClient, who: str) -> None:
        """An unlimited descriptor has everything left."""
        reply = envoy.ask("shop", descriptor(("insider", who)), hits=1000)
        assert (False, [Told(over=False, remaining=UNLIMITED, limit=None, reset_seconds=None)]) == reply[:2]

    def test_shadow_mode(self, envoy: EnvoyClient, who: str) -> None:
        """A shadow never refuses."""
        replies = [envoy.ask("shop", descriptor(("tried", who))) for _ in range(3)]
        assert [(False, 0)] * 3 == [(reply.over, reply.told[0].remaining) for reply in replies]

    def test_quota_mode(self, envoy: EnvoyClient, who: str) -> None:
        """A request is over its quotas once all of them are."""
        envoy.ask("shop", descriptor(("quota", who)))
        assert not envoy.ask("shop", descriptor(("quota", who)), descriptor(("quota", f"{who}2"))).over
        assert envoy.ask("shop", descriptor(("quota", who)), descriptor(("quota", f"{who}2"))).over

    def test_replaces(self, envoy: EnvoyClient, who: str) -> None:
        """A replaced limit does not count, and counts again without the one that replaces it."""
        for _ in range(5):
            reply = envoy.ask("shop", descriptor(("client", who)), descriptor(("partner", who)))
            assert (False, None) == (reply.over, reply.told[0].limit)
        assert 2 == envoy.ask("shop", descriptor(("client", who))).told[0].remaining

    def test_share_threshold(self, envoy: EnvoyClient, who: str) -> None:
        """With `share_threshold` all values of a wildcard draw on one counter, else each on its own."""
        asked = [envoy.ask("shop", descriptor(("page", f"/pages/{who}{number}"))).over for number in range(3)]
        assert [False, False, False] == asked
        # Other tests have no use for this counter, but other engines' and stores' sidecars may share the store.
        for number in range(3):
            last = envoy.ask("shop", descriptor(("file", f"/files/{who}{number}")))
        assert last.over

    def test_request_supplied_limit(self, envoy: EnvoyClient, who: str) -> None:
        """A limit in the request goes before the rules, and needs none."""
        for key in ("client", "unheard_of"):
            told = [envoy.ask("shop", descriptor((key, who), limit=(1, DAY))).told[0] for _ in range(2)]
            assert [(False, (1, DAY, "")), (True, (1, DAY, ""))] == [(each.over, each.limit) for each in told]

    def test_nothing_applies(self, envoy: EnvoyClient, who: str) -> None:
        """What no rule speaks of is let through: an unknown key, domain or depth, and a descriptor without entries."""
        unlimited = Told(over=False, remaining=0, limit=None, reset_seconds=None)
        for domain, asked in (
            ("shop", descriptor(("unheard_of", who))),
            ("unheard_of", descriptor(("client", who))),
            ("unheard_of", descriptor(("client", who), limit=(0, DAY))),
            ("shop", descriptor(("client", who), ("client", who))),
            ("shop", descriptor()),
        ):
            assert (False, [unlimited], [], None) == envoy.ask(domain, asked)

    def test_token_bucket(self, envoy: EnvoyClient, who: str) -> None:
        """By the extension key: a refused call costs nothing, and one that can never pass is refused."""
        asked = [envoy.ask("shop", descriptor(("bucket", who)), hits=hits) for hits in (2, 2, 4, 1, 1)]
        assert [(False, 1), (True, 1), (True, 1), (False, 0), (True, 0)] == [
            (reply.over, reply.told[0].remaining) for reply in asked
        ]

    def test_burst(self, envoy: EnvoyClient, who: str) -> None:
        """A bucket may hold less than its rate."""
        assert [False, False, True] == [envoy.ask("shop", descriptor(("small_bucket", who))).over for _ in range(3)]

    def test_sliding_window(self, envoy: EnvoyClient, who: str) -> None:
        """By the extension key: a refused call costs nothing."""
        asked = [envoy.ask("shop", descriptor(("sliding", who)), hits=hits) for hits in (2, 2, 1, 1)]
        assert [False, True, False, True] == [reply.over for reply in asked]

    def test_headers(self, envoy: EnvoyClient, who: str) -> None:
        """The headers that were asked for are in the answer, about the limit with the least left."""
        reply = envoy.ask("shop", descriptor(("page", f"/pages/{who}")), descriptor(("client", who)))
        told = reply.told[0]
        assert [
            ("RateLimit-Limit", "2"), ("RateLimit-Remaining", "1"), ("RateLimit-Reset", str(told.reset_seconds))
        ] == reply.headers  # fmt: skip


class TestBadInput:
    """What is refused, without a look at the store."""

    def test_no_domain(self, envoy: EnvoyClient, who: str) -> None:
        """A request without a domain is one of nobody."""
        refused = refusal(lambda: envoy.ask("", descriptor(("client", who))))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "KEY_EMPTY", "domain") == refused.brief

    @pytest.mark.parametrize("count", [0, 21])
    def test_number_of_descriptors(self, envoy: EnvoyClient, count: int) -> None:
        """No descriptors say nothing, and too many are refused whole."""
        refused = refusal(lambda: envoy.ask("shop", *[descriptor(("client", "x"))] * count))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "BATCH_SIZE", "descriptors") == refused.brief
        assert {"max_keys": "20"} == refused.metadata

    @pytest.mark.parametrize("unit", [0, 8])
    def test_unit_of_no_meaning(self, envoy: EnvoyClient, who: str, unit: int) -> None:
        """A limit of the request needs a unit."""
        refused = refusal(
            lambda: envoy.ask("shop", descriptor(("client", who)), descriptor(("a", who), limit=(1, unit)))
        )
        assert (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_VALUE", "descriptors[1].limit.unit") == refused.brief
        assert 2 == envoy.ask("shop", descriptor(("client", who))).told[0].remaining

    def test_bytes_that_are_no_message(self, envoy_sidecar: RunningSidecar) -> None:
        """Bytes that are no request are refused."""
        call: Any = envoy_sidecar.channel().unary_unary(f"/{SERVICE}/ShouldRateLimit")
        refused = refusal(lambda: call(b"\xff\xff", timeout=30))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED", "") == refused.brief


class TestService:
    """The service among the others."""

    def test_reflection(self, envoy_sidecar: RunningSidecar) -> None:
        """Reflection lists the service, and gives its file with all that it imports."""
        stub = reflection_pb2_grpc.ServerReflectionStub(envoy_sidecar.channel())
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        ]
        listed, file = stub.ServerReflectionInfo(iter(asked))
        assert SERVICE in {service.name for service in listed.list_services_response.service}
        assert 25 == len(file.file_descriptor_response.file_descriptor_proto)

    def test_health(self, envoy_sidecar: RunningSidecar) -> None:
        """Health knows the service by name."""
        stub = health_pb2_grpc.HealthStub(envoy_sidecar.channel())
        answer = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        assert health_pb2.HealthCheckResponse.SERVING == answer.status

    def test_not_served_without_rules(self, shared_sidecar: RunningSidecar, who: str) -> None:
        """A sidecar without the folder has no such method."""
        client = EnvoyClient(shared_sidecar.channel())
        refused = refusal(lambda: client.ask("shop", descriptor(("client", who))))
        assert (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN", "") == refused.brief

    def test_keys_hold_no_values(self, envoy: EnvoyClient, shared_store: StoreServer, who: str) -> None:
        """No name of a key tells what a descriptor held."""
        envoy.ask("shop", descriptor(("client", who)))
        names = [name for name in shared_store.oracle().scan_iter(count=1000) if b":d:{" in name]
        assert names
        assert not [name for name in names if who.encode() in name or b"shop" in name]


def test_metrics(shared_store: StoreServer, rules: Path, who: str) -> None:
    """Calls are counted by their answer, hits by rule and by what became of them, and no label holds a value."""
    overrides = {"envoy.config_dir": str(rules)}
    sidecar = RunningSidecar(shared_store.url, engine="fast", metrics=True, overrides=overrides)
    sidecar.start()
    try:
        envoy = EnvoyClient(sidecar.channel())
        envoy.ask("shop", descriptor(("client", who)), hits=2)
        envoy.ask("shop", descriptor(("client", who)), descriptor(("tried", who), hits=3), hits=2)
        envoy.ask("shop", descriptor(("page", f"/pages/{who}")), descriptor(("any", who), limit=(1, DAY)))
        envoy.ask("unheard_of", descriptor(("client", who)))
        page = MetricsPage(sidecar.metrics_address or "")
    finally:
        sidecar.stop()
    calls = {
        outcome: page("sidecar_envoy_calls_total", outcome=outcome)
        for outcome in ("ok", "over_limit", "unknown_domain")
    }
    assert {"ok": 3, "over_limit": 1, "unknown_domain": 1} == calls
    hits = {
        (rule, outcome): page("sidecar_envoy_hits_total", domain="shop", rule=rule, outcome=outcome)
        for rule, outcome in (
            ("client", "within"), ("client", "near"), ("client", "over"), ("tried", "within"), ("tried", "shadow"),
            ("tried", "over"), ("page_/pages/*", "within"), ("(request)", "within"),
        )
    }  # fmt: skip
    assert [3, 1, 1, 1, 2, 0, 1, 1] == list(hits.values())
    assert who not in page.text


def test_dynamic_metadata(shared_store: StoreServer, tmp_path: Path, who: str) -> None:
    """What was asked, and the metadata of the limits that it is within, whatever YAML can hold there."""
    (tmp_path / "rules.yaml").write_text(METADATA_RULES)
    overrides = {"envoy.config_dir": str(tmp_path), "envoy.dynamic_metadata": True}
    sidecar = RunningSidecar(shared_store.url, engine="fast", overrides=overrides)
    sidecar.start()
    try:
        envoy = EnvoyClient(sidecar.channel())
        asked = [
            descriptor(("few", who)), descriptor(("many", who), hits=2), descriptor(("own", who), limit=(5, DAY)),
            descriptor(("own", who), limit=(0, DAY)), descriptor(("unheard_of", ""), ("b", "")),
        ]  # fmt: skip
        both = envoy.ask("shop", *asked).metadata
        one = envoy.ask("shop", *asked[:2], hits=3).metadata
        none = envoy.ask("unheard_of", descriptor(("few", who))).metadata
    finally:
        sidecar.stop()
    described = [
        {"entries": [f"few={who}"]},
        {"entries": [f"many={who}"], "hitsAddend": 2},
        {"entries": [f"own={who}"], "limit": "requests_per_unit:5 unit:DAY"},
        {"entries": [f"own={who}"], "limit": "unit:DAY"},
        {"entries": ["unheard_of=", "b="]},
    ]
    few = {"plan": {"name": "few", "paid": False, "more": 1}, "shares": [0.5, [None]]}
    many = {"plan": {"name": "many", "more": 1}}
    assert {"domain": "shop", "descriptors": described, "metadata": few} == both
    assert {"domain": "shop", "descriptors": described[:2], "hitsAddend": 3, "metadata": many} == one
    assert {"domain": "unheard_of", "descriptors": described[:1]} == none


def test_store_gone(server: StoreServer, rules: Path) -> None:
    """Without the store a limit cannot be told, and Envoy gets an error to decide by; what needs no store goes on."""
    sidecar = RunningSidecar(server.url, engine="fast", overrides={"envoy.config_dir": str(rules)})
    sidecar.start()
    try:
        envoy = EnvoyClient(sidecar.channel())
        envoy.ask("shop", descriptor(("client", "a")))
        server.kill()
        sidecar.wait_for(health_pb2.HealthCheckResponse.NOT_SERVING)
        for asked in ([descriptor(("client", "a"))], [descriptor(("client", "a")), descriptor(("page", "/pages/b"))]):
            refused = refusal(lambda asked=asked: envoy.ask("shop", *asked))  # type: ignore[misc]  # its default
            assert (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "") == refused.brief
        assert not envoy.ask("shop", descriptor(("insider", "a"))).over
    finally:
        sidecar.stop()


class TestStoppingWhenOver:
    """`envoy.stop_counting_when_over`."""

    @pytest.fixture(scope="class", params=[False, True], ids=["asked", "remembered"])
    @classmethod
    def envoy(cls, request: pytest.FixtureRequest, shared_store: StoreServer, rules: Path) -> Iterator[EnvoyClient]:
        """Return a client of a sidecar that stops, and remembers refusals or does not."""
        overrides = {
            "envoy.config_dir": str(rules), "envoy.stop_counting_when_over": True, "envoy.cache_refusals": request.param
        }  # fmt: skip
        sidecar = RunningSidecar(shared_store.url, engine="fast", overrides=overrides)
        sidecar.start()
        yield EnvoyClient(sidecar.channel())
        sidecar.stop()

    @pytest.mark.parametrize("over", ["page", "bucket", "sliding", "nobody"])
    def test_a_request_that_is_over_counts_towards_no_other_limit(
        self, envoy: EnvoyClient, who: str, over: str
    ) -> None:
        """Whatever the algorithms of the two are; the others say how they stand without it."""
        refusing = descriptor((over, f"/pages/{who}"), hits=4)
        for other in ("client", "small_bucket"):
            asked = [descriptor((other, who)), refusing, descriptor((other, who))]
            left = [[told.remaining for told in envoy.ask("shop", *asked).told] for _ in range(3)]
            assert left == [left[0]] * 3
            assert left[0][0] == left[0][2] > 0
            assert left[0][0] - 1 == envoy.ask("shop", asked[0]).told[0].remaining

    @pytest.mark.parametrize("over", ["tried", "quota"])
    def test_what_is_let_through_counts(self, envoy: EnvoyClient, who: str, over: str) -> None:
        """Also where it is over a limit that does not refuse: a shadow, or one of several quotas."""
        for number in range(3):
            asked = [descriptor((over, who)), descriptor(("client", who)), descriptor(("quota", f"{who}{number}"))]
            reply = envoy.ask("shop", *asked)
            assert (False, 2 - number) == (reply.over, reply.told[1].remaining)

    def test_the_limit_that_is_over_counts(self, envoy: EnvoyClient, who: str) -> None:
        """So hits that were refused stay counted there."""
        assert envoy.ask("shop", descriptor(("client", who), hits=4), descriptor(("page", f"/pages/{who}"))).over
        assert envoy.ask("shop", descriptor(("client", who))).over

    def test_a_request_that_is_within_counts_everywhere(self, envoy: EnvoyClient, who: str) -> None:
        """As ever; also one whose two descriptors have a counter in common and pass its limit together."""
        asked = [descriptor(("client", who), hits=2), descriptor(("bucket", who)), descriptor(("client", who), hits=2)]
        reply = envoy.ask("shop", *asked)
        assert [(False, 1), (False, 2), (True, 0)] == [(told.over, told.remaining) for told in reply.told]


class TestRefusalsWithoutTheStore:
    """`envoy.cache_refusals`."""

    @pytest.fixture
    def sidecar(self, server: StoreServer, rules: Path) -> Iterator[RunningSidecar]:
        """Return a sidecar that remembers, over a store that may be killed."""
        overrides = {"envoy.config_dir": str(rules), "envoy.cache_refusals": True}
        made = RunningSidecar(server.url, engine="fast", metrics=True, overrides=overrides)
        made.start()
        yield made
        made.stop()

    def test_the_store_is_not_asked(self, sidecar: RunningSidecar, server: StoreServer) -> None:
        """A counter that is over its limit costs the store nothing more; its statuses say what they said."""
        envoy = EnvoyClient(sidecar.channel())
        refused = [envoy.ask("shop", descriptor(("client", "a")), hits=4) for _ in range(2)]
        server.kill()
        sidecar.wait_for(health_pb2.HealthCheckResponse.NOT_SERVING)
        for hits in (4, 1):
            again = envoy.ask("shop", descriptor(("client", "a")), descriptor(("insider", "a")), hits=hits)
            refused.append(again._replace(told=again.told[:1]))
        told = [reply.told[0] for reply in refused]
        assert [(True, True, 0, (3, YEAR, "usual"))] * 4 == [
            (reply.over, told.over, told.remaining, told.limit) for reply, told in zip(refused, told, strict=True)
        ]
        resets = [each.reset_seconds or 0 for each in told]
        assert sorted(resets, reverse=True) == resets
        assert 0 < resets[-1] > resets[0] - 60

    def test_what_is_not_known_is_asked(self, sidecar: RunningSidecar, server: StoreServer) -> None:
        """Other counters, limits that are reached and not passed, and those of the other algorithms."""
        envoy = EnvoyClient(sidecar.channel())
        for key in ("client", "bucket", "sliding"):
            assert [False, key != "client"] == [
                envoy.ask("shop", descriptor((key, "b"), hits=hits)).over for hits in (3, 1 - (key == "client"))
            ]
        server.kill()
        for asked in ([("client", "b")], [("client", "c")], [("bucket", "b")], [("sliding", "b")]):
            refused = refusal(lambda asked=asked: envoy.ask("shop", descriptor(*asked)))  # type: ignore[misc]
            assert "STORE_UNAVAILABLE" == refused.reason

    def test_what_it_counts(self, sidecar: RunningSidecar) -> None:
        """Hits that were refused so have a counter of their own, by rule, and are over or shadow like others."""
        envoy = EnvoyClient(sidecar.channel())
        for key in ("client", "tried"):
            for _ in range(3):
                envoy.ask("shop", descriptor((key, "d"), hits=4))
        page = MetricsPage(sidecar.metrics_address or "")
        for rule, outcome, refused in (("client", "over", 9), ("tried", "shadow", 11)):
            assert refused == page("sidecar_envoy_hits_total", domain="shop", rule=rule, outcome=outcome)
            assert 8 == page("sidecar_envoy_remembered_refusals_total", domain="shop", rule=rule)


def test_wrong_rules_do_not_start(server: StoreServer, tmp_path: Path) -> None:
    """A sidecar with rules that are wrong does not start, and says all that is."""
    (tmp_path / "a.yaml").write_text("domain: d\ndescriptors: [{key: k, rate_limit: {unit: dya}}, {value: v}]")
    sidecar = RunningSidecar(server.url, overrides={"envoy.config_dir": str(tmp_path)})
    with pytest.raises(StartupError) as caught:
        sidecar.start()
    units = "second, minute, hour, day, week, month, year"
    assert [
        f"{tmp_path}/a.yaml:2: descriptors[0].rate_limit.unit: `dya` is none of {units}, did you mean `day`?",
        f"{tmp_path}/a.yaml:2: descriptors[1].key: is missing",
    ] == str(caught.value).splitlines()
