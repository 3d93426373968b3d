"""Invalidation by what happens elsewhere: events, the rules from them to entries, and where they come from."""
