"""Titles, replies and names of files that an attacker wrote are text on the page, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.page_visit import Visit, chromium, visit
from tests.e2e.serve_process import serve_process
from tests.fixtures import CHAT_TEMPLATE
from tests.scripted_model import scripted_checkpoint

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCRIPT = "<script>document.title='stolen'</script>"
IMAGE = "<img src=x onerror=\"document.title='stolen'\">"
REPLY = "\n".join(
    (
        SCRIPT,
        "",
        IMAGE,
        "",
        "[a](javascript:document.title='stolen') [b](JaVaScRiPt:alert(1)) [c](data:text/html,<b>x</b>)",
        "[d](vbscript:x) [e](java\tscript:alert(1)) <javascript:alert(1)> [f](//evil.example/f)",
        '![picture](https://evil.example/picture.png) ![p](http://evil.example/?q=1 "t\' onload=alert(1)")',
        "[g](https://evil.example/page)",
        "",
        "<style>@import url(https://evil.example/style.css)</style>",
        "<iframe src=https://evil.example/></iframe><form action=https://evil.example/><input></form>",
        "<a href=javascript:alert(1)>h</a> <svg onload=alert(1)>",
        "",
        '```html"><img src=x onerror=alert(1)>',
        IMAGE,
        "```",
        "",
        f"| {IMAGE} | {SCRIPT} |",
        "|---|---|",
        "| [i](javascript:alert(1)) | `<b>` |",
        "",
        '[j]: javascript:alert(1) "x"',
        "[j]",
        "end of the reply",
    )
)
"""Markdown that would run, fetch or send something if any of it became markup."""
FOREIGN = "script, img, iframe, form[action], style, link, svg[onload], object, embed, base, meta"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    """A server whose model answers every message with REPLY."""
    folder = tmp_path_factory.mktemp("hostile")
    script = ("<|assistant|>", REPLY, "<|eos|>")
    with serve_process(scripted_checkpoint(folder / "scripted", [script], CHAT_TEMPLATE)) as serve:
        yield serve.url


def _assert_nothing_ran(opened: Visit) -> None:
    opened.page.wait_for_timeout(200)
    assert opened.page.title() == "pararnn"
    assert (
        opened.page.locator(f"main :is({FOREIGN}), nav li :is({FOREIGN}), .notices :is({FOREIGN})").count()
        == 0
    )


def test_a_reply_of_the_model_never_becomes_markup(browser: Browser, address: str) -> None:
    with visit(browser, address) as opened:
        page = opened.open(temperature=0)
        opened.chat("hi")
        page.get_by_text("end of the reply").wait_for()
        _assert_nothing_ran(opened)
        assert page.locator(".reply a").evaluate_all("all => all.map(a => a.getAttribute('href'))") == [
            "https://evil.example/page"
        ]
        assert page.locator(".reply a").get_attribute("rel") == "noopener noreferrer nofollow"
        assert SCRIPT in page.locator(".reply").inner_text()
        # The texts come from the database of the browser after this.
        page.reload()
        page.get_by_text("end of the reply").wait_for()
        _assert_nothing_ran(opened)


def test_a_message_of_a_person_never_becomes_markup(browser: Browser, address: str) -> None:
    with visit(browser, address) as opened:
        page = opened.open(temperature=0)
        opened.chat(IMAGE + SCRIPT)
        assert page.locator(".bubble").inner_text() == IMAGE + SCRIPT
        _assert_nothing_ran(opened)


def test_titles_and_metadata_never_become_markup(browser: Browser, address: str) -> None:
    titles = (
        SCRIPT + IMAGE,
        '" onfocus=alert(1) autofocus x="',
        "{@html 1}{{constructor}}",
        "W" * 400,
    )
    made = []
    for title in titles:
        body = {"metadata": {"title": title, IMAGE[:60]: SCRIPT}}
        made.append(httpx.post(f"{address}/v1/sessions", json=body).raise_for_status().json()["id"])
    with visit(browser, address) as opened:
        for session in made:
            page = opened.open(f"/#/chat/{session}")
            page.get_by_label("Title of the session").wait_for()
            _assert_nothing_ran(opened)
        page = opened.open("/#/memory")
        page.locator("main").get_by_role("link", name=SCRIPT).wait_for()
        _assert_nothing_ran(opened)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for session in made:
        httpx.delete(f"{address}/v1/sessions/{session}").raise_for_status()


def test_an_address_that_names_no_session_is_not_opened(browser: Browser, address: str) -> None:
    with visit(browser, address) as opened:
        page = opened.open(f"/#/chat/{IMAGE}")
        page.get_by_role("heading", name="New chat").wait_for()
        page.goto(f"{address}/#/chat/../../v1/monitor")
        page.get_by_role("heading", name="New chat").wait_for()
        _assert_nothing_ran(opened)
        assert not any("onerror" in asked for asked in opened.asked)


def test_names_of_files_never_become_markup_or_paths(browser: Browser, address: str, tmp_path: Path) -> None:
    session = httpx.post(
        f"{address}/v1/sessions", json={"text": "abc", "metadata": {"title": f"../../{SCRIPT}\\..:x"}}
    ).json()["id"]
    with visit(browser, address) as opened:
        page = opened.open(f"/#/chat/{session}")
        with page.expect_download() as download:
            page.get_by_role("button", name="Export").click()
        assert "/" not in download.value.suggested_filename
        assert not download.value.suggested_filename.startswith(".")
        exported = tmp_path / "exported"
        download.value.save_as(exported)
        hostile = f"{IMAGE[:40]}.safetensors".replace("/", "_")
        for name, content in (
            (hostile, exported.read_bytes()),
            (f"no{hostile}", b"<script>alert(1)</script>"),
        ):
            file = {"name": name, "mimeType": "text/html", "buffer": content}
            page.get_by_label("Session file", exact=True).set_input_files(file)
        page.get_by_text(f"Imported {hostile}").wait_for()
        page.locator(".notice.error").wait_for()
        _assert_nothing_ran(opened)
        # The browser reports the refusal of the second file by itself.
        opened.faults[:] = [fault for fault in opened.faults if "status of 4" not in fault]
