"""`pararnn serve` as a person starts it: a process that says where it is and ends on SIGTERM."""

import json
import re
import shlex
from pathlib import Path

import httpx

from tests.e2e.serve_process import serve_process
from tests.fixtures import tiny_checkpoint


def test_the_example_that_serve_prints_streams_and_sigterm_ends_it(tmp_path: Path) -> None:
    with serve_process(tiny_checkpoint(tmp_path / "tiny"), "--threads", "1") as serve:
        assert f"tiny is served on {serve.url}" in serve.welcome
        assert re.search(r"1 threads, instruction set level \w+", serve.welcome)

        words = shlex.split(serve.welcome.strip().splitlines()[-1])
        url = next(word for word in words if word.startswith("http"))
        body = json.loads(words[words.index("-d") + 1])
        with httpx.stream("POST", url, json=body, timeout=60) as response:
            assert response.status_code == 200
            assert response.read().rstrip().endswith(b"data: [DONE]")

        assert serve.terminate() == 0
