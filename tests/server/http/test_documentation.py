"""docs/api.md is read: what it lists is what the code does."""

import re
from pathlib import Path

import pytest
from pararnn_server.http.schemas.base import RequestBody
from pararnn_server.http.schemas.chat import ChatHonoured, ChatNeutral, ChatRequest
from pararnn_server.http.schemas.completions import CompletionHonoured, CompletionNeutral, CompletionRequest
from pararnn_server.http.schemas.generation import RecordedFields
from pararnn_server.http.schemas.responses import ResponseHonoured, ResponseNeutral, ResponseRequest

from tests.server.http_server import HttpServer

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text()


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", TEXT, re.M | re.S)
    assert found, f"docs/api.md has no section {title!r}"
    return found[1]


def listed(title: str, route: str) -> list[str]:
    """Fields that a list gives to a route."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", section(title), re.M)
    assert rows
    groups = {"all": ROUTES, "both": ("completions", "chat"), "dialogue": ("chat", "responses")}
    return [name for name, routes in rows if route in groups.get(routes, (routes,))]


ROUTES = {"completions": CompletionRequest, "chat": ChatRequest, "responses": ResponseRequest}
LISTS = [
    ("Honoured", "completions", CompletionHonoured),
    ("Honoured", "chat", ChatHonoured),
    ("Honoured", "responses", ResponseHonoured),
    ("Recorded and echoed", "completions", RecordedFields),
    ("Recorded and echoed", "chat", RecordedFields),
    ("Recorded and echoed", "responses", RecordedFields),
    ("Accepted only at the neutral value", "responses", ResponseNeutral),
    ("Accepted only at the neutral value", "completions", CompletionNeutral),
    ("Accepted only at the neutral value", "chat", ChatNeutral),
]


@pytest.mark.parametrize(("title", "route", "fields"), LISTS)
def test_published_list_is_that_of_the_schema(
    title: str, route: str, fields: type[CompletionHonoured]
) -> None:
    names = listed(title, route)
    assert sorted(names) == sorted(fields.model_fields)


@pytest.mark.parametrize(("route", "body"), ROUTES.items())
def test_every_accepted_field_stands_in_one_list(route: str, body: type[RequestBody]) -> None:
    titles = {title for title, _, _ in LISTS}
    names = [name for title in titles for name in listed(title, route)]
    assert sorted(names) == sorted(body.model_fields)


def test_every_metric_is_documented_and_there(server: HttpServer) -> None:
    types = re.findall(r"^# TYPE (\S+) (\w+)$", server.get("/metrics").text, re.M)
    documented = re.findall(r"^\| `(pararnn_\w+)` \| (\w+) \|", section("Metrics"), re.M)
    own = [(name, kind) for name, kind in types if not name.startswith("process_")]
    assert sorted(documented) == sorted(own)


def test_every_route_is_documented(server: HttpServer) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    documented = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)`", TEXT))
    named = {re.sub(r"\{\w+\}", "{id}", route) for route in served}
    assert named == documented


def test_every_status_is_documented(server: HttpServer) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    sent = {code for path in paths.values() for operation in path.values() for code in operation["responses"]}
    documented = set(re.findall(r"^\| (\d{3}) \|", section("Errors"), re.M))
    assert {code for code in sent if code >= "400"} <= documented
