"""axe finds no violation on the page, in both themes and at both widths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.page_visit import Visit, chromium, visit
from tests.e2e.serve_process import KEY, serve_process
from tests.fixtures import CHAT_TEMPLATE
from tests.scripted_model import scripted_checkpoint

if TYPE_CHECKING:
    from playwright.sync_api import Browser

AXE = Path(__file__).parents[2] / "clients/page/node_modules/axe-core/axe.min.js"
pytestmark = pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: npm ci in clients/page")
REPLY = """## A heading

A paragraph with `code`, **strong**, [a link](https://example.com/) and a list:

1. one
2. two

> a quotation

| name | value |
|---|---|
| a | 1 |

```python
# a comment
class Stack(list):
    def size(self, most=3):
        return "text" if most else None
```
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("axe")
    script = ("<|assistant|>", REPLY, "<|eos|>")
    keys = folder / "keys"
    keys.write_text(f"one:{KEY}\n")
    checkpoint = scripted_checkpoint(folder / "scripted", [script], CHAT_TEMPLATE)
    with serve_process(checkpoint, "--keys-file", str(keys)) as serve:
        yield serve.url


def _assert_accessible(opened: Visit, place: str) -> None:
    opened.page.evaluate(AXE.read_text())
    found = opened.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    violations = [
        (broken["id"], node["html"], node["failureSummary"])
        for broken in found["violations"]
        for node in broken["nodes"]
    ]
    assert violations == [], place
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_nothing(browser: Browser, address: str, width: int, theme: str) -> None:
    size = {"width": width, "height": 800}
    with visit(browser, address, viewport=size, color_scheme=theme, reduced_motion="reduce") as opened:
        page = opened.open(temperature=0)
        page.get_by_label("API key").wait_for()
        _assert_accessible(opened, "the dialog for a key")
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Talk to a model").wait_for()
        _assert_accessible(opened, "a new chat")
        opened.chat("hello")
        page.locator(".reply .keyword").first.wait_for()
        _assert_accessible(opened, "a chat with a reply")
        if width < 1080:
            page.get_by_role("button", name="Session and sampling").click()
        page.get_by_label("Name of the pin").fill("here")
        page.get_by_role("button", name="Pin", exact=True).click()
        page.get_by_role("button", name="Go back to here").wait_for()
        _assert_accessible(opened, "the panel of the session")
        if width < 1080:
            page.get_by_role("button", name="Close the panel").click()
        page.get_by_role("button", name="Edit message 1 and fork").click()
        _assert_accessible(opened, "a message that is edited")
        page.get_by_role("button", name="Cancel").click()
        if width < 820:
            page.get_by_role("button", name="Open the menu").click()
            page.locator("nav").get_by_role("link", name="Memory").wait_for()
            page.wait_for_timeout(250)
            _assert_accessible(opened, "the menu")
        page.locator("nav").get_by_role("link", name="Memory").click()
        page.locator("main").get_by_role("link", name="hello").first.wait_for()
        page.get_by_role("img", name="At ").wait_for()
        _assert_accessible(opened, "the memory")
        # The browser reports the first answer, which asked for a key, by itself.
        opened.faults[:] = [fault for fault in opened.faults if "status of 401" not in fault]
