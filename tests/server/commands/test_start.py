"""Conditions that a command waits for before it starts."""

import os
import subprocess
import sys

OTHERS = {"httpx", "pararnn_client", "openai", "matplotlib", "sympy", "torch._dynamo"}


def test_serving_imports_no_library_that_it_does_not_use() -> None:
    code = (
        "import sys, pararnn_server.app.process; from pararnn_server.commands.cli import build_app;"
        "build_app(['serve']); print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(done.stdout.split())
    assert {"torch", "fastapi"} <= loaded
    assert not loaded & OTHERS


def test_torchs_threads_sleep_between_operations() -> None:
    """The policy is read when torch is imported: it is set before, unless a person has set it."""
    code = (
        "import os, sys; from pararnn_server.commands import cli; sys.argv = ['pararnn', '--version']\n"
        "assert 'torch' not in sys.modules\n"
        "try: cli.main()\nexcept SystemExit: print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for given, policy in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env=environment | given,
        )
        assert done.stdout.split()[-1] == policy
