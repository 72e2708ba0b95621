"""The models that one process serves, by every name that clients may call them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pararnn_server.access.keys import ConfigurationError
from pararnn_server.access.owner import Owner
from pararnn_server.errors import NotFound, Unavailable
from pararnn_server.models.served_model import ServedModel
from pararnn_server.sessions import catalogue
from pararnn_server.settings.environment import option_name


class ModelRegistry:
    """Models in the order in which they were added; the first is the default. For the event loop only.

    All of them keep their sessions in one store.
    """

    def __init__(self) -> None:
        self._models: list[ServedModel] = []
        self._by_name: dict[str, ServedModel] = {}

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models)

    @property
    def names(self) -> list[str]:
        """Names of all models."""
        return list(self._by_name)

    def add(self, model: ServedModel) -> None:
        """Serve one more model. Raises ConfigurationError for a name that another has."""
        self.check_free(model.names)
        self._models.append(model)
        self._by_name |= dict.fromkeys(model.names, model)

    def check_free(self, names: Sequence[str]) -> None:
        """Raise ConfigurationError for a name that a model has: nothing of the second may be started."""
        for name in names:
            if name in self._by_name:
                option = option_name("served_model_name")
                raise ConfigurationError(f"{option}: two models are called {name!r}; give each its own name")

    def get(self, name: str | None = None) -> ServedModel:
        """Return the model of a name; without one, the default.

        Raises NotFound for an unknown name, Unavailable while no model is loaded.
        """
        if not self._models:
            raise Unavailable("The model is still loading.", code="loading")
        if name is None:
            return self._models[0]
        if name not in self._by_name:
            served = " or ".join(map(repr, self._by_name))
            message = f"The model {name!r} is not served here; send {served}, or leave it out."
            raise NotFound(message, param="model", code="model_not_found")
        return self._by_name[name]

    async def get_for(self, session_id: str, owner: Owner) -> ServedModel:
        """Return the model whose state a session holds; the default if no model here can continue it.

        Raises what Ledger.find does.
        """
        default = self.get()
        # One model needs no look-up: its own ledger refuses what it cannot continue.
        if len(self._models) == 1:
            return default
        fingerprint = await default.ask(catalogue.fingerprint, session_id, owner)
        return next((model for model in self if model.sessions.kind.fingerprint == fingerprint), default)
