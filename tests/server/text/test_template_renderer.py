"""Chat templates run in processes of their own: bounded in time, memory and output, and really ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pararnn_server.text.template_renderer import (
    MAX_PROCESSES,
    TemplateBroken,
    TemplateFailed,
    TemplateLimits,
    TemplateRenderer,
    TemplateTooLarge,
)

LIMITS = TemplateLimits(seconds=0.3, memory_bytes=64 << 20)
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
NESTED = "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}"


@pytest.fixture
def renderer() -> Iterator[TemplateRenderer]:
    renderer = TemplateRenderer(LIMITS)
    yield renderer
    renderer.close()


def children() -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = path.read_text().split(" ", 1)
        except OSError:
            continue
        state, parent = rest.rpartition(") ")[2].split()[:2]
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(pid))
    return found


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10**9 }}",
        "{{ 'a'.center(10**9) }}",
        "{{ '%1000000000d' % 1 }}",
        "{% for i in range(9999) %}{{ 'a' * 10**4 }}{% endfor %}",
        "{% set n = namespace(t='a') %}{% for i in range(99) %}{% set n.t = n.t + n.t %}{% endfor %}",
        ENDLESS,
        "{% macro f(n) %}{% for i in range(9) %}{{ f(n + 1) if n < 9 }}{% endfor %}{% endmacro %}{{ f(0) }}",
        NESTED + "{{ n.l == [n.l] and n.l == n.l[0] }}{{ n.l | tojson }}",
        "{{ (10 ** (10 ** 8)) | string | length }}",
    ],
)
def test_a_template_that_takes_too_much_is_ended_and_its_process_with_it(
    source: str, renderer: TemplateRenderer
) -> None:
    before = children()
    with pytest.raises(TemplateTooLarge, match="--template-seconds"):
        renderer.render(source, [{}])
    assert renderer.render("{{ a }}", [{"a": "still here"}]) == ["still here"]
    assert len(children() - before) <= 1


def test_a_template_that_takes_too_long_keeps_nobody_else_from_working(renderer: TemplateRenderer) -> None:
    def work() -> None:
        with pytest.raises(TemplateTooLarge):
            renderer.render(ENDLESS, [{}])

    thread = threading.Thread(target=work)
    began = time.thread_time()
    thread.start()
    assert renderer.render("a", [{}]) == ["a"]
    thread.join()
    assert time.thread_time() - began < 0.2


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ 'a' + 1 }}", "TypeError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ raise_exception('no system message') }}", "^no system message"),
        ("{{ a.b.c }}", "undefined"),
        ("{{ ''.__class__.__mro__ }}", "unsafe|undefined"),
    ],
)
def test_a_template_fails_in_its_own_words(source: str, words: str, renderer: TemplateRenderer) -> None:
    with pytest.raises(TemplateFailed, match=words):
        renderer.render(source, [{}])


@pytest.mark.parametrize("source", ["{% for %}", "{{ (((", "{% unknown %}", "{{ " + "(" * 20_000])
def test_a_source_that_is_no_template_is_said_to_be_none(source: str, renderer: TemplateRenderer) -> None:
    with pytest.raises((TemplateBroken, TemplateTooLarge)):
        renderer.render(source, [{}])


def test_long_texts_and_all_characters_come_through(renderer: TemplateRenderer) -> None:
    texts = ["é\ud800\U0001f600\x00" * 5, "a" * (3 << 20), ""]
    assert renderer.render("{{ a }}", [{"a": text} for text in texts]) == texts


def test_processes_are_few_and_end_with_their_renderer() -> None:
    before = children()
    renderer = TemplateRenderer(LIMITS)
    threads = [threading.Thread(target=renderer.render, args=("a", [{}])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(children() - before) <= MAX_PROCESSES
    del renderer, threads, thread
    assert children() == before


def test_a_process_that_was_killed_is_replaced(renderer: TemplateRenderer) -> None:
    before = children()
    renderer.warm()
    [process] = children() - before
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    assert renderer.render("a", [{}]) == ["a"]


def test_processes_end_when_the_server_is_killed() -> None:
    script = (
        "import os, signal\nfrom pararnn_server.text.template_renderer import TemplateRenderer\n"
        "r = TemplateRenderer()\nr.render('a', [{}])\nprint(r._idle[0].pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    pid = int(ran.stdout)
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists() or ") Z" in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.02)
    pytest.fail("the process is still there")


def test_a_renderer_needs_none_of_the_servers_libraries() -> None:
    script = "import sys, pararnn_server.text.template_renderer\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"jinja2", "torch", "fastapi"}.isdisjoint(ran.stdout.split())
