"""Builds and runs of the native test programs, one build at a time over all processes."""

import fcntl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent
OWN_BUILD = ROOT / "build" / "native-tests"


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def _build_folder() -> Path:
    """The library's own, whose object files are the ones to be tested, or else one like it."""
    for cache in sorted(ROOT.glob("build/py3-*/CMakeCache.txt")):
        return cache.parent
    _run(TOOLS / "cmake", "-S", "csrc", "-B", OWN_BUILD, "-G", "Ninja",
         f"-DCMAKE_MAKE_PROGRAM={TOOLS / 'ninja'}", f"-DPython_EXECUTABLE={sys.executable}")  # fmt: skip
    return OWN_BUILD


def build(target: str) -> Path:
    """The build folder, which has it now. Fails if it does not build."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / ".tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = _build_folder()
        _run(TOOLS / "cmake", "--build", folder, "--target", target)
    return folder


def run_program(name: str) -> str:
    """Run a test program and return its output. Fails if it cannot be built or does not succeed."""
    return _run(build(name) / name / name)
