"""The error of a model that cannot be fetched."""


class FetchError(Exception):
    """A reason in one line, which a person can act on."""
