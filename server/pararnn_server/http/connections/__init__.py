"""Connections: bytes and time that a client may take before and after its key is known."""
