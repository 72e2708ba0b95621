"""Access: keys, the Host header, origins, quotas; and the id of every answer."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.models.loading import Loaded
from pararnn_server.models.registry import ModelRegistry

from pararnn_core.models.pararnn.state_layout import state_bytes
from tests.server.http_server import ENDLESS, HttpServer, connection, eventually, serving

KEY, SECOND, ADMIN = "k" * 20, "s" * 20, "a" * 20
KEYS = f"one:{KEY},one:{SECOND},two:{'t' * 20}"
BODY = {"prompt": "a", "max_tokens": 1}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        {"authorization": "Bearer"},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        bearer(ADMIN),
    ],
)
def test_without_a_known_key_everything_but_health_is_a_401(loaded: Loaded, headers: dict[str, str]) -> None:
    with serving(loaded, api_keys=KEYS, admin_key=ADMIN) as server:
        for path in ("/v1/models", "/v1/sessions", "/tokenizer_info", "/nothing"):
            response = server.get(path, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json()["error"]["code"] == "invalid_api_key"
        assert server.post("/v1/completions", BODY, headers=headers).status_code == 401
        assert [server.get(path).status_code for path in ("/health", "/ready", "/openapi.json")] == [200] * 3


def test_a_second_key_of_a_name_sees_its_sessions(loaded: Loaded) -> None:
    with serving(loaded, key=KEY, api_keys=KEYS) as server:
        session_id = server.create_session()
        assert server.get(f"/v1/sessions/{session_id}", headers=bearer(SECOND)).status_code == 200


def test_metrics_need_the_admin_key_where_there_are_keys(loaded: Loaded) -> None:
    with serving(loaded, api_keys=KEYS, admin_key=ADMIN) as server:
        answers = [server.get("/metrics", headers=headers) for headers in ({}, bearer(KEY), bearer(ADMIN))]
        assert [answer.status_code for answer in answers] == [401, 401, 200]
    with serving(loaded, api_keys=KEYS) as server:
        assert server.get("/metrics", headers=bearer(KEY)).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "localhost.evil"]
)
def test_foreign_host_header_is_refused_without_keys(server: HttpServer, host: str) -> None:
    for path in ("/v1/models", "/health"):
        response = server.get(path, headers={"host": host})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "host")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "LocalHost:1"])
def test_own_host_header_passes(server: HttpServer, host: str) -> None:
    assert server.get("/v1/models", headers={"host": host}).status_code == 200


def test_any_host_header_passes_with_keys(loaded: Loaded) -> None:
    with serving(loaded, key=KEY, api_keys=KEYS) as server:
        assert server.get("/v1/models", headers={"host": "api.example"}).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com"])
def test_no_keys_beyond_loopback_is_refused_at_start(loaded: Loaded, host: str) -> None:
    with pytest.raises(ConfigurationError, match="host"), serving(loaded, host=host):
        pass


@pytest.mark.parametrize("settings", [{"allow_anonymous": True}, {"api_keys": KEYS}])
def test_beyond_loopback_with_keys_or_by_intent(loaded: Loaded, settings: dict[str, object]) -> None:
    with serving(loaded, host="0.0.0.0", **settings) as server:
        assert server.get("/health", headers={"host": "api.example"}).status_code == 200


def test_browsers_are_let_in_only_from_named_origins(loaded: Loaded, server: HttpServer) -> None:
    asks = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    off = server.http.options("/v1/completions", headers=asks)
    assert (off.status_code, off.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert "--cors-origin https://app.example (PARARNN_CORS_ORIGIN)" in off.json()["error"]["message"]
    with serving(loaded, key=KEY, api_keys=KEYS, cors_origin="https://app.example") as named:
        allowed = named.http.options("/v1/completions", headers=asks)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == asks["origin"]
        other = named.http.options("/v1/completions", headers={**asks, "origin": "https://other.example"})
        assert other.status_code == 403
        assert "--cors-origin https://other.example" in other.json()["error"]["message"]
        assert "access-control-allow-origin" not in other.headers
        refused = named.get("/v1/models", headers={"origin": asks["origin"], **bearer("wrong")})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == asks["origin"]


def test_sane_request_id_is_echoed_and_another_replaced(server: HttpServer) -> None:
    for path in ("/health", "/nothing", "/v1/models/other"):
        assert server.get(path, headers={"x-request-id": "abc-1.2:3"}).headers["x-request-id"] == "abc-1.2:3"
        for insane in ("", "a b", "x" * 129, "<script>"):
            given = server.get(path, headers={"x-request-id": insane}).headers["x-request-id"]
            assert re.fullmatch(r"req_[0-9a-f]{32}", given)


def test_key_may_have_only_so_many_requests_under_way(loaded: Loaded) -> None:
    with serving(loaded, key_max_requests=1) as server:
        with connection(server, ENDLESS):
            eventually(lambda: server.busy_slots() == 1)
            refused = server.post("/v1/completions", BODY)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota")
            assert server.get("/v1/models").status_code == 429
            assert server.get("/health").status_code == 200
        eventually(lambda: server.post("/v1/completions", BODY).status_code == 200)


@pytest.mark.parametrize("stream", [False, True])
def test_requests_one_after_the_other_are_never_two_under_way(loaded: Loaded, stream: bool) -> None:
    with serving(loaded, key_max_requests=1) as server:
        statuses = [server.post("/v1/completions", {**BODY, "stream": stream}).status_code for _ in range(40)]
        assert set(statuses) == {200}


def test_cancel_passes_where_the_key_is_at_its_limit(loaded: Loaded) -> None:
    with serving(loaded, key_max_requests=1) as server:
        session_id = server.create_session()
        with connection(server, {**ENDLESS, "session_id": session_id}):
            eventually(lambda: server.busy_slots() == 1)
            assert server.post("/tokenize", {"prompt": "a"}).status_code == 429
            assert server.post(f"/v1/sessions/{session_id}/cancel").status_code == 200
            eventually(lambda: server.busy_slots() == 0)


def test_key_may_start_only_so_many_requests_a_minute(loaded: Loaded) -> None:
    with serving(loaded, key_requests_per_minute=2) as server:
        answers = [server.post("/v1/completions", BODY) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 30


@pytest.mark.parametrize("stream", [False, True])
def test_key_may_take_only_so_many_tokens_a_minute(loaded: Loaded, stream: bool) -> None:
    with serving(loaded, key_tokens_per_minute=100) as server:
        body = {"prompt": [1] * 80, "max_tokens": 30, "ignore_eos": True, "stream": stream}
        assert server.post("/v1/completions", body).status_code == 200
        eventually(lambda: server.post("/tokenize", {"prompt": "a"}).status_code == 429)
        refused = server.post("/v1/completions", BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota")
        assert 5 <= int(refused.headers["retry-after"]) <= 8
        assert server.get("/v1/models").status_code == 200


def test_requests_at_once_take_no_more_tokens_than_the_key_has_and_one_of_them(loaded: Loaded) -> None:
    body = {"prompt": [1] * 20, "max_tokens": 40, "n": 2, "ignore_eos": True}
    with serving(loaded, key_tokens_per_minute=250) as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.post("/v1/completions", body), range(24)))
        taken = sum(answer.json()["usage"]["total_tokens"] for answer in answers if answer.status_code == 200)
        assert {answer.status_code for answer in answers} == {200, 429}
        # 250 and at most one more of 100; what filled up meanwhile is little.
        assert 250 <= taken <= 500


def test_tokens_that_a_request_did_not_take_are_given_back(loaded: Loaded) -> None:
    with serving(loaded, key_tokens_per_minute=1000) as server:
        for _ in range(5):
            body = {"prompt": "the", "max_tokens": 1000, "stop": ["e", "a", "o", " ", "\n", "t"]}
            assert server.post("/v1/completions", body).status_code == 200


def test_tokens_of_a_client_that_leaves_are_taken_too(loaded: Loaded) -> None:
    with serving(loaded, key_tokens_per_minute=100) as server:
        with connection(server, {**ENDLESS, "prompt": [1] * 120, "stream": True}) as client:
            assert b"200 OK" in client.recv(4096)
        eventually(lambda: server.busy_slots() == 0)
        eventually(lambda: server.post("/v1/completions", BODY).status_code == 429)


def test_key_may_store_only_so_many_bytes(loaded: Loaded) -> None:
    size = state_bytes(loaded.model.config)
    with serving(loaded, key_max_store_bytes=2 * size + 4000) as server:
        session_id = server.create_session(text="the")
        response = server.answer("/v1/responses", {"input": "the", "max_output_tokens": 2})
        for path, body in (
            ("/v1/sessions", {}),
            ("/v1/responses", {"input": "the"}),
            (f"/v1/sessions/{session_id}/append", {"text": "the"}),
        ):
            refused = server.post(path, body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota")
        server.http.delete(f"/v1/responses/{response['id']}")
        assert server.post(f"/v1/sessions/{session_id}/append", {"text": "the"}).status_code == 200


def test_key_may_keep_only_so_many_sessions(loaded: Loaded) -> None:
    with serving(loaded, key_max_sessions=2) as server:
        session_id = server.create_session()
        server.create_session()
        refused = server.post("/v1/sessions", {})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota")
        server.http.delete(f"/v1/sessions/{session_id}")
        assert server.create_session()


def test_loading_answers_503_and_health(loaded: Loaded) -> None:
    with serving(loaded) as server:
        ready, server.service.models = server.service.models, ModelRegistry()
        try:
            for path in ("/ready", "/v1/models", "/tokenizer_info"):
                response = server.get(path)
                assert (response.status_code, response.json()["error"]["code"]) == (503, "loading")
                assert "retry-after" in response.headers
            assert server.post("/v1/completions", BODY).status_code == 503
            assert server.get("/health").status_code == 200
        finally:
            server.service.models = ready


def test_preflight_for_a_private_network_is_answered(loaded: Loaded) -> None:
    asks = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-private-network": "true",
    }
    with serving(loaded, cors_origin="https://app.example") as server:
        answer = server.http.options("/v1/completions", headers=asks)
        assert (answer.status_code, answer.headers["access-control-allow-private-network"]) == (200, "true")


def test_options_says_which_methods_a_path_has(server: HttpServer) -> None:
    for path, methods in (
        ("/health", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
        ("/v1/sessions/any", "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ):
        answer = server.http.options(path)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, methods, b"")
    assert server.http.options("/nothing").status_code == 404


@pytest.mark.parametrize(
    ("origin", "meant"),
    [
        ("localhost", "http://localhost"),
        ("localhost:3000", "http://localhost:3000"),
        ("https://app.example/", "https://app.example"),
        ("https://App.Example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80/x?y", "http://app.example"),
        ("https://*.example", "https://app.example"),
        ("//", "https://app.example"),
    ],
)
def test_origin_that_no_browser_sends_is_refused_at_start(loaded: Loaded, origin: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"write '{meant}'"), serving(loaded, cors_origin=origin):
        pass


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "http://localhost:3000", "https://app.example", "http://[::1]:8080", "tauri://localhost"],
)
def test_origin_that_a_browser_may_send_is_let_in(loaded: Loaded, origin: str) -> None:
    with serving(loaded, cors_origin=origin) as server:
        answer = server.get("/health", headers={"origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("header", ["x-api-key", "X-API-KEY", "api-key"])
def test_key_in_another_header_opens_what_a_bearer_key_does(loaded: Loaded, header: str) -> None:
    with serving(loaded, api_keys=KEYS, admin_key=ADMIN) as server:
        assert server.get("/v1/models", headers={header: KEY}).status_code == 200
        assert server.get("/v1/models", headers={header: "wrong"}).status_code == 401
        assert server.get("/metrics", headers={header: ADMIN}).status_code == 200
