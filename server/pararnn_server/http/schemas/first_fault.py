"""Validators that stop at the first fault, so that a wrong body costs what reading it costs.

A list says `FirstFault()`, a mapping says `Mapping(max_length=...)`. An object names its first unknown field.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import FailFast, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

PIECE_ENTRIES = 16


class FirstFault(FailFast):
    """Annotation of a list. Members of a union must have a hash, and pydantic's own annotation has none."""

    def __hash__(self) -> int:
        return hash(self.fail_fast)


@dataclass(frozen=True, slots=True)
class Mapping:
    """Annotation of a dict of at most max_length entries, checked a few at a time up to a wrong one."""

    max_length: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Wrap the schema of the dict, which keeps its own limit for /openapi.json."""
        schema: Any = handler(source)
        assert schema["type"] == "dict"
        schema["max_length"] = self.max_length
        return core_schema.no_info_wrap_validator_function(self._check, schema)

    def _check(self, value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(value, dict) or len(value) <= PIECE_ENTRIES:
            return validate(value)
        if len(value) > self.max_length:
            context = {"field_type": "Object", "max_length": self.max_length, "actual_length": len(value)}
            raise PydanticKnownError("too_long", context)
        entries = iter(value.items())
        checked: dict[str, Any] = {}
        # Pydantic checks a whole dict before it reports; a few entries bound what faults cost.
        while piece := dict(islice(entries, PIECE_ENTRIES)):
            checked |= validate(piece)
        return checked
