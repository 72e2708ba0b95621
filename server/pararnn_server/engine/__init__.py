"""The engine thread: requests, scheduling, steps of the model, sampling and replies."""
