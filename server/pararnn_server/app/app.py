"""The application: routes, middleware, and the model behind them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pararnn_server.access.keys import check_exposure, load_keys
from pararnn_server.access.seal import Sealer, load_secrets
from pararnn_server.app.cors import Preflight, allowed_methods, check_origins
from pararnn_server.app.middleware import Access, Envelope
from pararnn_server.app.page import Page, page_files
from pararnn_server.concurrency.stalls import beat_on_loop
from pararnn_server.errors import BadRequest, MethodNotAllowed, NotFound, ServerError
from pararnn_server.http.bodies import refusal
from pararnn_server.http.error_response import error_response
from pararnn_server.http.openapi import describe
from pararnn_server.http.request_id import MESSAGE_REQUEST_ID, REQUEST_ID
from pararnn_server.http.routes import (
    admin,
    chat,
    completions,
    embeddings,
    messages,
    models,
    monitor,
    responses,
    session_branches,
    session_state,
    sessions,
    tokens,
)
from pararnn_server.models.loading import Loaded, load_in_background
from pararnn_server.models.served_model import ServedModel
from pararnn_server.models.service import Service
from pararnn_server.models.startup import read_chat_template, start
from pararnn_server.monitor.monitor import Monitor
from pararnn_server.settings.server_settings import Settings
from pararnn_server.settings.version import package_version

ROUTERS = tuple(
    module.router
    for module in (
        completions,
        chat,
        messages,
        responses,
        embeddings,
        models,
        sessions,
        session_branches,
        session_state,
        tokens,
        monitor,
        admin,
    )
)
"""All routes of the server."""

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    *,
    loaded: Sequence[Loaded] = (),
    loading: Future[Loaded] | None = None,
    on_failure: Callable[[Exception], None] | None = None,
    on_ready: Callable[[ServedModel], None] | None = None,
) -> FastAPI:
    """Return the application. Raises ConfigurationError for keys and addresses that do not go together.

    loaded: models at hand, the first is the default. loading: one that will be, requests get a 503 until
        then. With neither, the checkpoint of the settings is loaded once the application runs.
    on_failure: what to do if it cannot be loaded; by default that is only logged.
    on_ready: called on the event loop with the default model, once requests are answered.
    """
    keys = load_keys(settings)
    check_exposure(settings, keys)
    check_origins(settings)
    service = Service(settings, keys, Sealer(load_secrets(settings.seal_secret_file)))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        startup = asyncio.ensure_future(
            _start_models(service, loaded, loading, on_failure or _log_failure, on_ready or _nothing)
        )
        beats = asyncio.ensure_future(beat_on_loop(service.loop_heartbeat))
        service.stalls.start()
        # Models at hand are served before the first request; others load meanwhile.
        if loaded:
            await startup
        yield
        await app.state.monitor.close()
        startup.cancel()
        beats.cancel()
        service.stalls.stop()
        for model in service.models:
            await asyncio.to_thread(model.engine.stop, 0.0)
        for model in service.models:
            # After all engines: the last turns of any of them go to the store.
            await asyncio.to_thread(model.sessions.close)
            model.chat.close()

    app = _Api(
        title="pararnn-server",
        description="Constant-memory recurrent language models behind an OpenAI-compatible interface.",
        version=package_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.monitor = Monitor(service)
    for router in ROUTERS:
        app.include_router(router)
    _add_middleware(app, service)
    app.add_exception_handler(ServerError, _on_server_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    # FastAPI would answer in a shape of its own, with status 422.
    app.add_exception_handler(RequestValidationError, _on_bad_parameter)
    return app


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = describe(self, ROUTERS)
        return self.openapi_schema


async def _start_models(
    service: Service,
    loaded: Sequence[Loaded],
    loading: Future[Loaded] | None,
    on_failure: Callable[[Exception], None],
    on_ready: Callable[[ServedModel], None],
) -> None:
    try:
        if not loaded:
            loaded = [await asyncio.wrap_future(loading or load_in_background(service.settings))]
        for each in loaded:
            await _serve(service, each)
    except Exception as error:  # the caller decides what a server without a model is worth
        on_failure(error)
    else:
        on_ready(service.models.get())


async def _serve(service: Service, loaded: Loaded) -> None:
    """Start a model and add it to the registry."""
    # Before anything is started: a refused model must leave no threads behind.
    service.models.check_free(loaded.names)
    # Trying the template takes a moment, or as long as a broken one may.
    template = await asyncio.to_thread(read_chat_template, loaded)
    # All models keep their sessions in the one store, with its one thread.
    beside = service.models.get().sessions if len(service.models) else None
    model = start(service, loaded, template, beside)
    service.models.add(model)
    logger.info("serving %s, %d bytes of state per session", model.name, model.state_bytes)


def _add_middleware(app: FastAPI, service: Service) -> None:
    """The last one added is the outermost."""
    app.add_middleware(Access, service=service)
    if service.settings.cors_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.cors_origin),
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=[REQUEST_ID, MESSAGE_REQUEST_ID, "retry-after"],
        )
    # Outside of the CORS middleware, which answers a foreign origin in words of its own.
    app.add_middleware(Preflight, settings=service.settings, routes=app)
    if service.settings.page:
        app.add_middleware(Page, files=page_files())
    app.add_middleware(Envelope)


async def _on_server_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServerError)
    return error_response(error, request.scope)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: an unknown path, or a method that the path does not have."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        # RFC 9110, 15.5.6, wants the Allow field in every 405.
        methods = allowed_methods(request.app, request.url.path)
        useful = [method for method in methods if method not in ("HEAD", "OPTIONS")]
        message = f"{request.method} is not allowed here: send {' or '.join(useful)}."
        refused = MethodNotAllowed(message, headers={"allow": ", ".join(methods)})
        return error_response(refused, request.scope)
    if error.status_code == 404:
        message = f"There is nothing at {request.url.path}: /openapi.json lists all paths."
        return error_response(NotFound(message, code="unknown_path"), request.scope)
    return error_response(BadRequest(str(error.detail)), request.scope)


async def _on_bad_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The first part says "query" or "path", which is no name that a client sent.
    errors = [found | {"loc": found["loc"][1:]} for found in error.errors()]
    return error_response(refusal(errors), request.scope)


def _log_failure(error: Exception) -> None:
    logger.error("cannot serve: %s", error)


def _nothing(_: ServedModel) -> None:
    """Do nothing: no caller waits for the server to be ready."""
