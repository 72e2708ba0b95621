"""The server process: one socket, one event loop, one engine thread, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from pararnn_core.ops.devices import usable_device
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.app.app import create_app
from pararnn_server.http.connections.connection import Connection
from pararnn_server.http.connections.connection_limits import limits_of
from pararnn_server.http.connections.open_connections import OpenConnections, usable_connections
from pararnn_server.models.find_checkpoint import find_checkpoint
from pararnn_server.models.loading import Loaded
from pararnn_server.models.served_model import ServedModel
from pararnn_server.models.service import Service
from pararnn_server.settings.environment import option_name
from pararnn_server.settings.server_settings import Settings

LAST_BYTES_SECONDS = 5

logger = logging.getLogger(__name__)


def run(
    settings: Settings,
    loading: Future[Loaded] | None = None,
    on_ready: Callable[[ServedModel, str], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT and returns when all is finished.

    loading: of the checkpoint of the settings, if it has begun.
    on_ready: called once, on the event loop, with the default model and the server's URL.
    Raises ConfigurationError and DeviceUnavailable before anything listens, and whatever kept the checkpoint
    from loading.
    """
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # A wrong path must be an error of the command before anything listens.
    find_checkpoint(settings)
    usable_device(settings.device)
    failures: list[Exception] = []

    def fail(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    def ready(model: ServedModel) -> None:
        # All that stays for good is loaded now. A garbage collection of it stops all threads for 0.1 s.
        gc.collect()
        gc.freeze()
        if on_ready is not None:
            on_ready(model, url)

    app = create_app(settings, loading=loading, on_failure=fail, on_ready=ready)
    # Listening before the model is loaded lets /health answer, and a busy port fails at once.
    listener = _listen(settings)
    server = _Server(uvicorn_config(settings, app), app.state.service)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    logger.info("listening on %s", url)
    server.run(sockets=[listener])
    if failures:
        raise failures[0]


class _Server(uvicorn.Server):
    """A server that drains after the first signal, and ends at once after the second."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._signals = 0
        self._draining: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGHUP too, unless it is ignored (nohup)."""
        with super().capture_signals():
            previous = signal.getsignal(signal.SIGHUP)
            takes_it = previous is not signal.SIG_IGN and _in_main_thread()
            if takes_it:
                signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                if takes_it:
                    signal.signal(signal.SIGHUP, previous)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Signal handler. A terminal that closes sends SIGHUP more than once: it is never the second."""
        if sig != signal.SIGHUP:
            self._signals += 1
        if self._signals > 1:
            # Every other exit waits for the threads that drain the engines.
            os._exit(128 + sig)
        self._service.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._service.draining and self._draining is None:
            logger.info("draining for up to %g s", self._service.settings.drain_seconds)
            self._draining = asyncio.ensure_future(self._drain())
        return await super().on_tick(counter)

    async def _drain(self) -> None:
        seconds = self._service.settings.drain_seconds
        # Stopping waits for running replies, which the event loop must still send.
        stops = [asyncio.to_thread(model.engine.stop, seconds) for model in self._service.models]
        await asyncio.gather(*stops)
        self.should_exit = True


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def uvicorn_config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    """The server process. It replaces uvicorn's error messages by those of this server."""
    most = usable_connections(settings.max_connections)
    if most < settings.max_connections:
        logger.warning("the limit of open files leaves room for %d connections", most)
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=cast("type[asyncio.Protocol]", partial(Connection, limits_of(settings), OpenConnections(most))),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # Replies have ended by then: only their last bytes may still wait for a slow reader.
        timeout_graceful_shutdown=LAST_BYTES_SECONDS,
    )


def _listen(settings: Settings) -> socket.socket:
    """`::` takes IPv4 too, whatever the system's default is."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    both = settings.host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            (settings.host, settings.port), family=family, backlog=2048, dualstack_ipv6=both
        )
    except OSError as error:
        raise ConfigurationError(_cannot_listen(settings, error)) from error


def _cannot_listen(settings: Settings, error: OSError) -> str:
    """Return the reason and a remedy in words; Python repeats the address in the system's message."""
    reason = (error.strerror or str(error)).partition(" (while attempting")[0]
    at_port = f"{option_name('port')}: cannot listen on {settings.host} port {settings.port}: {reason}"
    # make has its own way of passing an option on.
    another = "make serve ARGS='--port 8001'" if "MAKELEVEL" in os.environ else "--port 8001"
    if error.errno == errno.EADDRINUSE:
        return f"{at_port}; end the program that has it, or choose another port: {another}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{at_port}; ports below 1024 need special rights, choose another: {another}"
    return (
        f"{option_name('host')}: cannot listen on {settings.host}: {reason};"
        " give an address of this machine, such as 127.0.0.1"
    )
