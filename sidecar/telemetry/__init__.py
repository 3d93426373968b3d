"""Traces and metrics: what an operator sees of the sidecar. No keys, no values."""
