"""Request bodies: counted while they are read, parsed strictly, refused by the name of the field."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, ParamSpec, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.requests import ClientDisconnect, Request

from pararnn_server.access.body_budget import BodyLease
from pararnn_server.errors import BadRequest, ClientClosed, TooLarge, UnsupportedMedia
from pararnn_server.http.json_values import holds_more_values
from pararnn_server.http.request_state import request_state
from pararnn_server.http.schemas.base import RequestBody
from pararnn_server.models.service import service_of
from pararnn_server.sessions.model_kind import ModelKind
from pararnn_server.sessions.state_file import StateFile
from pararnn_server.sessions.state_reader import StateReader
from pararnn_server.settings.server_settings import Settings

STATE_FILE_TYPE = "application/octet-stream"
# Names of UTF-8, and of the part of it that is ASCII.
UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
OFF_LOOP_BYTES = 64 << 10
_LONGEST_NAME = 64
P = ParamSpec("P")
T = TypeVar("T")
Body = TypeVar("Body", bound=RequestBody)


class BodyLimits(NamedTuple):
    """Settings that bound what parsing a body costs; schemas read them from the context of the validation."""

    max_body_values: int
    max_messages: int
    max_tools: int

    @classmethod
    def of(cls, settings: Settings) -> BodyLimits:
        """Take them from the settings."""
        return cls(settings.max_body_values, settings.max_messages, settings.max_tools)


async def read_body(request: Request, schema: type[Body]) -> Body:
    """Return the body. Raises UnsupportedMedia, TooLarge or BadRequest.

    A large body is parsed on another thread. Its bytes count until its prompt is encoded and the answer
    begins, or the request ends.
    """
    settings = service_of(request).settings
    _check_headers(request, settings.max_body_bytes)
    raw = await _read(request, settings.max_body_bytes)
    return await off_loop(request, parse_body, raw, schema, BodyLimits.of(settings))


async def off_loop(request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function whose cost grows with the body: of a large one on a thread that the keys share."""
    # A small body is parsed in less time than a thread takes to wake.
    if _lease(request).held_bytes > OFF_LOOP_BYTES:
        return await service_of(request).parsers.run(function, *args, **kwargs)
    return function(*args, **kwargs)


def hold_bytes(request: Request, num_bytes: int) -> None:
    """Count at least so many bytes as held by the request until it ends. Raises TooManyRequests.

    More than the largest body count as one, so that whoever holds nothing can have them.
    """
    lease = _lease(request)
    counted = min(num_bytes, service_of(request).settings.max_body_bytes)
    # The body that is held already counts towards it.
    lease.add(max(0, counted - lease.held_bytes))


def is_state_file(request: Request) -> bool:
    """Return True if the content type is that of an exported session."""
    return _media_type(request) == STATE_FILE_TYPE


async def read_state_file(request: Request, kind: ModelKind) -> tuple[StateFile, bytes]:
    """The file and its bytes. Raises UnsupportedMedia, TooLarge, or BadRequest for what is wrong in it.

    Nothing is taken in beyond the size that a state of this model and the tokens in the file may have.
    """
    if not is_state_file(request):
        raise UnsupportedMedia(
            f"Send an exported session, with the header 'content-type: {STATE_FILE_TYPE}'."
        )
    _check_encoding(request)
    _check_room(request)
    # Fed as it comes, so that a file of another model is refused at its header.
    reader = StateReader(kind, service_of(request).settings.max_body_bytes)
    async for chunk in _chunks(request):
        reader.feed(chunk)
    return await service_of(request).parsers.run(reader.finish), reader.content


def parse_body(raw: bytes, schema: type[Body], limits: BodyLimits) -> Body:
    """Return the body. Raises BadRequest whose param is the first field at fault, or "body"."""
    # Before parsing, which makes an object in memory of each value.
    if holds_more_values(raw, limits.max_body_values):
        most = limits.max_body_values
        message = f"The body has over {most} values, a list or an object counting as 16: send less."
        raise BadRequest(message, param="body", code="too_many_values")
    try:
        data = from_json(raw)
    except ValueError as error:
        raise BadRequest(
            f"The body is not valid JSON in UTF-8: {error}", param="body", code="invalid_json"
        ) from error
    try:
        return schema.model_validate(data, context=limits._asdict())
    except ValidationError as error:
        raise refusal(error.errors(include_url=False, include_input=False)) from None


def refusal(errors: Sequence[ErrorDetails]) -> BadRequest:
    """Return one clear message for what the validator found; an unknown field comes before other faults."""
    # A misspelled field often causes the other faults, such as a missing one.
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    first = (unknown or list(errors))[0]
    unknown_name = first.get("ctx", {}).get("field")
    param = _dotted(first["loc"] if unknown_name is None else (*first["loc"], unknown_name))
    return BadRequest(_message(first, param), param=param, code=_CODES.get(first["type"]))


_CODES = {
    "extra_forbidden": "unknown_field",
    "missing": "missing_field",
    "thread_unsupported_request": "thread_unsupported_request",
}


def _dotted(location: Sequence[int | str]) -> str:
    """Names and positions; tags of unions ("|text") and of keys ("[key]") are not part of the request."""
    parts = [str(part) for part in location]
    return ".".join(part for part in parts if not part.startswith("|") and part != "[key]")[:200] or "body"


def _message(error: ErrorDetails, param: str) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return f"Unknown field {param!r}: take it out.{_suggestion(context)}"
    if error["type"] == "missing":
        return f"Field {param!r} is missing."
    if error["type"] in ("too_long", "string_too_long") and context.get("max_length") == 0:
        return f"{param}: not supported; leave it out or empty."
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{param}: must be a JSON object."
    return f"{param}: {error['msg']}."


def _suggestion(context: dict[str, Any]) -> str:
    """Return a question about the known field whose name is close to the unknown one, or nothing."""
    # The name may be as long as a body, and comparing takes time with its length.
    name = str(context.get("field", ""))
    close = get_close_matches(name, context.get("known", ()), n=1) if len(name) <= _LONGEST_NAME else []
    return f" Did you mean {close[0]!r}?" if close else ""


def _check_headers(request: Request, max_bytes: int) -> None:
    _, _, parameters = request.headers.get("content-type", "").partition(";")
    if _media_type(request) != "application/json" or _charset(parameters) not in UTF_8:
        raise UnsupportedMedia("Send JSON in UTF-8, with the header 'content-type: application/json'.")
    _check_encoding(request)
    declared = request.headers.get("content-length", "")
    # Refused before a byte of it is read.
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    _check_room(request)


def _charset(parameters: str) -> str:
    """Return the charset that a content type names, else utf-8. JSON has no other parameters."""
    for parameter in parameters.lower().split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset":
            return value.strip().strip("\"'")
    return "utf-8"


def _check_room(request: Request) -> None:
    """Raise TooManyRequests for a body that does not fit, before any of it is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal():
        _lease(request).expect(int(declared))


def _lease(request: Request) -> BodyLease:
    return request_state(request.scope).body_lease()


def _check_encoding(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("Send the body without a content-encoding.")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read(request: Request, max_bytes: int) -> bytes:
    raw = bytearray()
    async for chunk in _chunks(request):
        # The length is checked here too: a chunked body announces none.
        raw += chunk
        if len(raw) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(raw)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """Counted in the budget of bodies until the lease is closed, at the latest at the end of the request."""
    lease = _lease(request)
    try:
        async for chunk in request.stream():
            lease.add(len(chunk))
            yield chunk
    except ClientDisconnect as error:
        raise ClientClosed("The client left while it sent its request.") from error


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {max_bytes} bytes.", param="body")
