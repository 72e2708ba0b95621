"""The inference server: HTTP, sessions and the engine thread."""
