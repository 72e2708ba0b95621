"""One key's script over every route, and a second key that does all it can meanwhile."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx

TEXT = "the inner thing " * 12
SHORT: dict[str, Any] = {"max_tokens": 6, "seed": 1, "temperature": 0.0}
TIMES = {"created", "created_at", "last_used_at", "expires_at", "duration_seconds", "time", "p50", "p99"}
# Order of random ids, and what follows from it.
BY_IDS = {"first_id", "last_id"}
_ID = re.compile(r"\b(?:sess|resp|msg|fc|fco|call|chatcmpl|cmpl|cmp|append|req)[_-][0-9a-f]{8,}(?:_\d+)?\b")

_SEALED = re.compile(r"A[A-Za-z0-9_-]+")


class Script:
    """Calls in a fixed order. seen: name of the call, status and body of each, ids and times apart."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=60.0)
        self._names: dict[str, str] = {}
        self.routes: set[str] = set()
        self.seen: list[tuple[str, int, Any]] = []

    def call(self, method: str, route: str, body: Any = None, ids: Any = None, **options: Any) -> Any:
        """ids: for the names in the route's template."""
        self.routes.add(f"{method} {route}")
        if isinstance(body, bytes):
            options |= {"content": body, "headers": {"content-type": "application/octet-stream"}}
        elif body is not None:
            options["json"] = body
        answer = self._http.request(method, route.format(**(ids or {})), **options)
        self.seen.append((f"{method} {route}", answer.status_code, self._apart(answer)))
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    def stream(self, route: str, body: dict[str, Any]) -> str:
        self.routes.add(f"POST {route}")
        answer = self._http.post(route, json={**body, "stream": True})
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        # How text is cut into events follows from time.
        text = "".join(_text_of(event) for event in events)
        last = [event for event in events if event.get("usage") or event.get("response")][-1:]
        self.seen.append((f"stream {route}", answer.status_code, self._without_ids([text, last])))
        return text

    def first_event(self, route: str) -> None:
        """Read the first event of a stream that never ends."""
        self.routes.add(f"GET {route}")
        with self._http.stream("GET", route) as answer:
            data = next(line for line in answer.iter_lines() if line.startswith("data: "))
            self.seen.append((f"GET {route}", answer.status_code, self._without_ids(json.loads(data[6:]))))

    def close(self) -> None:
        self._http.close()

    def _apart(self, answer: httpx.Response) -> Any:
        kind = answer.headers.get("content-type", "")
        return self._without_ids(answer.json()) if "json" in kind else answer.content

    def _without_ids(self, value: Any) -> Any:
        if isinstance(value, dict):
            kept = {name: part for name, part in value.items() if name not in TIMES | BY_IDS}
            return {name: self._without_ids(part) for name, part in kept.items()}
        if isinstance(value, list):
            parts = [self._without_ids(part) for part in value]
            listed = all(isinstance(part, dict) and part.get("object") == "session" for part in parts)
            return sorted(parts, key=lambda part: json.dumps(part, sort_keys=True)) if listed else parts
        if isinstance(value, str) and len(value) > 1000 and _SEALED.fullmatch(value):
            # Sealed twice, one state has two texts of one length.
            return f"{len(value)} sealed characters"
        return _ID.sub(self._name, value) if isinstance(value, str) else value

    def _name(self, found: re.Match[str]) -> str:
        return self._names.setdefault(found[0], f"id {len(self._names)}")


def _text_of(event: dict[str, Any]) -> str:
    delta = event.get("delta")
    if isinstance(delta, str):
        return delta
    if isinstance(delta, dict):
        return str(delta.get("text", ""))
    choices = event.get("choices") or [{}]
    return str(choices[0].get("text") or choices[0].get("delta", {}).get("content") or "")


