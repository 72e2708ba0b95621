"""Visits to the page in Chromium that notice every fault and every address that is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. The test is skipped where it, or Playwright, is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the dev extra")
    if CHROMIUM is None:
        pytest.skip("needs chromium; see `make browser`")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """One person's window: `page`, with the faults that it met and the addresses that it asked for."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda line: line.type == "error" and self.faults.append(line.text))
        self.page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, path: str = "/", **sampling: Any) -> Page:
        """Load the page; sampling: settings that the person has made before."""
        self.page.goto(self.url)
        if sampling:
            self.page.evaluate(
                "made => localStorage.setItem('pararnn-sampling', JSON.stringify(made))", sampling
            )
            self.page.reload()
        self.page.goto(self.url + path)
        return self.page

    def send(self, text: str) -> None:
        """Write a message and send it."""
        self.page.get_by_label("Message", exact=True).fill(text)
        # Until the server is reached, Enter sends nothing.
        self.page.locator("button[aria-label=Send]:enabled").wait_for()
        self.page.keyboard.press("Enter")

    def chat(self, text: str, number: int = 1) -> None:
        """Send message `number` and wait for the end of its reply."""
        self.send(text)
        self.page.get_by_role("button", name=f"Fork after message {number}").wait_for()

    def assert_calm(self) -> None:
        """Assert that nothing failed, and that no host but the server was asked."""
        assert self.faults == []
        own = (self.url, f"blob:{self.url}", "data:image/")
        assert [address for address in self.asked if not address.startswith(own)] == []

    def close(self) -> None:
        self.context.close()


@contextmanager
def visit(browser: Browser, url: str, **options: Any) -> Iterator[Visit]:
    """A window of its own, without the memory of any other. It must be calm at the end."""
    opened = Visit(browser, url, **options)
    try:
        yield opened
        opened.assert_calm()
    finally:
        opened.close()
