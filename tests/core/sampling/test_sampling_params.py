import math
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pararnn_core.sampling_params import InvalidSamplingParams, SamplingParams

BAD = [
    ("max_tokens", -1),
    ("max_tokens", 1.0),
    ("max_tokens", "5"),
    ("max_tokens", True),
    ("max_tokens", None),
    ("temperature", -0.1),
    ("temperature", math.nan),
    ("temperature", math.inf),
    ("temperature", "0.5"),
    ("temperature", 10**400),
    ("top_p", 1.01),
    ("top_p", -0.1),
    ("top_p", False),
    ("top_k", -1),
    ("top_k", 1.5),
    ("min_p", 2),
    ("repetition_penalty", 0.0),
    ("repetition_penalty", 101),
    ("presence_penalty", -2.1),
    ("frequency_penalty", 2.1),
    ("frequency_penalty", math.nan),
    ("logit_bias", {"5": 1.0}),
    ("logit_bias", {-1: 1.0}),
    ("logit_bias", {5: 101}),
    ("logit_bias", {5: math.nan}),
    ("logit_bias", [5]),
    ("seed", 2**63),
    ("seed", -(2**63) - 1),
    ("seed", 10**5000),
    ("seed", None),
    ("stop", "text"),
    ("stop", ("",)),
    ("stop", (5,)),
    ("stop_token_ids", (-1,)),
    ("stop_token_ids", (True,)),
    ("stop_token_ids", 5),
    ("ignore_eos", 1),
    ("logprobs", 21),
    ("logprobs", -1),
    ("prompt_logprobs", 21),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name}-{i}" for i, (name, _) in enumerate(BAD)])
def test_a_bad_value_is_refused_by_the_name_of_its_field(name: str, value: object) -> None:
    with pytest.raises(InvalidSamplingParams) as refused:
        SamplingParams(**cast(dict[str, Any], {name: value}))
    assert refused.value.param == name
    assert str(refused.value).startswith(name)
    assert len(str(refused.value)) < 200


@settings(deadline=None)
@given(
    temperature=st.floats(0, 1e6),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
    top_k=st.integers(0, 10**9),
    repetition_penalty=st.floats(0.01, 100),
    seed=st.integers(-(2**63), 2**63 - 1),
    bias=st.dictionaries(st.integers(0, 10**6), st.floats(-100, 100), max_size=5),
)
def test_every_value_in_range_is_accepted_and_kept(
    temperature: float,
    top_p: float,
    min_p: float,
    top_k: int,
    repetition_penalty: float,
    seed: int,
    bias: dict[int, float],
) -> None:
    given_values: dict[str, Any] = {
        "temperature": temperature,
        "top_p": top_p,
        "min_p": min_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "logit_bias": bias,
    }
    params = SamplingParams(**given_values)
    assert {name: getattr(params, name) for name in given_values} == given_values


def test_integers_are_numbers_and_lists_become_tuples() -> None:
    lists: dict[str, Any] = {"stop": ["a"], "stop_token_ids": [3]}
    params = SamplingParams(temperature=0, **lists)
    assert params.greedy
    assert params.stop == ("a",)
    assert params.stop_token_ids == (3,)
    assert isinstance(hash(params), int)


def test_later_changes_to_the_callers_mapping_are_not_seen() -> None:
    bias = {3: 1.0}
    params = SamplingParams(logit_bias=bias)
    bias[4] = 2.0
    assert params.logit_bias == {3: 1.0}


@pytest.mark.parametrize("field", [{"logit_bias": {64: 1.0}}, {"stop_token_ids": (64,)}])
def test_a_token_outside_of_the_vocabulary_is_refused(field: dict[str, Any]) -> None:
    params = SamplingParams(**field)
    params.check_vocabulary(65)
    with pytest.raises(InvalidSamplingParams, match="token 64") as refused:
        params.check_vocabulary(64)
    assert refused.value.param == next(iter(field))
