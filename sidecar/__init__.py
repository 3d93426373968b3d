"""A gRPC sidecar that gives services in any language one fast, safe way to Redis."""

__version__ = "0.1.0"
