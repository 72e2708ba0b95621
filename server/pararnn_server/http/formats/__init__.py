"""Answers in the JSON of OpenAI clients, written by hand: a token costs microseconds."""
