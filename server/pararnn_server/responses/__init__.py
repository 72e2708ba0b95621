"""Stored responses: what was said, beside the state that a next one goes on from."""
