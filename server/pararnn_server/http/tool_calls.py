"""Tools of a request to what the model is shown, what its reply may be, and how calls are found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pararnn_server.engine.token_mask import TokenMask
from pararnn_server.errors import BadRequest
from pararnn_server.grammars.specs import JsonObject, JsonSchema
from pararnn_server.grammars.tool_grammar import ANY_OBJECT, schema_of, tool_grammar
from pararnn_server.http.request_context import RequestContext
from pararnn_server.http.structured_output import Form, token_mask
from pararnn_server.tools.call_format import CallFormat
from pararnn_server.tools.tool import Tool, ToolUse, digest_of


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """Tools of one request.

    shown: those in the prompt. call_format: of the calls in the reply; None: it has none.
    token_mask: of the reply; None: it may be anything.
    """

    shown: Sequence[Tool] = ()
    call_format: CallFormat | None = None
    token_mask: TokenMask | None = None


async def tool_plan(context: RequestContext, use: ToolUse, form: Form | None) -> ToolPlan:
    """Return the plan of a request. Raises BadRequest. form: of a reply without calls; None: any text."""
    # This also finds what is wrong in the form, and names its field.
    _check_session(context, use)
    mask: TokenMask | None = await token_mask(context, form)
    if not use.tools:
        return ToolPlan(token_mask=mask)
    calls, shown = context.model.chat.call_format, shown_tools(context, use)
    if calls is None and use.mode != "none" and _shows_tools(context):
        message = "tools: this model writes calls in no format that is known here (--tool-format)."
        raise BadRequest(message, param="tools")
    if calls is None or (use.mode == "none" and form is not None):
        return ToolPlan(shown, token_mask=mask)
    schemas = [] if use.mode == "none" else [_schema_of(use, tool) for tool in use.callable]
    # A recorded answer draws nothing.
    if context.session.repeated is None:
        schema = _reply_schema(calls, form) if use.mode == "auto" else None
        mask = await _compiled(context, use, calls, schemas, schema)
    return ToolPlan(shown, None if use.mode == "none" else calls, mask)


def _check_session(context: RequestContext, use: ToolUse) -> None:
    """Raise BadRequest for tools that a session has not read: its later turns do not show them again."""
    session = context.session
    if session.is_empty or session.repeated is not None or use.mode == "none" or not use.tools:
        return
    if session.tools != digest_of(use.tools):
        message = "tools: this session has not read them: send the tools of its first chat, or a new session."
        raise BadRequest(message, param="tools")


def shown_tools(context: RequestContext, use: ToolUse) -> Sequence[Tool]:
    """Return the tools in the prompt. Where the template shows none, encoding the prompt refuses them."""
    return use.tools if _shows_tools(context) or use.mode != "none" else ()


def _shows_tools(context: RequestContext) -> bool:
    template = context.model.chat.template
    return template is not None and template.tools.shows_tools


def _reply_schema(calls: CallFormat, form: Form | None) -> Mapping[str, Any] | None:
    if form is None:
        return None
    if not isinstance(form.spec, JsonObject | JsonSchema):
        message = f"{form.param}: with tools, the reply can only have the form of JSON; send one of them."
        raise BadRequest(message, param=form.param)
    if not calls.mark:
        message = f"{form.param}: not with tools, which this model calls in plain JSON; send one of them."
        raise BadRequest(message, param=form.param)
    return form.spec.schema if isinstance(form.spec, JsonSchema) else ANY_OBJECT


async def _compiled(
    context: RequestContext,
    use: ToolUse,
    calls: CallFormat,
    schemas: list[Mapping[str, Any]],
    reply_schema: Mapping[str, Any] | None,
) -> TokenMask:
    async def compiled(schemas: Sequence[Mapping[str, Any]]) -> TokenMask:
        grammar = tool_grammar(use, calls, context.model.tokenizer.control_ids, schemas, reply_schema)
        may_end = not context.params.ignore_eos
        return await context.model.grammars.compile(grammar, param="tools", may_end=may_end)

    try:
        return await compiled(schemas)
    except BadRequest:
        # One of the schemas is not supported: which one, and must it be?
        supported = [await _supported(context, use, *each) for each in enumerate(schemas)]
        if supported == schemas:
            raise
    return await compiled(supported)


async def _supported(
    context: RequestContext, use: ToolUse, number: int, schema: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the schema, or that of any object. Raises BadRequest for a strict tool."""
    tool = use.callable[number]
    try:
        await context.model.grammars.compile(JsonSchema(schema), param=_place(use, tool))
    except BadRequest:
        if tool.is_strict:
            raise
        return ANY_OBJECT
    return schema


def _schema_of(use: ToolUse, tool: Tool) -> Mapping[str, Any]:
    try:
        return schema_of(tool.parameters)
    except ValueError as error:
        place = _place(use, tool)
        raise BadRequest(f"{place}.type: {error}.", param=f"{place}.type") from error


def _place(use: ToolUse, tool: Tool) -> str:
    return f"tools.{list(use.tools).index(tool)}.{use.place}parameters"
