"""Caches: named policies over keys with values of bytes, or records of typed fields."""
