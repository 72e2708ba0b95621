"""Names of what middleware, connections and answers note in a request's state."""

from __future__ import annotations

from typing import Final

OUTCOME: Final = "outcome"
"""The status in the request's log line, if it is not the one that was sent."""

RECORDED: Final = "recorded"
"""Fields that are only recorded in the request's log line."""

ACCOUNT: Final = "account"
"""The TokenAccount that the limits of the key are counted in."""

HALF_CLOSED: Final = "half_closed"
"""Set by the connection: the client has shut its writing side or left; only writing to it tells which."""