def play(script: Script) -> None:
    """Every route there is, in an order in which later calls show what earlier ones left."""
    call, session = script.call, "/v1/sessions/{session_id}"
    for route in ("/health", "/ready", "/metrics", "/v1/models", "/tokenizer_info"):
        call("GET", route)
    call("GET", "/v1/models/{model_id}", ids={"model_id": call("GET", "/v1/models")["data"][0]["id"]})
    tokens = call("POST", "/tokenize", {"prompt": TEXT})["tokens"]
    call("POST", "/detokenize", {"tokens": tokens})

    call("POST", "/v1/embeddings", {"input": [TEXT, "other"], "encoding_format": "base64"})

    # The state cache: misses, hits, prompts that come together.
    for _ in range(2):
        call("POST", "/v1/completions", {"prompt": TEXT, **SHORT})
    call("POST", "/v1/completions", {"prompt": [TEXT + "x", TEXT + "x", "other"], "n": 2, **SHORT})
    talk = [{"role": "user", "content": TEXT}]
    usage = {"stream_options": {"include_usage": True}}
    for turn in range(3):
        fields = {"messages": talk, **SHORT, "max_tokens": 40, "ignore_eos": True}
        if turn % 2:
            reply = script.stream("/v1/chat/completions", {**fields, **usage})
        else:
            answer = call("POST", "/v1/chat/completions", fields)
            reply = answer["choices"][0]["message"]["content"]
        talk += [{"role": "assistant", "content": reply}, {"role": "user", "content": "and the inner thing"}]

    message = {"messages": talk[:1], "system": "the inner", **SHORT}
    for _ in range(2):
        call("POST", "/v1/messages", message)
    script.stream("/v1/messages", {**message, "messages": talk[:2]})
    call("POST", "/v1/messages/count_tokens", {"messages": talk})

    _call_tools(script)

    # Sessions up to the share of host memory, pins, then up to the share of their number.
    mine = [call("POST", "/v1/sessions", {"text": TEXT, "metadata": {"n": str(n)}})["id"] for n in range(3)]
    first = {"session_id": mine[0], "name": "here"}
    call("PATCH", session, {"pinned": True}, first)
    call("POST", f"{session}/append", {"text": "the"}, first)
    script.stream("/v1/completions", {"prompt": "thing", "session_id": mine[1], **SHORT, **usage})
    call("POST", f"{session}/snapshots", {"name": "here"}, first)
    call("POST", f"{session}/rollback", {"turns": 1}, first)
    file = call("GET", f"{session}/state", ids=first)
    call("PUT", f"{session}/state", file, {"session_id": mine[2]})
    child = call("POST", f"{session}/fork", {}, first)["id"]
    call("POST", f"{session}/cancel", ids=first)
    call("GET", session, ids=first)
    call("GET", "/v1/sessions")
    call("DELETE", f"{session}/snapshots/{{name}}", ids=first)
    call("DELETE", session, ids={"session_id": child})
    call("PATCH", session, {"pinned": True}, {"session_id": mine[1]})
    call("PATCH", session, {"pinned": True}, {"session_id": mine[2]})

    script.first_event("/v1/monitor")
    call("GET", "/v1/admin/sessions")

    response = call("POST", "/v1/responses", {"input": TEXT, **SHORT})["id"]
    follow = {"input": "more", "previous_response_id": response, **SHORT}
    script.stream("/v1/responses", follow)
    call("POST", "/v1/responses", {**follow, "instructions": "be"})
    call("POST", "/v1/responses/input_tokens", {"input": TEXT})
    for fields in ({"input": TEXT}, {"previous_response_id": response}):
        [item] = call("POST", "/v1/responses/compact", fields)["output"]
        call("POST", "/v1/responses", {"input": [item, {"role": "user", "content": "more"}], **SHORT})
    call("GET", "/v1/responses/{response_id}", ids={"response_id": response})
    call("GET", "/v1/responses/{response_id}/input_items", ids={"response_id": response})
    call("DELETE", "/v1/responses/{response_id}", ids={"response_id": response})
    call("GET", "/v1/responses/{response_id}", ids={"response_id": response})
    for _ in range(4):
        call("POST", "/v1/sessions", {})
    call("GET", "/v1/sessions")
    call("POST", "/v1/completions", {"prompt": TEXT, **SHORT})


