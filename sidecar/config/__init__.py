"""The configuration: what can be set, how it is read, and what is said when it is wrong."""

from sidecar.config.loader import load
from sidecar.config.model import Settings
from sidecar.config.problems import ConfigError, Problem

__all__ = ["ConfigError", "Problem", "Settings", "load"]
