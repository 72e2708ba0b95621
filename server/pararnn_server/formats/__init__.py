"""Answers as OpenAI clients read them, written by hand: a token costs microseconds, not a validation."""
