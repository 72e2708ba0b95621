"""Environment variables PARARNN_<NAME>: values as people, Docker and Kubernetes write them."""

from __future__ import annotations

import re
from collections.abc import Collection, MutableMapping
from difflib import get_close_matches

PREFIX = "PARARNN_"

_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S*", re.IGNORECASE)
_SERVICE_VARIABLE = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def variable(option: str) -> str:
    """Return the environment variable of an option: "max_queue" -> "PARARNN_MAX_QUEUE"."""
    return PREFIX + option.replace("-", "_").upper()


def option_name(field: str) -> str:
    """Return both spellings of an option, as errors name it: "--max-queue (PARARNN_MAX_QUEUE)"."""
    return f"--{field.replace('_', '-')} ({variable(field)})"


def usable_value(value: str) -> str | None:
    """Return the value without the quotes that an env file leaves around it, None for one that is no setting.

    Kubernetes describes a Service called pararnn to every container of its namespace. The address that it
    writes to PARARNN_PORT is no port to listen on.
    """
    if _SERVICE_ADDRESS.fullmatch(value):
        return None
    # `docker run --env-file` takes quotes as part of the value.
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def tidy(environment: MutableMapping[str, str], known: Collection[str]) -> list[str]:
    """Keep usable values only; return a warning for every variable that does nothing.

    known: names of all variables that some command reads.
    """
    warnings = []
    # A list, because values are taken out of the environment in the loop.
    for name in sorted(name for name in environment if name.startswith(PREFIX)):
        value = usable_value(environment[name])
        if name not in known:
            # Kubernetes sets these for every Service: nobody could act on a warning.
            if not _SERVICE_VARIABLE.fullmatch(name.removeprefix(PREFIX)):
                warnings.append(_unknown(name, known))
        elif value is None:
            warnings.append(f"{name}={environment.pop(name)} is ignored: it is the address of a Service")
        else:
            environment[name] = value
    return warnings


def _unknown(name: str, known: Collection[str]) -> str:
    closest = get_close_matches(name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known], n=1)
    advice = f"did you mean {PREFIX}{closest[0]}?" if closest else "no command reads it"
    return f"{name} is ignored: {advice}"
