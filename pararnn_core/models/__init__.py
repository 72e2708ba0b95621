"""The interface that all served models have, and generation with it."""
