"""`make serve`: it fetches the chat model, and its last line and exit status are the servers."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = {"PARARNN_CHECKPOINT", "PARARNN_CHECKPOINT_DIR"}


def make_serve(
    folder: Path,
    arguments: str,
    *,
    fetched: int = 0,
    served: int = 0,
    prefix: tuple[str, ...] = (),
    **env: str,
) -> subprocess.CompletedProcess[str]:
    """Run `make serve` with a program that shows its arguments and ends with these codes."""
    program = folder / "pararnn"
    program.write_text(
        '#!/bin/sh\necho "pararnn: $*" >&2\necho output\n'
        f'if [ "$1" = fetch-model ]; then exit {fetched}; fi\nexit {served}\n'
    )
    program.chmod(0o755)
    make = ["make", "--no-print-directory", "--old-file=.venv/.installed", f"BIN={folder}"]
    return subprocess.run(
        [*prefix, *make, "serve", f"ARGS={arguments}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={name: value for name, value in os.environ.items() if name not in VARIABLES} | env,
    )


@pytest.mark.parametrize(
    "prefix", [(), ("sh", "-c", "trap '' PIPE; exec \"$@\"", "sh")], ids=["", "PIPE ignored"]
)
@pytest.mark.parametrize("code", [0, 1])
def test_make_ends_with_the_servers_last_line(prefix: tuple[str, ...], code: int, tmp_path: Path) -> None:
    done = make_serve(tmp_path, "--port 8001", served=code, prefix=prefix)
    if prefix and code:
        # No signal reaches make then, and it says the error in its own way.
        assert done.returncode == 2
        return
    assert (done.returncode, done.stdout) == (-signal.SIGPIPE if code else 0, "output\n")
    assert done.stderr == "pararnn: fetch-model chat\npararnn: serve --port 8001\n"


def test_without_the_chat_model_the_server_starts(tmp_path: Path) -> None:
    done = make_serve(tmp_path, "", fetched=1)
    assert (done.returncode, done.stdout) == (0, "output\n")
    assert done.stderr.splitlines()[-1].strip() == "pararnn: serve"


def test_an_interrupt_of_the_download_is_the_end(tmp_path: Path) -> None:
    done = make_serve(tmp_path, "", fetched=130)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "pararnn: fetch-model chat\n")


@pytest.mark.parametrize("named", ["argument", *sorted(VARIABLES)])
def test_with_a_checkpoint_nothing_is_fetched(named: str, tmp_path: Path) -> None:
    arguments = "--checkpoint mine" if named == "argument" else ""
    done = make_serve(tmp_path, arguments, **({} if arguments else {named: "mine"}))
    assert done.stderr.strip() == f"pararnn: serve {arguments}".strip()
