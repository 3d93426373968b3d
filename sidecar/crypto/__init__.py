"""Envelope encryption of field values, and the keys for it. The byte layouts are in docs/security/envelope.md."""
