"""API keys, and the share of requests, bytes and slots that each key may use."""
