"""Engines: transports that carry calls to endpoints. They know bytes, metadata and deadlines, and no service."""
