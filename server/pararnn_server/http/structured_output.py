"""Fields that say what form a reply must have, to grammars."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic_core import from_json

from pararnn_server.errors import BadRequest
from pararnn_server.grammars.grammar_mask import GrammarMask
from pararnn_server.grammars.specs import Choice, Grammar, JsonObject, JsonSchema, Regex, Spec
from pararnn_server.http.request_context import RequestContext
from pararnn_server.http.schemas.structured import FormFields, ResponseFormat, StructuredOutputs, TextFormat

_NAMES = ("json", "json_object", "regex", "choice", "grammar")
# Fields of their own, by the name that each has in `structured_outputs`.
_ALIASES = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "json_schema": "json",
    "grammar": "grammar",
}


class Form(NamedTuple):
    """param: the field that asked for it."""

    spec: Spec
    param: str


def reply_form(body: FormFields) -> Form | None:
    """Return the form that a body asks for; None: any text. Raises BadRequest for two of them."""
    given = [
        form
        for form in (
            _form_of_response_format(body.response_format),
            _form_of_structured_outputs(body.structured_outputs),
            *_forms_of_aliases(body),
        )
        if form is not None
    ]
    if len(given) > 1:
        message = f"{given[1].param}: the reply has the form of {given[0].param} already; send one of them."
        raise BadRequest(message, param=given[1].param)
    return given[0] if given else None


def reply_form_of_text(text_format: TextFormat | None) -> Form | None:
    """Return the form that `text.format` of /v1/responses asks for; None: any text."""
    if text_format is not None and text_format["type"] == "json_schema":
        return Form(JsonSchema(text_format["schema"]), "text.format.schema")
    return _form_of_object(text_format, "text.format")


async def token_mask(context: RequestContext, form: Form | None) -> GrammarMask | None:
    """Return the token mask of a form; None where any text may come. Raises BadRequest."""
    # A recorded answer draws nothing.
    if form is None or context.session.repeated is not None:
        return None
    compiler = context.model.grammars
    may_end = not context.params.ignore_eos
    return await compiler.compile(form.spec, param=form.param, may_end=may_end)


def _form_of_response_format(given: ResponseFormat | None) -> Form | None:
    if given is not None and given["type"] == "json_schema":
        return Form(JsonSchema(given["json_schema"]["schema"]), "response_format.json_schema.schema")
    return _form_of_object(given, "response_format")


def _form_of_object(given: Any, param: str) -> Form | None:
    if given is None or given["type"] == "text":
        return None
    schema = given.get("schema")
    return Form(JsonObject(), param) if schema is None else Form(JsonSchema(schema), f"{param}.schema")


def _form_of_structured_outputs(given: StructuredOutputs | None) -> Form | None:
    if given is None:
        return None
    names = [name for name in _NAMES if given.get(name) is not None]
    if len(names) != 1:
        message = f"structured_outputs: send exactly one of {', '.join(_NAMES)}."
        raise BadRequest(message, param="structured_outputs")
    [name] = names
    return _form_of(name, given.get(name), f"structured_outputs.{name}")


def _forms_of_aliases(body: FormFields) -> list[Form]:
    given = {field: getattr(body, field) for field in _ALIASES}
    return [_form_of(_ALIASES[field], value, field) for field, value in given.items() if value is not None]


def _form_of(name: str, value: Any, param: str) -> Form:
    if name == "json":
        return Form(JsonSchema(_schema(value, param)), param)
    if name == "json_object":
        return Form(JsonObject(), param)
    if name == "regex":
        return Form(Regex(value), param)
    return Form(Choice(value) if name == "choice" else Grammar(value), param)


def _schema(value: dict[str, Any] | str, param: str) -> dict[str, Any]:
    """Return a schema that may be written as text. Raises BadRequest."""
    if isinstance(value, dict):
        return value
    try:
        schema = from_json(value, allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(f"{param}: not valid JSON: {error}.", param=param, code="invalid_json") from error
    if not isinstance(schema, dict):
        raise BadRequest(f"{param}: must be the text of a JSON object.", param=param)
    return schema
