"""The stream's form: what was written is read, in whatever pieces it comes, and nothing else is taken for it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit_client.errors import InvalidRequest
from toolkit_client.transfer.records import (
    BEGIN,
    CHUNK,
    CHUNK_SIZE,
    END,
    ENTRY,
    FINISH,
    HOLE,
    SMALL,
    Decoder,
    Digest,
    Encoder,
    file_key,
)
from toolkit_client.transfer.walk import FILE, FOLDER, LINK, Entry

NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=6).map(b"/".join)
ENTRIES = st.builds(
    Entry,
    path=PATHS,
    kind=st.sampled_from([FILE, FOLDER, LINK]),
    mode=st.integers(0, 0o777),
    blocks=st.just(0),
    links=st.just(1),
    ctime_ns=st.just(0),
    target=st.just(b""),
    size=st.integers(0, 2**62),
    mtime_ns=st.integers(-(2**62), 2**62),
).map(lambda entry: entry._replace(links=1, blocks=0, ctime_ns=0, target=b"there" if entry.kind == LINK else b""))


@given(st.lists(st.tuples(ENTRIES, st.binary(max_size=100)), max_size=20), st.data())
def test_what_was_written_is_read(items: list[tuple[Entry, bytes]], data: st.DataObject) -> None:
    encoder, decoder = Encoder(), Decoder()
    stream = b"".join(
        encoder.entry(SMALL, entry, b"x" * 32 if entry.kind != LINK else b"", content) for entry, content in items
    )
    stream += (
        encoder.chunk_head(3) + b"abc" + encoder.hole(7) + encoder.finish(b"d" * 32, True) + encoder.note(END, {"n": 1})
    )
    read = []
    while stream:
        size = data.draw(st.integers(1, max(len(stream), 1)))
        read += [(one.type, one.entry, bytes(one.content), one.number, one.mark) for one in decoder.feed(stream[:size])]
        stream = stream[size:]
    assert [(entry, content) for type_, entry, content, _, _ in read if type_ == SMALL] == items
    assert [(type_, content, number, mark) for type_, _, content, number, mark in read[len(items) :]] == [
        (CHUNK, b"abc", 0, 0),
        (HOLE, b"", 7, 0),
        (FINISH, b"", 0, 1),
        (END, b"", 0, 0),
    ]
    assert decoder.ended


@given(st.binary(max_size=400))
def test_noise_is_refused_or_waited_on(noise: bytes) -> None:
    decoder = Decoder()
    try:
        for record in decoder.feed(noise):
            assert not record.entry.path.startswith(b"/")
    except InvalidRequest:
        pass


@given(ENTRIES, st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_never_leads_out_of_the_tree(entry: Entry, at: int, change: int) -> None:
    stream = bytearray(Encoder().entry(ENTRY, entry))
    stream[at % len(stream)] ^= change
    try:
        for record in Decoder().feed(bytes(stream)):
            assert b".." not in record.entry.path.split(b"/")
            assert b"" not in record.entry.path.split(b"/") or record.entry.path == b""
    except InvalidRequest:
        pass


@pytest.mark.parametrize("path", [b"../x", b"/etc/passwd", b"a/../../b", b"a//b", b"n" * 256, b"a\0b"])
def test_a_peer_cannot_name_what_is_outside(path: bytes) -> None:
    stream = Encoder().entry(SMALL, Entry(path, FILE, 0o644, 1, 0), hashlib.sha256(b"x").digest(), b"x")
    with pytest.raises(InvalidRequest):
        list(Decoder().feed(stream))


def test_a_shared_beginning_is_only_that_of_the_path_before() -> None:
    """The second path would be `a/..` and more, were it put together without being looked at."""
    encoder = Encoder()
    stream = encoder.entry(ENTRY, Entry(b"a/b", FILE, 0, 0, 0)) + encoder.entry(ENTRY, Entry(b"a/../c", FILE, 0, 0, 0))
    decoder = Decoder()
    with pytest.raises(InvalidRequest):
        list(decoder.feed(stream))


def test_nothing_comes_after_the_end() -> None:
    decoder = Decoder()
    with pytest.raises(InvalidRequest):
        list(decoder.feed(Encoder.note(END, {}) + Encoder.hole(1)))


def test_a_record_that_claims_to_be_huge_is_not_waited_for() -> None:
    with pytest.raises(InvalidRequest):
        list(Decoder().feed(bytes([CHUNK]) + (2**31).to_bytes(4, "big")))


@given(st.integers(0, 3 * CHUNK_SIZE), st.integers(0, 3))
def test_the_digest_does_not_tell_holes_from_zeros(size: int, holes: int) -> None:
    whole = size // CHUNK_SIZE
    holes = min(holes, whole)
    plain, holey = Digest(size), Digest(size)
    for at in range(0, max(size, 1), CHUNK_SIZE):
        plain.chunk(bytes(min(CHUNK_SIZE, size - at)))
    if size > CHUNK_SIZE:
        holey.zeros(holes)
    else:
        holes = 0
    for at in range(holes * CHUNK_SIZE, max(size, 1), CHUNK_SIZE):
        holey.chunk(bytes(min(CHUNK_SIZE, size - at)))
    assert plain.digest() == holey.digest()
    if size <= CHUNK_SIZE:
        assert plain.digest() == hashlib.sha256(bytes(size)).digest()


def test_half_sent_files_are_told_apart() -> None:
    entry = Entry(b"a", FILE, 0o644, 5, 7)
    keys = {
        file_key(b"", entry),
        file_key(b"x", entry),
        file_key(b"", entry._replace(size=6)),
        file_key(b"", entry._replace(mtime_ns=8)),
        file_key(b"", entry._replace(path=b"b")),
    }
    assert len(keys) == 5
    assert file_key(b"", entry._replace(mode=0)) in keys


def test_begin_carries_its_offset() -> None:
    (record,) = Decoder().feed(Encoder().begin(Entry(b"f", FILE, 0o600, 9, 1), 4096))
    assert (record.type, record.number, record.entry.size) == (BEGIN, 4096, 9)
