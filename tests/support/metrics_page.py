"""What a sidecar tells Prometheus."""

from __future__ import annotations

import urllib.request
from urllib.error import HTTPError

from prometheus_client.parser import text_string_to_metric_families


class MetricsPage:
    """The metrics page, read once."""

    def __init__(self, address: str) -> None:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as page:
            self.text = page.read().decode()
        self._samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """Return a sample's value."""
        return self._samples[name, frozenset(labels.items())]

    def labels_of(self, name: str, label: str) -> set[str]:
        """Return the values that a label has in the samples of a name."""
        return {value for found, labels in self._samples if found == name for key, value in labels if key == label}


def health_code(address: str) -> int:
    """Return the status code of `/healthz`."""
    try:
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=30) as page:
            return int(page.status)
    except HTTPError as error:
        with error:
            return error.code
