"""The dashboards for Grafana ask for what the metrics page has."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.programs import PROJECT
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import StoreServer

DASHBOARDS = sorted((PROJECT / "deploy" / "grafana").glob("*.json"))
_METRIC = re.compile(r"\bsidecar_[a-z0-9_]+")
# What a histogram's and a counter's names end with on the page, beyond their own.
_ENDS = ("_bucket", "_total")


@pytest.fixture(scope="module")
def families(lasting_store: StoreServer) -> dict[str, tuple[str, ...]]:
    """Return the metrics of a sidecar, each with the names of its labels."""
    sidecar = RunningSidecar(lasting_store.url)
    sidecar.start()
    try:
        return {family.name: family.label_names for family in sidecar._app.snapshot()}
    finally:
        sidecar.stop()


@pytest.mark.parametrize("path", DASHBOARDS, ids=[path.stem for path in DASHBOARDS])
def test_every_query_names_a_metric_and_its_labels(path: Path, families: dict[str, tuple[str, ...]]) -> None:
    """A metric that is renamed, or a label that it does not have, shows here and not as an empty panel."""
    dashboard: dict[str, Any] = json.loads(path.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert queries
    for query in queries:
        for name in _METRIC.findall(query):
            own = next((name.removesuffix(end) for end in _ENDS if name.endswith(end)), name)
            assert own in families
            for grouped in re.findall(r"by \(([^)]*)\)", query):
                assert {label.strip() for label in grouped.split(",")} <= {*families[own], "le"}


def test_there_are_dashboards() -> None:
    """Of the caches, at least; no two share an identifier."""
    told = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert "sidecar-caches" in [one["uid"] for one in told]
    assert len(told) == len({one["uid"] for one in told})
