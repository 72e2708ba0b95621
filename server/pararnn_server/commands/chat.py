"""`pararnn chat`: talk to a model in the terminal, in this process or on a server."""

from __future__ import annotations

import contextlib
from typing import Annotated, Literal

import typer
from pararnn_client import PararnnClient, PararnnError
from pararnn_client.connection import parse_url, shown

from pararnn_server.commands.chat_loop import ChatLoop
from pararnn_server.commands.conversation import Conversation
from pararnn_server.commands.failure import one_line_errors
from pararnn_server.commands.local_chat import LocalConversation
from pararnn_server.commands.options import option, read_settings
from pararnn_server.commands.progress import ByteProgress
from pararnn_server.commands.remote_chat import RemoteConversation
from pararnn_server.commands.sampling_options import ChatSampling
from pararnn_server.commands.serve import described
from pararnn_server.metrics.units import as_bytes
from pararnn_server.models.loading import load
from pararnn_server.models.startup import read_chat_template
from pararnn_server.settings.paths import printable
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.chat_prompt import ChatPrompts


@one_line_errors(PararnnError)
def chat(
    checkpoint: Annotated[
        str | None, option("Directory or name; default: the one that `serve` would take.")
    ] = None,
    url: Annotated[str | None, option("Talk to the server at this address and load no model here.")] = None,
    api_key: Annotated[str | None, option("Key for that server, where it wants one.")] = None,
    raw: Annotated[
        bool, option("Continue text, without a chat template: best for models of plain text.", "--raw")
    ] = False,
    system: Annotated[str | None, option("System message that opens a chat.")] = None,
    max_tokens: Annotated[int, option("Longest reply, in tokens.", min=1)] = 512,
    temperature: Annotated[
        float, option("0 takes the likeliest token; 1 samples as the model was trained.", min=0)
    ] = 0.7,
    top_p: Annotated[
        float, option("Keep the fewest tokens that hold this much.", min=0, max=1, metavar="0..1")
    ] = 0.95,
    top_k: Annotated[int, option("Keep this many likeliest tokens; 0 keeps all.", min=0)] = 0,
    min_p: Annotated[
        float, option("Keep tokens this fraction as likely as the likeliest.", min=0, max=1, metavar="0..1")
    ] = 0.0,
    repetition_penalty: Annotated[
        float, option("Above 1 makes tokens of the conversation less likely.", min=0.01)
    ] = 1.0,
    seed: Annotated[int | None, option("Same seed, same replies; default: random.", min=0)] = None,
    threads: Annotated[int, option("Threads of a local model; 0 means one per core.", min=0)] = 0,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"], option("Weight type of a local model.")
    ] = "auto",
) -> None:
    """Talk to a model in the terminal, in this process or (--url) on a server.

    Replies stream to standard output; after each, its speed and the session's size go to standard error.
    In the chat: /reset, /state, /help, /quit. Ctrl-C ends a reply, not the program.
    """
    system = None if system is None else printable(system)
    sampling = ChatSampling(max_tokens, temperature, top_p, top_k, min_p, repetition_penalty, seed)
    with contextlib.ExitStack() as end:
        if url is not None:
            client = end.enter_context(PararnnClient(url, api_key=api_key))
            remote = _remote(client, url, sampling, raw=raw, system=system)
            end.callback(_tell_deletion, remote)
            conversation: Conversation = remote
        else:
            settings = read_settings({"checkpoint": checkpoint, "threads": threads, "dtype": dtype})
            conversation = _local(settings, sampling, raw=raw, system=system)
        end.callback(conversation.close)
        ChatLoop(conversation).run()


def _remote(
    client: PararnnClient, url: str, sampling: ChatSampling, *, raw: bool, system: str | None
) -> RemoteConversation:
    conversation = RemoteConversation(client, sampling, raw=raw, system=system)
    _greet(f"{conversation.model} at {shown(parse_url(url))}", conversation, raw=raw)
    return conversation


def _tell_deletion(conversation: RemoteConversation) -> None:
    if conversation.is_deleted:
        typer.echo("(the session of this chat was deleted from the server)", err=True)


def _local(settings: Settings, sampling: ChatSampling, *, raw: bool, system: str | None) -> LocalConversation:
    with ByteProgress("loading") as progress:
        loaded = load(settings, progress)
    template = read_chat_template(loaded)
    if template is None and not raw:
        typer.echo("this model has no chat template: it continues your text, as with --raw", err=True)
    prompts = None if raw or template is None else ChatPrompts(loaded.tokenizer, template)
    conversation = LocalConversation(
        loaded.model,
        loaded.tokenizer,
        sampling,
        chat=prompts,
        system=system,
        stop_token_ids=loaded.stop_token_ids,
    )
    _greet(f"{loaded.name}, {described(loaded.model.config)}", conversation, raw=prompts is None)
    return conversation


def _greet(model: str, conversation: Conversation, *, raw: bool) -> None:
    what = "It continues your text" if raw else "Say something"
    size = as_bytes(conversation.facts().state_bytes)
    typer.echo(f"{model}; a session takes {size}, however long. {what}; /help lists commands.", err=True)
