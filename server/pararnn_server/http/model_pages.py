"""Pages of the names of models, as Anthropic's clients ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pararnn_server.errors import BadRequest

Lifecycle = Literal["active", "deprecated", "retired"]


class ModelPage(NamedTuple):
    """Names of a page in their order. has_more: further ones follow in the direction that was asked for."""

    names: Sequence[str]
    has_more: bool


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The query of a list of models. lifecycle: those to list, all if empty; each model here is active."""

    limit: int
    after_id: str
    before_id: str
    lifecycle: Sequence[Lifecycle]

    def page(self, names: Sequence[str]) -> ModelPage:
        """Return the page of these names. Raises BadRequest."""
        if self.after_id and self.before_id:
            raise BadRequest("before_id: not with after_id; send one of them.", param="before_id")
        if self.lifecycle and "active" not in self.lifecycle:
            return ModelPage((), has_more=False)
        if self.before_id:
            end = _position(names, self.before_id, "before_id")
            start = max(0, end - self.limit)
            return ModelPage(names[start:end], has_more=start > 0)
        start = _position(names, self.after_id, "after_id") + 1 if self.after_id else 0
        end = start + self.limit
        return ModelPage(names[start:end], has_more=end < len(names))


def check_unpaged(query: Mapping[str, str]) -> None:
    """Raise BadRequest if a client that gets OpenAI's shape, which has no pages, asks for one."""
    for name in query:
        message = f"{name}: only with the header anthropic-version; without it the list is whole."
        raise BadRequest(message, param=name, code="unknown_parameter")


def _position(names: Sequence[str], name: str, param: str) -> int:
    if name not in names:
        raise BadRequest(
            f"{param}: no model here has this name; leave it out for the first page.", param=param
        )
    return names.index(name)
