"""A conversation carried by its client over servers that keep nothing, with the openai client unmodified."""

import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.e2e.serve_process import serve_process
from tests.fixtures import tiny_checkpoint

FIELDS: dict[str, Any] = {"temperature": 1.5, "extra_body": {"seed": 3}}


def _carry(folder: Path, num_servers: int, num_turns: int) -> None:
    """Compare every reply with that of one session, each turn at a server drawn at random."""
    checkpoint, secret = tiny_checkpoint(folder / "tiny"), folder / "secret"
    secret.write_text("s" * 40 + "\n")
    draw = random.Random(1)
    with ExitStack() as stack:
        urls = [
            stack.enter_context(
                serve_process(checkpoint, "--threads", "1", "--seal-secret-file", str(secret))
            ).url
            for _ in range(num_servers)
        ]
        clients = [
            stack.enter_context(OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)) for url in urls
        ]
        http = stack.enter_context(httpx.Client(timeout=60.0))
        session = http.post(f"{urls[0]}/v1/sessions", json={}).raise_for_status().json()["id"]
        given: list[Any] = []
        for turn in range(num_turns):
            question: Any = {"role": "user", "content": f"the {turn}"}
            chat = clients[0].chat.completions.create(
                model="tiny",
                messages=[question],
                max_completion_tokens=8,
                temperature=1.5,
                extra_body={"seed": 3, "session_id": session},
            )
            response = draw.choice(clients).responses.create(
                model="tiny",
                input=[*given, question],
                store=False,
                max_output_tokens=8,
                context_management=[{"type": "compaction"}],
                **FIELDS,
            )
            assert response.output_text == chat.choices[0].message.content, turn
            item = response.output[-1]
            assert item.type == "compaction"
            given = [item.model_dump()]
        for url in urls[1:]:
            assert http.get(f"{url}/v1/sessions").json()["data"] == []


def test_a_conversation_carried_over_two_servers_equals_one_session(tmp_path: Path) -> None:
    _carry(tmp_path, 2, 12)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_turns_over_three_servers_equal_one_session(tmp_path: Path) -> None:
    _carry(tmp_path, 3, 10_000)
