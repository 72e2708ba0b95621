"""Answers in the JSON of OpenAI and Anthropic clients, written by hand: a token costs microseconds."""
