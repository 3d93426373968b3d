"""Account balances from PostgreSQL, read through a sidecar."""
