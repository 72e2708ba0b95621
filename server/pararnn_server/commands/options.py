"""Settings -> command-line options: each is an option and PARARNN_<NAME>, written once in `settings`."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from pararnn_server.access.keys import ConfigurationError
from pararnn_server.settings.environment import PREFIX, option_name, variable
from pararnn_server.settings.paths import printable, user_path
from pararnn_server.settings.server_settings import Settings

# Of every command: the prefix makes each option PARARNN_<OPTION> too.
CONTEXT = {"auto_envvar_prefix": PREFIX.removesuffix("_"), "help_option_names": ["-h", "--help"]}
EPILOG = "Every option is also an environment variable: --dtype is PARARNN_DTYPE, and so on."

# The first field of each group of the help, in the order of Settings.
PANELS = {
    "checkpoint": "Model",
    "host": "Address",
    "max_num_seqs": "Load",
    "max_prompt_tokens": "Limits of one request",
    "max_sessions": "Sessions",
    "key_max_requests": "Limits of one key",
    "monitor_interval_seconds": "Streams",
    "keys_file": "Access",
}
# Pydantic says each of these twice in one sentence.
_PLAIN = {
    "int_parsing": "must be an integer",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
}
_SHOWN = 60
_METAVARS: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "PATH", SecretStr: "TEXT", str: "TEXT"}


def option(help_text: str, *names: str, env: str | None = None, **details: Any) -> Any:
    """typer.Option without the environment variable in its help: the epilog says how it is named.

    env: its name without the prefix, where that is not the parameter's.
    """
    envvar = None if env is None else variable(env)
    return typer.Option(*names, help=help_text, show_envvar=False, envvar=envvar, **details)


def path_option(help_text: str, *names: str, metavar: str = "PATH", env: str | None = None) -> Any:
    """`option` for a path, in which a leading ~ is expanded."""
    return option(help_text, *names, env=env, parser=_path, metavar=metavar)


def path_argument(help_text: str, metavar: str | None = None) -> Any:
    """typer.Argument for a path, in which a leading ~ is expanded."""
    return typer.Argument(help=help_text, parser=_path, metavar=metavar)


def takes_settings(command: Callable[[Settings], None]) -> Callable[..., None]:
    """A command of one Settings -> the same command with one option per field.

    A value is checked by Settings alone; what it refuses is a ConfigurationError that names the option.
    """

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        command(read_settings(given))

    parameters = list(settings_options())
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    # Typer takes types from the annotations, not from the signature.
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


def read_settings(given: Mapping[str, Any]) -> Settings:
    """given: values by field; None leaves the field to PARARNN_<NAME> or its default."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise ConfigurationError("; ".join(_complaint(each) for each in error.errors())) from None


def settings_options() -> Iterator[inspect.Parameter]:
    """The option of each field, as a parameter that typer reads."""
    panel = ""
    for name, field in Settings.model_fields.items():
        panel = PANELS.get(name, panel)
        yield _settings_option(name, field, panel)


def _settings_option(name: str, field: FieldInfo, panel: str) -> inspect.Parameter:
    flag = field.annotation is bool
    details = option(
        field.description or "",
        rich_help_panel=panel,
        metavar=None if flag else metavar(field.annotation),
        show_default=field.default not in (None, ()),
    )
    # Text, because only Settings checks values: Typer's own errors do not name the variable.
    kind = Annotated[bool | None, details] if flag else Annotated[str | None, details]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_as_text(field), annotation=kind)


def metavar(annotation: Any) -> str:
    """Return the name that the help shows for the kind of value."""
    if get_origin(annotation) in (Union, types.UnionType):
        return metavar(next(each for each in get_args(annotation) if each is not type(None)))
    if get_origin(annotation) is Literal:
        return f"[{'|'.join(get_args(annotation))}]"
    if get_origin(annotation) is tuple:
        return "LIST"
    return _METAVARS[annotation]


def _as_text(field: FieldInfo) -> str | bool | None:
    if field.default is None or field.default == ():
        return None
    if isinstance(field.default, float):
        # A default of 75.0 is shown as 75.
        return f"{field.default:.15g}"
    return field.default if isinstance(field.default, bool) else str(field.default)


def _complaint(error: Mapping[str, Any]) -> str:
    """One error of pydantic as a line; one of several fields together names them itself."""
    message = _PLAIN.get(error["type"], error["msg"]).removeprefix("Value error, ")
    if error["type"] in _PLAIN:
        message += f", not {printable(str(error['input']))[:_SHOWN]!r}"
    return ": ".join([*(option_name(str(field)) for field in error["loc"][:1]), message])


def _path(text: str) -> Path:
    try:
        return user_path(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
