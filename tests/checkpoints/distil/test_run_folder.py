import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from checkpoints.distil.background import LOWEST_PRIORITY, rank_session, running_process
from checkpoints.distil.run_folder import RunFolder, read_curve

SAVE_WITHOUT_END = """
import sys, torch
from pathlib import Path
from checkpoints.distil.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
for step in range(1_000_000):
    folder.save({"step": step, "weights": torch.full((200_000,), float(step))})
    print(step, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.011])
def test_a_kill_while_saving_leaves_a_state_that_can_be_read(tmp_path: Path, delay: float) -> None:
    command = [sys.executable, "-c", SAVE_WITHOUT_END, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            seen = int(process.stdout.readline())
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    state = RunFolder(tmp_path).load()
    assert state is not None
    assert state["step"] >= seen
    assert torch.equal(state["weights"], torch.full((200_000,), float(state["step"])))


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.load() is None
    folder.save({"step": 1})
    folder.save({"step": 2})
    folder.state_file.write_bytes(folder.state_file.read_bytes()[:100])
    assert folder.load() == {"step": 1}


def test_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    assert running_process(tmp_path) is None
    folder = RunFolder(tmp_path)
    assert running_process(tmp_path) == os.getpid()
    with pytest.raises(BlockingIOError, match="another process"):
        RunFolder(tmp_path)
    folder.close()
    assert running_process(tmp_path) is None
    RunFolder(tmp_path).close()


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="needs a kernel with autogroups")
def test_training_yields_to_processes_of_other_sessions_too() -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        rank_session(process.pid, LOWEST_PRIORITY)
        group = Path(f"/proc/{process.pid}/autogroup").read_text()
        process.kill()
    assert group.split()[-1] == "19"


def test_a_row_cut_short_is_left_out_of_the_curve(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log({"tokens": 1})
    with folder.curve_file.open("a") as file:
        file.write('{"tokens": 2, "lo')
    assert read_curve(folder.curve_file) == [{"tokens": 1}]
