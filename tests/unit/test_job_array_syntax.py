"""How arrays and the jobs that a job waits for are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from toolkit_client.job_after import parse_after
from toolkit_client.job_array import MAX_INDEX, Indices, parse_array
from toolkit_client.models import JobSpec


@pytest.mark.parametrize(
    ("text", "indices", "limit"),
    [
        ("0-3", (0, 1, 2, 3), None),
        ("0,3,7-9", (0, 3, 7, 8, 9), None),
        ("5", (5,), None),
        ("9,1-2%4", (1, 2, 9), 4),
        ("007", (7,), None),
        ("0-99%8", tuple(range(100)), 8),
    ],
)
def test_what_is_written_is_meant(text: str, indices: tuple[int, ...], limit: int | None) -> None:
    assert parse_array(text) == Indices(indices, limit)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither an index nor a range"),
        ("a", "neither an index nor a range"),
        ("1-", "neither an index nor a range"),
        ("-1", "neither an index nor a range"),
        ("1-3:2", "neither an index nor a range"),
        ("1,,2", "neither an index nor a range"),
        ("1 2", "neither an index nor a range"),
        ("٣", "neither an index nor a range"),
        ("5-3", "ends before it begins"),
        ("1-4,3", "the index 3 is there twice"),
        ("0-9%", "how many may run at once"),
        ("0-9%0", "how many may run at once"),
        ("0-9%2%3", "how many may run at once"),
        ("0-9999999", "100000 jobs at most"),
        ("0-99999,100000", "100000 jobs at most"),
        ("99999999", "neither an index nor a range"),
    ],
)
def test_what_is_wrong_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_array(text)
    with pytest.raises(ValidationError, match=words):
        JobSpec.model_validate({"array": text})


@given(
    st.sets(st.integers(0, 300) | st.integers(0, MAX_INDEX), min_size=1, max_size=60), st.none() | st.integers(1, 9999)
)
def test_the_shortest_form_means_the_same(indices: set[int], limit: int | None) -> None:
    wanted = Indices(tuple(sorted(indices)), limit)
    assert parse_array(str(wanted)) == wanted
    one_by_one = ",".join(map(str, indices)) + (f"%{limit}" if limit else "")
    assert parse_array(one_by_one) == wanted
    assert len(str(wanted)) <= len(one_by_one)


@given(st.text(alphabet="0123456789-,% a", max_size=30))
def test_any_text_is_either_an_array_or_refused_in_words(text: str) -> None:
    try:
        found = parse_array(text)
    except ValueError:
        with pytest.raises(ValueError, match="array"):
            parse_array(text)
        return
    assert found.indices == tuple(sorted(set(found.indices)))
    assert parse_array(str(found)) == found


@pytest.mark.parametrize(
    ("text", "reference", "condition"),
    [
        ("train", "train", "ok"),
        ("train:ok", "train", "ok"),
        ("acme.joe.train:any", "acme.joe.train", "any"),
        ("sweep:3", "sweep:3", "ok"),
        ("sweep:3:any", "sweep:3", "any"),
        ("ok", "ok", "ok"),
    ],
)
def test_jobs_that_are_waited_for(text: str, reference: str, condition: str) -> None:
    assert parse_after(text) == (reference, condition)


@pytest.mark.parametrize("text", ["", ":ok", "train:done", "train:", "a b", "sweep:3:4", "Train"])
def test_what_names_no_job(text: str) -> None:
    with pytest.raises(ValidationError, match="names no job"):
        JobSpec.model_validate({"after": [text]})
