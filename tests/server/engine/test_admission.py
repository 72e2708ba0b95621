"""The queue is bounded by replies and by the bytes of its prompts."""

from array import array

import pytest
from pararnn_server.engine.admission import ID_COPIES, Admission
from pararnn_server.engine.request import Request
from pararnn_server.errors import BadRequest, TooManyRequests
from pararnn_server.models.loading import Loaded
from pararnn_server.state_cache.prefix_tree import ID_BYTES

from pararnn_core.sampling_params import SamplingParams
from tests.server.http_server import ENDLESS, connection, eventually, serving

BYTES_PER_ID = ID_COPIES * ID_BYTES


def request(name: str, num_tokens: int, owner: str = "") -> Request:
    ids = array("i", [1]) * num_tokens
    params = SamplingParams(seed=0)
    return Request(request_id=name, prompt_token_ids=ids, params=params, emit=lambda _: None, owner=owner)


def test_prompts_that_wait_are_bounded_in_bytes_until_they_end() -> None:
    admission = Admission(10, 1, 100 * BYTES_PER_ID)
    admission.reserve(request("a", 60))
    with pytest.raises(TooManyRequests, match=r"max_queue_bytes.*shorter prompts"):
        admission.reserve(request("b", 41))
    admission.reserve(request("c", 40))
    admission.release("a")
    admission.reserve(request("b", 41))


def test_a_prompt_that_no_queue_holds_is_not_told_to_come_again() -> None:
    with pytest.raises(BadRequest, match="max_queue_bytes"):
        Admission(10, 1, 100 * BYTES_PER_ID).reserve(request("a", 101))


def test_a_key_leaves_bytes_of_the_queue_to_the_others() -> None:
    admission = Admission(10, 2, 100 * BYTES_PER_ID)
    admission.reserve(request("a", 75, "one"))
    with pytest.raises(TooManyRequests):
        admission.reserve(request("b", 1, "one"))
    admission.reserve(request("c", 25, "two"))


def test_long_prompts_in_the_queue_are_a_429_that_says_so(loaded: Loaded) -> None:
    with serving(loaded, max_num_seqs=1, max_queue_bytes=1 << 20) as server:
        with connection(server, ENDLESS):
            eventually(lambda: server.busy_slots() == 1)
            body = {"prompt": [1] * 60_000, "max_tokens": 1}
            with connection(server, body):
                eventually(lambda: server.metric("pararnn_num_requests_waiting") == 1)
                refused = server.post("/v1/completions", body)
                assert refused.status_code == 429
                assert "max_queue_bytes" in refused.json()["error"]["message"]
        eventually(lambda: server.busy_slots() == 0)
