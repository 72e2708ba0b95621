"""Stored responses: each is a session with the items of its input and output."""