def _call_tools(script: Script) -> None:
    """A conversation with a call and its result, whole, streamed and as responses."""
    function = {"name": "look_up", "parameters": {"type": "object", "properties": {"n": {"enum": [1, 2]}}}}
    fields = {**SHORT, "max_tokens": 200, "tool_choice": "required", "parallel_tool_calls": False}
    asked = {
        "messages": [{"role": "user", "content": TEXT}],
        "tools": [{"type": "function", "function": function}],
    }
    for _ in range(2):
        message = script.call("POST", "/v1/chat/completions", {**asked, **fields})["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "found"}
    asked["messages"] += [message, result]
    script.stream("/v1/chat/completions", {**asked, **SHORT, "stream_options": {"include_usage": True}})
    script.call("POST", "/tokenize", asked)
    flat = {"tools": [{"type": "function", **function}], **fields}
    response = script.call("POST", "/v1/responses", {"input": TEXT, **flat})
    output = {"type": "function_call_output", "call_id": response["output"][0]["call_id"], "output": "found"}
    follow = {"input": [output], "previous_response_id": response["id"], **flat, "tool_choice": "auto"}
    script.stream("/v1/responses", {**follow, **SHORT})


@contextmanager
def busy(url: str, key: str) -> Iterator[None]:
    """All that a key can do at once: streams, chats, sessions up to its quota, pins, responses, deletions."""
    ends = threading.Event()
    workers = [_chats, _streams, _sessions, _responses]
    threads = [threading.Thread(target=_repeat, args=(worker, url, key, ends)) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ends.set()
        for thread in threads:
            thread.join(60)


def _repeat(worker: Any, url: str, key: str, ends: threading.Event) -> None:
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60.0) as http:
        while not ends.is_set():
            with suppress(httpx.HTTPError, KeyError):
                worker(http, ends)


def _streams(http: httpx.Client, ends: threading.Event) -> None:
    body = {"prompt": "the", "max_tokens": 100_000, "ignore_eos": True, "stream": True}
    with http.stream("POST", "/v1/completions", json=body) as answer:
        for _ in answer.iter_bytes():
            if ends.is_set():
                return


def _chats(http: httpx.Client, ends: threading.Event) -> None:
    """The same texts as the script's, so that a shared cache would show."""
    for text in (TEXT, TEXT + "x", TEXT + "and more"):
        body = {"messages": [{"role": "user", "content": text}], **SHORT, "max_tokens": 30}
        http.post("/v1/chat/completions", json=body)
        http.post("/v1/messages", json={**body, "system": "the inner"})
        tool = {"type": "function", "function": {"name": "look_up"}}
        http.post("/v1/chat/completions", json={**body, "tools": [tool], "tool_choice": "required"})
        http.post("/v1/completions", json={"prompt": [text, text], "n": 4, **SHORT})
        http.post("/v1/embeddings", json={"input": [text, text]})


def _sessions(http: httpx.Client, ends: threading.Event) -> None:
    made = []
    for _ in range(8):
        session = http.post("/v1/sessions", json={"text": TEXT}).json()["id"]
        made.append(session)
        http.patch(f"/v1/sessions/{session}", json={"pinned": True, "ttl_seconds": 1.0})
        http.post(f"/v1/sessions/{session}/snapshots", json={"name": "here"})
    for session in made[::2]:
        http.delete(f"/v1/sessions/{session}")
        http.patch(f"/v1/sessions/{session}", json={"pinned": False})


def _responses(http: httpx.Client, ends: threading.Event) -> None:
    http.post("/v1/responses", json={"input": TEXT, **SHORT})
    [item] = http.post("/v1/responses/compact", json={"input": TEXT}).json()["output"]
    http.post("/v1/responses", json={"input": [item], **SHORT})
    for session in http.get("/v1/sessions").json()["data"][:4]:
        http.delete(f"/v1/sessions/{session['id']}")
