"""Torch, and nothing else, comes from TORCH_INDEX_URL where it is set."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INDEX = "https://torch.example/cpu"


def pip_installs(*variables: str) -> list[str]:
    """Return the arguments of each `pip install` of a fresh set-up, without running one."""
    command = ["make", "--dry-run", "--always-make", "BIN=bin", *variables, "install"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    return [line.partition("pip install ")[2] for line in lines if "pip install " in line]


def test_torch_comes_from_the_index_that_is_named() -> None:
    torch, *others = pip_installs(f"TORCH_INDEX_URL={INDEX}")
    assert torch.split() == ["--index-url", f'"{INDEX}"', '"torch>=2.11,<2.14"']
    assert others
    assert not any(INDEX in line for line in others)


def test_pips_own_index_is_the_default() -> None:
    installs = pip_installs("TORCH_INDEX_URL=")
    assert installs[0].split() == ['"torch>=2.11,<2.14"']
    assert not any("--index-url" in line for line in installs)
