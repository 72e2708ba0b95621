"""The page in Chromium against a real server: replies, a fork, a rollback, a pin, and no error."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serve_process import serve_process
from tests.fixtures import tiny_checkpoint

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the dev extra")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium; see `make browser`")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("page")
    with serve_process(tiny_checkpoint(folder / "tiny")) as serve:
        yield serve.url


@pytest.mark.parametrize("width", [320, 1280])
def test_a_person_chats_forks_rolls_back_and_pins(address: str, width: int) -> None:
    faults: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.goto(address)
        for number in (1, 2):
            page.get_by_label("Message", exact=True).fill("the inner thing")
            page.keyboard.press("Enter")
            page.get_by_role("button", name=f"Fork after message {number}").wait_for(timeout=30_000)
        page.get_by_role("button", name="Roll back to message 1").click()
        page.get_by_role("button", name="Fork after message 2").wait_for(state="detached")
        if width < 1080:
            page.get_by_role("button", name="Session and sampling").click()
        page.get_by_label("Name of the pin").fill("here")
        page.get_by_role("button", name="Pin", exact=True).click()
        page.get_by_role("button", name="Go back to here").wait_for()
        if width < 1080:
            page.get_by_role("button", name="Close the panel").click()
        before = page.url
        page.get_by_role("button", name="Fork after message 1").click()
        page.wait_for_url(lambda url: url != before)
        page.get_by_role("button", name="Fork after message 1").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert faults == []
