"""Counting, and the page that shows the counts."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
import urllib.request
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.errors import StartupError
from sidecar.telemetry.log import JsonFormatter, TextFormatter, set_up_logging
from sidecar.telemetry.loop_lag import LoopLag
from sidecar.telemetry.metrics import Histogram, Metrics
from sidecar.telemetry.page import Page
from sidecar.telemetry.prometheus import one_process

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def metrics() -> Metrics:
    """Return a process's metrics."""
    return Metrics()


@pytest.fixture
def page(metrics: Metrics) -> Iterator[Page]:
    """Return a running page of them."""
    server = _page(metrics)
    server.start()
    yield server
    server.close()


def _page(metrics: Metrics, address: str = "127.0.0.1:0") -> Page:
    return Page(address, one_process(metrics), is_serving=lambda: True)


def samples(page: Page) -> dict[tuple[str, tuple[str, ...]], float]:
    """Ask for the page and parse it; values by name and label values."""
    with urllib.request.urlopen(f"http://{page.address}/metrics") as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class TestCells:
    """The numbers themselves."""

    def test_equal_labels_share_a_cell(self, metrics: Metrics) -> None:
        """Two components that ask for the same cell add to the same number."""
        counter = metrics.counter("reads", "Reads.", "cache")
        assert counter.cell("a") is counter.cell("a")

    def test_a_name_can_be_registered_once(self, metrics: Metrics) -> None:
        """Two meanings of one name are a defect."""
        metrics.counter("reads", "Reads.")
        with pytest.raises(ValueError, match="twice"):
            metrics.histogram("reads", "Reads.")

    def test_labels_must_be_as_many_as_their_names(self, metrics: Metrics) -> None:
        """For both kinds of family that have cells."""
        with pytest.raises(ValueError, match="takes the labels"):
            metrics.counter("a", "A.", "x").cell()
        with pytest.raises(ValueError, match="takes the labels"):
            metrics.histogram("b", "B.").cell("x")

    def test_an_observation_falls_into_the_bucket_of_its_bound(self) -> None:
        """A bound belongs to its bucket; what is above all falls into the last."""
        cell = Histogram("h", "H.", (), (0.1, 1.0)).cell()
        for seconds in (0.05, 0.1, 0.5, 7.0):
            cell.observe(seconds)
        assert ([2, 1, 1], 7.65) == (cell.buckets, cell.sum_seconds)


class TestPage:
    """What a scrape sees."""

    def test_counters_histograms_and_gauges_are_shown(self, metrics: Metrics, page: Page) -> None:
        """With Prometheus' suffixes, and buckets that add up."""
        metrics.counter("reads", "Reads.", "cache").cell("a").value += 3
        distribution = metrics.histogram("seconds", "Seconds.").cell()
        distribution.observe(0.0003)
        distribution.observe(99.0)
        metrics.gauge("size", "Size.", lambda: {("x",): 7}, "what")
        seen = samples(page)
        assert (3, 7) == (seen["reads_total", ("a",)], seen["size", ("x",)])
        assert (1, 2, 2) == (
            seen["seconds_bucket", ("0.0005",)],
            seen["seconds_bucket", ("+Inf",)],
            seen["seconds_count", ()],
        )

    def test_the_process_is_shown_too(self, page: Page) -> None:
        """Memory and CPU, by the usual names."""
        assert samples(page)["process_resident_memory_bytes", ()] > 0

    def test_a_port_in_use_is_one_clear_line(self, metrics: Metrics) -> None:
        """It names the address and the setting."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = _page(metrics, f"127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(
                StartupError, match=r"cannot serve metrics on 127\.0\.0\.1:.*telemetry\.metrics\.address"
            ):
                server.start()

    def test_closing_frees_the_port(self, metrics: Metrics) -> None:
        """The same port can be taken again at once."""
        first = _page(metrics)
        first.start()
        address = first.address
        first.close()
        second = _page(metrics, address)
        second.start()
        second.close()
        assert "127.0.0.1:0" == first.address

    def test_health_follows_the_state(self, metrics: Metrics) -> None:
        """200 while calls are served, 503 while they are not, with a word for people."""
        serving = True
        page = Page("127.0.0.1:0", one_process(metrics), is_serving=lambda: serving)
        page.start()
        url = f"http://{page.address}/healthz"
        with urllib.request.urlopen(url) as answer:
            assert (200, b"SERVING\n") == (answer.status, answer.read())
        serving = False
        with pytest.raises(HTTPError) as caught:
            urllib.request.urlopen(url)
        with caught.value as refused:
            assert (503, b"NOT_SERVING\n") == (refused.code, refused.read())
        page.close()

    def test_an_ipv6_address(self, metrics: Metrics) -> None:
        """The brackets are part of the address, not of the host."""
        page = _page(metrics, "[::1]:0")
        page.start()
        assert samples(page)["process_resident_memory_bytes", ()] > 0
        page.close()


async def test_a_blocked_loop_shows_as_lag(metrics: Metrics) -> None:
    """Whoever holds the loop for 50 ms over a tick is seen."""
    lag = LoopLag(metrics)
    lag.start()
    await asyncio.sleep(0)
    until = time.monotonic() + 0.16
    while time.monotonic() < until:
        sum(range(1000))
    await asyncio.sleep(0.01)
    await lag.stop()
    family = metrics.families["sidecar_event_loop_lag_seconds"]
    assert isinstance(family, Histogram)
    assert family.cell().sum_seconds > 0.04


class TestLog:
    """The log's lines."""

    def test_json_lines_hold_what_machines_need(self) -> None:
        """Level, logger, message and trace id; an exception by its type alone."""
        record = logging.LogRecord("sidecar.x", logging.ERROR, "f", 1, "lost %s", ("it",), None)
        record.trace_id = "abc"
        try:
            int("a patient's name")
        except ValueError as error:
            record.exc_info = (ValueError, error, error.__traceback__)
        line = json.loads(JsonFormatter().format(record))
        del line["time"]
        expected = {
            "level": "error",
            "logger": "sidecar.x",
            "message": "lost it",
            "trace_id": "abc",
            "exception": "ValueError",
        }
        assert expected == line

    def test_a_workers_lines_carry_its_number(self) -> None:
        """Several processes write to one standard error."""
        record = logging.LogRecord("sidecar.x", logging.ERROR, "f", 1, "lost", (), None)
        assert 2 == json.loads(JsonFormatter(2).format(record))["worker"]
        assert TextFormatter(2).format(record).endswith("ERROR   sidecar.x: worker 2: lost")

    @pytest.mark.parametrize("style", ["text", "json"])
    def test_the_level_holds_for_the_sidecar_alone(self, style: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Libraries speak from warnings upwards."""
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        try:
            set_up_logging("info", style)  # type: ignore[arg-type]  # parametrised
            logging.getLogger("sidecar.y").info("ours")
            logging.getLogger("library").info("theirs")
            logging.getLogger("library").warning("their warning")
        finally:
            root.handlers[:], root.level = handlers, level
            logging.getLogger("sidecar").setLevel(logging.NOTSET)
        written = capsys.readouterr().err
        assert (True, False, True) == ("ours" in written, "theirs" in written, "their warning" in written)
