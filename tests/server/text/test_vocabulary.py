"""Properties of the vocabulary that the engine derives from the texts of the ids."""

import pytest
from pararnn_server.text.vocabulary import Vocabulary

from tests.server.engine_fixtures import TOKEN_BYTES


def test_every_byte_has_its_lowest_id() -> None:
    vocabulary = Vocabulary.build((*TOKEN_BYTES, b"a"), 300, None)
    assert vocabulary.byte_ids == tuple(range(256))


def test_ids_of_the_model_that_the_tokenizer_lacks_have_no_text() -> None:
    vocabulary = Vocabulary.build(TOKEN_BYTES, 300, None)
    assert len(vocabulary.token_bytes) == 300
    assert vocabulary.token_bytes[299] == b""


def test_a_byte_that_a_longer_token_has_and_no_token_of_its_own_leaves_no_table() -> None:
    assert Vocabulary.build((*TOKEN_BYTES[1:], b"\x00\x01"), 300, None).byte_ids == ()


def test_a_byte_that_no_token_has_needs_no_id() -> None:
    assert Vocabulary.build(TOKEN_BYTES[1:], 300, None).byte_ids[:2] == (-1, 0)


def test_a_tokenizer_larger_than_the_model_is_refused() -> None:
    with pytest.raises(ValueError, match="265 ids"):
        Vocabulary.build(TOKEN_BYTES, 264, None)
