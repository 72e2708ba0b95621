"""Chats on the page outlive a reload and a killed server, and travel as files."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.page_visit import chromium, visit
from tests.e2e.serve_process import ServeProcess, serve_process
from tests.fixtures import CHAT_TEMPLATE
from tests.scripted_model import scripted_checkpoint

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TOKENS = 4000
"""A reply that is long enough to be interrupted."""
ENDLESS = ("<|assistant|>", " on", " and", " on")
DROP = """async ([name, bytes]) => {
    const files = new DataTransfer()
    files.items.add(new File([new Uint8Array(bytes)], name))
    for (const kind of ['dragenter', 'dragover', 'drop'])
        window.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }))
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Path:
    return scripted_checkpoint(tmp_path_factory.mktemp("page") / "endless", [ENDLESS], CHAT_TEMPLATE)


@pytest.fixture(scope="module")
def address(checkpoint: Path) -> Iterator[str]:
    with serve_process(checkpoint) as serve:
        yield serve.url


def test_an_exported_chat_comes_back_through_the_picker_and_a_drop(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    exported = tmp_path / "chat.safetensors"
    with visit(browser, address) as opened:
        page = opened.open(max_tokens=20, temperature=0)
        opened.chat("the inner thing")
        first = page.url
        with page.expect_download() as download:
            page.get_by_role("button", name="Export").click()
        assert download.value.suggested_filename == "the inner thing.safetensors"
        download.value.save_as(exported)
    with visit(browser, address) as opened:
        page = opened.open()
        page.get_by_label("Session file", exact=True).set_input_files(exported)
        page.wait_for_url(lambda url: "sess_" in url and url != first)
        picked = page.url
        page.get_by_text("tokens read before this page saw the session").click()
        assert "the inner thing" in page.locator(".imported pre").inner_text()
        page.evaluate(DROP, ["chat.safetensors", list(exported.read_bytes())])
        page.wait_for_url(lambda url: url not in (first, picked))
        page.get_by_text("tokens read before this page saw the session").wait_for()
        assert page.locator(".drop").count() == 0
        opened.chat("and then", 2)


def test_a_new_chat_is_a_new_session(browser: Browser, address: str) -> None:
    with visit(browser, address) as opened:
        page = opened.open(max_tokens=4)
        opened.chat("the first")
        first = page.url
        page.get_by_role("link", name="New chat").click()
        page.get_by_role("heading", name="New chat").wait_for()
        assert page.locator("article").count() == 0
        opened.chat("the second")
        assert page.url != first
        page.go_back()
        page.go_back()
        page.locator(".bubble").get_by_text("the first").wait_for()
        assert page.locator("article").count() == 1


def test_a_reload_in_mid_reply_brings_the_whole_reply_once(browser: Browser, address: str) -> None:
    with visit(browser, address) as opened:
        page = opened.open(max_tokens=TOKENS, temperature=0)
        opened.send("the inner thing")
        page.locator(".reply pre, .reply .markdown").wait_for()
        assert page.get_by_role("button", name="Stop the reply").count() == 1
        page.reload()
        page.get_by_role("button", name="Fork after message 1").wait_for()
        assert page.locator("article").count() == 1
        assert page.locator(".bubble").inner_text() == "the inner thing"
        assert page.get_by_text("Turn", exact=True).locator("xpath=../dd").inner_text() == "1"
        # The server may answer that the turn is still running: the page asks again.
        opened.faults[:] = [fault for fault in opened.faults if "status of 409" not in fault]


def test_a_chat_resumes_on_screen_after_the_server_was_killed(
    browser: Browser, checkpoint: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = ("--store", "sqlite", "--data-dir", str(tmp_path / "data"), "--port", port)
    with serve_process(checkpoint, *options) as serve, visit(browser, serve.url) as opened:
        page = opened.open(max_tokens=TOKENS, temperature=0)
        page.get_by_label("Longest reply").fill("20")
        page.keyboard.press("Tab")
        opened.chat("first")
        page.get_by_label("Longest reply").fill(str(TOKENS))
        page.keyboard.press("Tab")
        opened.send("the inner thing")
        page.get_by_role("article", name="Message 2").locator(".reply .markdown").wait_for()
        serve.process.kill()
        page.get_by_text("The server is away").wait_for()
        again = ServeProcess(checkpoint, *options)
        try:
            page.get_by_text("Resumed at turn 2.").wait_for()
            assert page.locator("article").count() == 2
            page.reload()
            page.get_by_role("button", name="Fork after message 2").wait_for()
            assert page.get_by_text("Turn", exact=True).locator("xpath=../dd").inner_text() == "2"
        finally:
            again.process.kill()
            again.process.communicate()
        # The browser reports each request that a dead server did not answer.
        opened.faults[:] = [
            fault for fault in opened.faults if "net::ERR_" not in fault and "status of 503" not in fault
        ]
