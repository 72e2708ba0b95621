"""Training as a background process: start, stop and status."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from checkpoints.distil.run_folder import LOCK_FILE, PROCESS_FILE

# Threads that wait for each other sleep, so that they leave cores to other programs.
# Freed memory is kept. Giving it back to the system after every step costs a fifth of the time.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
}
STOP_SECONDS = 300
LOWEST_PRIORITY = 19


def running_process(run: Path) -> int | None:
    """Return the process that trains in the folder if the folder's lock is held, else None."""
    try:
        with (run / LOCK_FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return int((run / PROCESS_FILE).read_text())
    return None


def rank_session(process: int, niceness: int) -> None:
    """Set the priority of the process's session, because `nice` works only within a session."""
    # A kernel may lack the file, a container may show it read-only, and only root may raise a priority.
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/autogroup").write_text(str(niceness))


def start(run: Path, arguments: list[str]) -> int:
    """Start `python -m checkpoints.distil train` as a separate process at the lowest priority."""
    run.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-u", "-m", "checkpoints.distil", "train", *arguments]
    with (run / "train.log").open("a") as log:
        process = subprocess.Popen(
            ["nice", "-n", str(LOWEST_PRIORITY), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={"TORCHINDUCTOR_CACHE_DIR": str(run.parent / "compiled"), **os.environ, **ENVIRONMENT},
        )
    rank_session(process.pid, LOWEST_PRIORITY)
    return process.pid


def stop(run: Path) -> bool:
    """Make the process save and end, and wait for it. Returns False if none runs; raises TimeoutError."""
    process = running_process(run)
    if process is None:
        return False
    os.kill(process, signal.SIGTERM)
    # At the lowest priority the current step could last minutes on a busy machine.
    rank_session(process, 0)
    end = time.monotonic() + STOP_SECONDS
    while running_process(run) is not None:
        if time.monotonic() > end:
            raise TimeoutError(f"process {process} has not ended after {STOP_SECONDS} s")
        time.sleep(0.2)
    return True
