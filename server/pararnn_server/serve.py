"""The server process: one socket, one event loop, one engine thread, an orderly end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType

import uvicorn
from fastapi import FastAPI

from pararnn_core.devices import usable_device
from pararnn_server.app import create_app
from pararnn_server.environment import option_name
from pararnn_server.keys import ConfigurationError
from pararnn_server.loading import Loaded
from pararnn_server.locate import find_checkpoint
from pararnn_server.service import Service, Serving
from pararnn_server.settings import Settings

KEEP_ALIVE_SECONDS = 75
LAST_BYTES_SECONDS = 5

logger = logging.getLogger(__name__)


def run(
    settings: Settings,
    loading: Future[Loaded] | None = None,
    on_ready: Callable[[Serving, str], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT and returns when all is finished.

    loading: of the checkpoint of the settings, if it has begun.
    on_ready: called once, on the event loop, with what is served and the server's URL.
    Raises ConfigurationError and DeviceUnavailable before anything listens, and whatever kept the checkpoint
    from loading.
    """
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    find_checkpoint(settings)
    usable_device(settings.device)
    failures: list[Exception] = []

    def fail(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    def ready(serving: Serving) -> None:
        if on_ready is not None:
            on_ready(serving, url)

    app = create_app(settings, loading=loading, on_failure=fail, on_ready=ready)
    listener = _listen(settings)
    server = _Server(uvicorn_config(settings, app), app.state.service)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    logger.info("listening on %s", url)
    server.run(sockets=[listener])
    if failures:
        raise failures[0]


class _Server(uvicorn.Server):
    """On the first signal goes on answering until running requests have ended; on the second ends at once."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._signals = 0
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Signal handler."""
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + sig)
        self._service.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._signals and self._draining is None:
            logger.info("draining for up to %g s", self._service.settings.drain_seconds)
            self._draining = asyncio.ensure_future(self._drain())
        return await super().on_tick(counter)

    async def _drain(self) -> None:
        if self._service.loaded is not None:
            engine = self._service.loaded.engine
            await asyncio.to_thread(engine.stop, self._service.settings.drain_seconds)
        self.should_exit = True


def uvicorn_config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    """One process that never answers in uvicorn's own words where ours can be said."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LAST_BYTES_SECONDS,
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        raise ConfigurationError(
            f"{option_name('port')}: cannot listen on {where}: {error.strerror or error}"
        ) from error
