"""The page at /: browsers get it, clients of the interface do not, and it names no other host."""

import re
from collections.abc import Iterator

import httpx
import pytest
from pararnn_server.app.page import BUILT
from pararnn_server.models.loading import Loaded

from tests.server.http_server import HttpServer, serving

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
ASSETS = sorted(f"/assets/{path.name}" for path in (BUILT / "assets").iterdir())
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@pytest.fixture(scope="module")
def keyed(loaded: Loaded) -> Iterator[HttpServer]:
    with serving(loaded, api_keys="ada:ada-secret-0123456789") as server:
        yield server


def policy(answer: httpx.Response) -> dict[str, list[str]]:
    parts = [part.split() for part in answer.headers["content-security-policy"].split(";")]
    return {name: sources for name, *sources in parts}


def test_a_browser_gets_the_page_without_a_key(keyed: HttpServer) -> None:
    answer = keyed.get("/", headers=BROWSER)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "x-request-id" in answer.headers
    assert answer.headers["vary"] == "accept"


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html;q=0, application/json", ""])
def test_a_client_of_the_interface_gets_the_error_it_knows(keyed: HttpServer, accept: str) -> None:
    answer = keyed.get("/", headers={"accept": accept, "authorization": "Bearer ada-secret-0123456789"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_path"


@pytest.mark.parametrize("path", ASSETS)
def test_files_have_their_type_and_no_other(keyed: HttpServer, path: str) -> None:
    answer = keyed.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == TYPES[path[path.rindex(".") :]]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_policy_lets_in_nothing_inline_and_no_other_host(keyed: HttpServer) -> None:
    found = policy(keyed.get("/", headers=BROWSER))
    assert found["default-src"] == ["'none'"]
    assert found["script-src"] == found["style-src"] == found["connect-src"] == ["'self'"]
    assert found["frame-ancestors"] == found["base-uri"] == found["form-action"] == ["'none'"]
    assert found["require-trusted-types-for"] == ["'script'"]


def test_the_page_has_no_inline_script_style_or_address_of_another_host() -> None:
    text = (BUILT / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|https?:|//", text) == []
    assert set(re.findall(r'(?:src|href)="([^"]+)"', text)) <= {f".{path}" for path in ASSETS}


@pytest.mark.parametrize("path", ["/", "/assets/app.js"])
def test_a_known_file_is_not_sent_again(keyed: HttpServer, path: str) -> None:
    tag = keyed.get(path, headers=BROWSER).headers["etag"]
    assert tag.startswith('"')
    for known in (tag, f'"other", W/{tag}', "*"):
        again = keyed.get(path, headers={**BROWSER, "if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert keyed.get(path, headers={**BROWSER, "if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/assets/app.css" if "/assets/app.css" in ASSETS else ASSETS[0]])
def test_head_has_the_headers_of_get(keyed: HttpServer, path: str) -> None:
    whole, head = keyed.get(path, headers=BROWSER), keyed.http.head(path, headers=BROWSER)
    assert (head.status_code, head.content) == (200, b"")
    changing = {"date", "x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in changing} == {
        k: v for k, v in whole.headers.items() if k not in changing
    }


@pytest.mark.parametrize(
    "path",
    ["/assets", "/assets/", "/assets/..%2f..%2fapp.py", "/assets/%2e%2e/index.html", "/index.html", "/ui/"],
)
def test_no_folder_is_listed_and_no_other_file_is_sent(keyed: HttpServer, path: str) -> None:
    key = {"authorization": "Bearer ada-secret-0123456789"}
    answer = keyed.get(path, headers={**BROWSER, **key})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"


def test_files_take_get_alone(keyed: HttpServer) -> None:
    refused = keyed.post("/assets/app.js", {})
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET, HEAD, OPTIONS"
    assert keyed.http.options("/assets/app.js").headers["allow"] == "GET, HEAD, OPTIONS"


def test_the_page_can_be_turned_off(loaded: Loaded) -> None:
    with serving(loaded, page=False) as server:
        for path in ("/", "/assets/app.js"):
            assert server.get(path, headers=BROWSER).status_code == 404


def test_a_page_of_another_site_changes_nothing(loaded: Loaded) -> None:
    evil = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    with serving(loaded) as server:
        session = server.create_session(text="the")
        before = server.get(f"/v1/sessions/{session}").json()
        # Without a preflight a page can send these types alone.
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            headers = {**evil, "content-type": kind}
            for path in ("/v1/sessions", f"/v1/sessions/{session}/append", "/v1/completions"):
                answer = server.http.post(path, headers=headers, content=b'{"text": "the", "prompt": "the"}')
                assert answer.status_code == 415, (path, kind)
                assert "access-control-allow-origin" not in answer.headers
        asked = {**evil, "access-control-request-method": "DELETE"}
        assert server.http.options(f"/v1/sessions/{session}", headers=asked).status_code == 403
        after = server.get(f"/v1/sessions/{session}").json()
        assert (after["turn"], after["num_tokens"]) == (before["turn"], before["num_tokens"])
        assert len(server.get("/v1/sessions").json()["data"]) == 1
        # A name that an attacker points at this machine.
        rebound = server.get("/v1/sessions", headers={"host": "evil.example"})
        assert rebound.status_code == 400
