"""The configuration files of envoyproxy/ratelimit, read as they are."""
