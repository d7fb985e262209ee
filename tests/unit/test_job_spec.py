"""The job spec: what is taken, and the words for what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from toolkit_client.models import JobPatch, JobSpec
from toolkit_client.wire import describe_problems

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from([field.alias or name for name, field in JobSpec.model_fields.items()])


def problems(body: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(body)
    return describe_problems(JobSpec, caught.value)


def test_all_keys_of_the_interface_are_taken() -> None:
    spec = JobSpec.model_validate(
        {
            "name": "a_b-c",
            "image": "registry.example.org:5000/team/image:1.0@sha256:" + "a" * 64,
            "workdir": "/work",
            "command": ["python", "-c", "1"],
            "data": ["acme.joe.sets@latest/sub/folder:/data:ro", "acme.joe..ssh:/home/toolkit/.ssh"],
            "environmentVars": ["A=b=c", "EMPTY="],
            "role": "acme.joe.user",
            "resources": {
                "cpu": 2,
                "mem": 4,
                "gpu": 1,
                "gpuMem": 16,
                "gpuModel": "!A100",
                "cpuModel": "EPYC",
                "gpuCudaVersion": 8.0,
                "gpuTensorCores": True,
                "replicas": 2,
            },
            "maxRunTime": 60,
            "preemptable": True,
            "restartable": True,
            "interactive": False,
            "bid": -3,
            "tags": [{"key": "a", "value": "b"}, {"key": "c"}, "d=e=f", "g"],
            "options": {"internal-dns": {"name": "x", "ports": [{"port": 1}]}},
            "ports": [6006, "8050:public", {"port": 9000}],
            "enforceName": True,
        }
    )
    assert [(port.port, port.public) for port in spec.ports] == [(6006, False), (8050, True), (9000, False)]
    assert [(tag.key, tag.value) for tag in spec.tags] == [("a", "b"), ("c", None), ("d", "e=f"), ("g", None)]
    again = JobSpec.model_validate_json(spec.model_dump_json(by_alias=True))
    assert again == spec


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"imagee": "x"}, "imagee: unknown key; did you mean `image`?"),
        ({"max_run_tim": 1}, "max_run_tim: unknown key; did you mean `maxRunTime`?"),
        ({"resources": {"memory": 1}}, "resources.memory: unknown key; did you mean `mem`?"),
        ({"tags": [{"key": "a", "val": 1}]}, "tags.0.val: unknown key; did you mean `value`?"),
        ({"zzz": 1}, "zzz: unknown key; known: account, after, array, bid,"),
        ({"resources": {"mem": 0}}, "resources.mem: must be a number of GiB from 0.05 to 65536; given: '0'"),
        ({"resources": {"mem": "4g"}}, "resources.mem: must be a number of GiB"),
        ({"resources": {"cpu": True}}, "resources.cpu: must be a number of CPU cores"),
        ({"resources": {"gpu": 0.5}}, "resources.gpu: must be a whole number of GPUs"),
        ({"ports": [70000]}, "ports.0.port: must be a whole number of TCP port from 1 to 65535"),
        ({"ports": [80, "80"]}, "ports: a port is given twice"),
        ({"name": "trailing\n"}, "name: a name is 1 to 64"),
        ({"environmentVars": ["1A=b"]}, "written NAME=value"),
        ({"data": ["a:/"]}, "over the whole container"),
        ({"workdir": "here"}, "workdir: must be an absolute path"),
        ({"tags": [""]}, "tags.0.key: String should have at least 1 character"),
    ],
)
def test_problems_in_words(body: Any, words: str) -> None:
    assert words in problems(body)


def test_many_problems_are_counted() -> None:
    assert problems({f"k{number}": 1 for number in range(9)}).endswith("and 4 more")


@given(st.dictionaries(keys | st.text(max_size=10), json_values, max_size=4))
def test_anything_else_is_refused_in_words_or_taken_whole(body: dict[str, Any]) -> None:
    """No other exception, and what is taken means the same when it is read again."""
    try:
        spec = JobSpec.model_validate_json(json.dumps(body))
    except ValidationError as error:
        assert describe_problems(JobSpec, error)  # noqa: PT017 - both outcomes are good
        return
    assert JobSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


def test_a_patch_says_what_it_changes() -> None:
    assert JobPatch.model_validate({"name": None}).model_fields_set == {"name"}
    with pytest.raises(ValidationError):
        JobPatch.model_validate({"bid": None})
    with pytest.raises(ValidationError):
        JobPatch.model_validate({"state": "RUNNING"})
