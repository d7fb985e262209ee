"""The frames of commands' sessions: however they arrive, whatever is lost, each comes once and in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit_ext.job_init.exec_frames import (
    ACK,
    STDIN,
    STDOUT,
    BadFrame,
    Decoder,
    Inbox,
    Outbox,
    frame,
    read_hello,
    read_json,
    write_hello,
)

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=20)
WORDS = st.lists(st.binary(max_size=50).filter(lambda word: b"\0" not in word), max_size=8)


@given(FRAMES, st.integers(1, 50))
def test_frames_arrive_whole_however_they_are_cut(frames: list[tuple[int, int, bytes]], size: int) -> None:
    sent, decoder = b"".join(frame(*each) for each in frames), Decoder()
    found = [each for at in range(0, len(sent), size) for each in decoder.feed(sent[at : at + size])]
    assert found == frames


def test_a_frame_that_is_too_long_is_none() -> None:
    with pytest.raises(BadFrame):
        list(Decoder().feed(b"\x10" + bytes(8) + b"\xff\xff\xff\xff"))


@given(WORDS, WORDS)
def test_words_of_any_bytes(words: list[bytes], variables: list[bytes]) -> None:
    fields, found, others = read_hello(write_hello({"session": "s"}, words, variables))
    assert (fields["session"], found, others) == ("s", words, variables)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}\n", b'{"words": 2, "variables": 0}\nx', b"[" * 100_000, b"\xff"])
def test_what_is_no_hello(content: bytes) -> None:
    with pytest.raises(BadFrame):
        read_hello(content)


def test_what_is_no_json_object() -> None:
    for content in (b"", b"1", b"{", b'"x"'):
        with pytest.raises(BadFrame):
            read_json(content)


@given(st.lists(st.sampled_from(["send", "lose", "deliver", "acknowledge", "reconnect"]), max_size=60))
def test_whatever_is_lost_each_frame_comes_once_and_in_order(steps: list[str]) -> None:
    outbox, inbox, wire, got, sent = Outbox(), Inbox(), list[bytes](), list[bytes](), 0
    for step in [*steps, "reconnect", *["deliver"] * 200]:
        if step == "send":
            sent += 1
            wire.append(outbox.add(STDIN, str(sent).encode()))
        elif step == "lose":  # a connection loses its end, never its middle
            wire.clear()
        elif step == "deliver" and wire:
            ((_, number, content),) = Decoder().feed(wire.pop(0))
            try:
                if inbox.take(number):
                    got.append(content)
            except BadFrame:
                wire = outbox.after(inbox.received)
        elif step == "acknowledge":
            outbox.acknowledge(inbox.received)
        elif step == "reconnect":
            wire = outbox.after(inbox.received)
    assert got == [str(number).encode() for number in range(1, sent + 1)]
    outbox.acknowledge(inbox.received)
    assert outbox.empty
    assert outbox.weight == 0


def test_what_was_never_sent_cannot_be_acknowledged_or_asked_for() -> None:
    outbox = Outbox()
    outbox.add(STDOUT, b"x")
    for number in (2, 10**18):
        with pytest.raises(BadFrame):
            outbox.acknowledge(number)
        with pytest.raises(BadFrame):
            outbox.after(number)
    outbox.acknowledge(1)
    with pytest.raises(BadFrame):
        outbox.after(0)
    assert frame(ACK, 1)[:1] == bytes([ACK])
