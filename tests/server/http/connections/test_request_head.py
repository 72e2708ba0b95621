"""Heads in bytes: found at any cut of the reads, bounded, and without unused upgrades."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.errors import BadRequest, HeadTooLarge
from pararnn_server.http.connections.request_head import HeadCollector, without_upgrade

HEADS = [
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /health HTTP/1.0\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: a\r\nx: \r\ny:\r\n\r\n",
]


def test_head_that_comes_byte_by_byte_is_the_head() -> None:
    collector = HeadCollector(1024, 10)
    for expected in HEADS:
        results = [collector.add(bytes([byte])) for byte in expected]
        assert results[-1] == (expected, b"")
        assert all(result == (None, b"") for result in results[:-1])


@given(st.lists(st.sampled_from(HEADS), min_size=1, max_size=4), st.data())
def test_cuts_between_reads_do_not_matter(heads: list[bytes], data: st.DataObject) -> None:
    sent, collector = b"".join(heads), HeadCollector(1024, 10)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        rest = sent[start:end]
        while rest:
            head, rest = collector.add(rest)
            if head is not None:
                found.append(head)
    assert found == heads


def test_empty_lines_before_a_request_are_ignored() -> None:
    collector = HeadCollector(1024, 10)
    assert collector.add(b"\r\n\r\n") == (None, b"")
    assert collector.add(b"\r\n" + HEADS[0] + b"body") == (HEADS[0], b"body")


@pytest.mark.parametrize("flood", [b"GET / HTTP/1.1\r\nx: " + b"a" * 4096, b"GET /" + b"a" * 4096])
def test_head_is_refused_at_its_limit_and_nothing_of_it_is_kept(flood: bytes) -> None:
    collector = HeadCollector(1024, 10)
    with pytest.raises(HeadTooLarge, match="1024 bytes and 10 header lines"):
        for start in range(0, len(flood), 100):
            collector.add(flood[start : start + 100])
            assert collector.num_bytes <= 1024
    assert collector.num_bytes == 0
    with pytest.raises(HeadTooLarge):
        collector.add(flood)


def test_head_may_have_as_many_bytes_and_fields_as_the_limits_say() -> None:
    start = b"GET / HTTP/1.1\r\n"
    full = start + b"x:" + b"a" * (1024 - len(start) - 6) + b"\r\n\r\n"
    assert len(full) == 1024
    assert HeadCollector(1024, 10).add(full) == (full, b"")
    with pytest.raises(HeadTooLarge):
        HeadCollector(1023, 10).add(full)
    ten = start + b"a:b\r\n" * 10 + b"\r\n"
    assert HeadCollector(1024, 10).add(ten) == (ten, b"")
    with pytest.raises(HeadTooLarge):
        HeadCollector(1024, 9).add(ten)


@pytest.mark.parametrize(
    ("data", "message"), [(b"\x16\x03\x01\x02\x00", "without TLS"), (b"\x00\x00", "not an HTTP/1.1")]
)
def test_bytes_of_another_protocol_are_refused_at_once(data: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        HeadCollector(1024, 10).add(data)


@pytest.mark.parametrize(
    "field", [b"Upgrade: h2c", b"UPGRADE :websocket", b"upgrade:", b"Upgrade: TLS/1.0,\r\n h2c\r\n\tx"]
)
def test_upgrade_is_taken_out_and_nothing_else(field: bytes) -> None:
    before, after = b"POST /upgrade: HTTP/1.1\r\nhost: upgrade: b\r\n", b"\r\nx-upgrade: c\r\n\r\n"
    for fields in (field, field + b"\r\n" + field):
        assert without_upgrade(before + fields + after) == before.removesuffix(b"\r\n") + after


def test_head_without_an_upgrade_is_left_as_it_is() -> None:
    for each in HEADS:
        assert without_upgrade(each) is each
