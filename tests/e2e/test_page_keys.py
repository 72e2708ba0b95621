"""The page with API keys, and without a pointer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.e2e.page_visit import Visit, chromium, visit
from tests.e2e.serve_process import serve_process
from tests.fixtures import tiny_checkpoint

if TYPE_CHECKING:
    from playwright.sync_api import Browser

KEYS = {"ada": "ada-secret-0123456789", "bob": "bob-secret-0123456789"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("keys")
    keys = folder / "keys"
    keys.write_text("".join(f"{name}:{key}\n" for name, key in KEYS.items()))
    with serve_process(tiny_checkpoint(folder / "tiny"), "--keys-file", str(keys)) as serve:
        yield serve.url


def _enter(opened: Visit, key: str) -> None:
    opened.page.get_by_label("API key").fill(key)
    opened.page.keyboard.press("Enter")


def _forgive_refusals(opened: Visit) -> None:
    """The browser reports by itself each answer that asks for a key or hides a session."""
    opened.faults[:] = [fault for fault in opened.faults if "status of 40" not in fault]


def test_each_key_sees_its_own_sessions_alone(browser: Browser, address: str) -> None:
    with visit(browser, address) as ada, visit(browser, address) as bob:
        for opened, name in ((ada, "ada"), (bob, "bob")):
            opened.open(max_tokens=10)
            _enter(opened, "no-such-key-0123456789")
            opened.page.get_by_text("The server does not know this key.").wait_for()
            _enter(opened, KEYS[name])
            opened.chat(f"words of {name}")
        chats = ada.page.url, bob.page.url
        for opened, own, foreign in ((ada, "ada", chats[1]), (bob, "bob", chats[0])):
            opened.page.locator("nav").get_by_text(f"words of {own}").wait_for()
            assert opened.page.locator("nav .session").count() == 1
            opened.page.goto(foreign)
            opened.page.get_by_role("heading", name="This session cannot be opened").wait_for()
            opened.page.goto(f"{address}/#/memory")
            opened.page.locator("main").get_by_role("link", name=f"words of {own}").wait_for()
            assert opened.page.locator("main tbody a").count() == 1
            opened.page.goto(f"{address}/#/chat")
            assert not any(key in asked for key in KEYS.values() for asked in opened.asked)
            stored = opened.page.evaluate("JSON.stringify(localStorage)")
            assert not any(key in stored for key in KEYS.values())
            _forgive_refusals(opened)


def _tab_to(opened: Visit, name: str) -> None:
    """Press Tab until the control with this name has the focus."""
    for _ in range(60):
        opened.page.keyboard.press("Tab")
        focused = (
            "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
        )
        if opened.page.evaluate(focused) == name:
            return
    raise AssertionError(f"Tab never reaches {name}")


def test_everything_can_be_reached_by_keyboard_alone(browser: Browser, address: str) -> None:
    with visit(browser, address) as opened:
        page = opened.open(max_tokens=10)
        page.get_by_label("API key").wait_for()
        page.keyboard.type(KEYS["ada"])
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Talk to a model").wait_for()
        page.locator("#message:focus").wait_for()
        for number in (1, 2):
            page.keyboard.type("by keyboard")
            page.keyboard.press("Enter")
            page.get_by_role("button", name=f"Fork after message {number}").wait_for()
        _tab_to(opened, "Name of the pin")
        page.keyboard.type("here")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Go back to here").wait_for()
        page.locator("#message").focus()
        _tab_to(opened, "Roll back to message 1")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Fork after message 2").wait_for(state="detached")
        _tab_to(opened, "Memory")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Memory").wait_for()
        _tab_to(opened, "Tokens")
        page.keyboard.press("Enter")
        page.locator("th[aria-sort=descending]", has_text="Tokens").wait_for()
        _forgive_refusals(opened)
