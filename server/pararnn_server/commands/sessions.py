"""`pararnn sessions`: what a server keeps, and sessions as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pararnn_client import PararnnClient, PararnnError, Session

from pararnn_server.commands.failure import CommandFailed, one_line_errors
from pararnn_server.commands.options import CONTEXT, EPILOG, option, path_argument
from pararnn_server.metrics.units import as_bytes, as_time

HERE = "http://127.0.0.1:8000"
PAGE = 1000
Url = Annotated[str, option("The server's address.", env="URL")]
Key = Annotated[str | None, option("Key for the server, where it wants one.", env="API_KEY")]
SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session.")]

sessions = typer.Typer(
    help="List, inspect, fork, export, import and remove the sessions of a server.",
    no_args_is_help=True,
    context_settings=CONTEXT,
    epilog=EPILOG,
)


@sessions.command("list", context_settings=CONTEXT)
@one_line_errors(PararnnError)
def list_sessions(url: Url = HERE, api_key: Key = None) -> None:
    """List all sessions of the key, each with its memory."""
    with PararnnClient(url, api_key=api_key) as client:
        page = client.sessions.list(limit=PAGE)
        typer.echo(f"{'id':37} {'turn':>6} {'tokens':>9} {'state':>10} {'tier':6} parent")
        # By `last_id`, not by the data: a page may hold damaged sessions only.
        while last := page.raw["last_id"]:
            for session in page.data:
                typer.echo(_line(session))
            for damaged in page.raw.get("damaged", ()):
                typer.echo(f"{damaged:37} damaged: it can only be removed", err=True)
            page = client.sessions.list(limit=PAGE, after=last)
        for tier, total in page.raw["totals"].items():
            typer.echo(f"{tier}: {total['sessions']} sessions, {as_bytes(total['state_bytes'])}", err=True)


@sessions.command(context_settings=CONTEXT)
@one_line_errors(PararnnError)
def show(session_id: SessionId, url: Url = HERE, api_key: Key = None) -> None:
    """One session: where it is, what it costs, its last turns and its snapshots."""
    with PararnnClient(url, api_key=api_key) as client:
        session = client.sessions.get(session_id)
    typer.echo(f"{session.id} of {session.model}, {session.num_tokens} tokens in {session.turn} turns")
    typer.echo(f"  used      {as_time(session.last_used_at)}, ends {as_time(session.expires_at)}")
    memory = session.raw["memory"].items()
    typer.echo("  states    " + ", ".join(f"{tier} {as_bytes(size)}" for tier, size in memory))
    typer.echo(f"  log       {as_bytes(session.history_bytes)}")
    for name, snapshot in session.raw["snapshots"].items():
        typer.echo(f"  snapshot  {name}: turn {snapshot['turn']}, {snapshot['num_tokens']} tokens")
    for turn in session.raw["turns"][-10:]:
        counts = f"{turn['prompt_tokens']} in, {turn['completion_tokens']} out"
        typer.echo(f"  turn {turn['turn']:<4} {as_time(turn['created_at'])}  {counts}")


@sessions.command(context_settings=CONTEXT)
@one_line_errors(PararnnError)
def fork(session_id: SessionId, url: Url = HERE, api_key: Key = None) -> None:
    """Create a session that continues from the same point; print its id."""
    with PararnnClient(url, api_key=api_key) as client:
        typer.echo(client.sessions.fork(session_id).id)


@sessions.command("export", context_settings=CONTEXT)
@one_line_errors(PararnnError)
def export_session(
    session_id: SessionId,
    file: Annotated[Path, path_argument("Where to, as safetensors.", "FILE")],
    tokens: Annotated[bool, option("With the token log.", "--tokens")] = False,
    url: Url = HERE,
    api_key: Key = None,
) -> None:
    """The session as a file, for this server or another of the same model."""
    with PararnnClient(url, api_key=api_key) as client:
        data = client.sessions.export(session_id, tokens=tokens)
    try:
        file.write_bytes(data)
    except OSError as error:
        raise CommandFailed(f"cannot write {file}: {error.strerror}") from error
    typer.echo(f"{file}: {as_bytes(len(data))}", err=True)


@sessions.command("import", context_settings=CONTEXT)
@one_line_errors(PararnnError)
def import_session(
    file: Annotated[Path, path_argument("Of an export.", "FILE")],
    url: Url = HERE,
    api_key: Key = None,
) -> None:
    """A new session out of an exported file; prints its id."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CommandFailed(f"cannot read {file}: {error.strerror}") from error
    with PararnnClient(url, api_key=api_key) as client:
        typer.echo(client.sessions.import_new(data).id)


@sessions.command(context_settings=CONTEXT)
@one_line_errors(PararnnError)
def rm(
    session_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The sessions.")],
    url: Url = HERE,
    api_key: Key = None,
) -> None:
    """Forget sessions; a running reply ends."""
    with PararnnClient(url, api_key=api_key) as client:
        for session_id in session_ids:
            client.sessions.delete(session_id)


def _line(session: Session) -> str:
    sizes = f"{session.turn:>6} {session.num_tokens:>9} {as_bytes(session.state_bytes):>10}"
    return f"{session.id:37} {sizes} {session.tier or '':6} {session.parent_id or ''}".rstrip()
