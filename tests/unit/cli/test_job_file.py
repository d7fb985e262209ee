"""Job files: what they mean, how flags change them, and where each mistake is said to be."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.canned_service import Service, make_job
from tests.unit.cli.conftest import Cli
from toolkit_client.cli import reference_docs
from toolkit_client.cli.job import SPEC_FIELDS
from toolkit_client.job_spec import JobSpec
from toolkit_client.models import Tag

JOB = """\
# as people write it
name: train
image: python
command: [sleep, 300, 0644, 12:30, yes, 2024-01-01, ~x, "quoted", 1.50]
environmentVars:
  - SEED=1
  - MODE=fast
data: [acme.joe.set:/data:ro, home:/home/work]
workdir: /data
role: acme.joe.reader
resources: {cpu: 2, mem: 8, gpu: 1, gpuMem: 24, gpuModel: "!T4", cpuModel: EPYC, gpuCudaVersion: 8.0, replicas: 2}
maxRunTime: 43200
preemptable: true
restartable: true
interactive: false
bid: 3
tags: [{key: sweep, value: 7}, {key: draft}]
ports: [{port: 9000, public: true}, {port: 9001}]
options: {internal-dns: {name: a, ports: [{port: 1}]}}
"""
SPEC = {
    "name": "train",
    "image": "python",
    "command": ["sleep", "300", "0644", "12:30", "yes", "2024-01-01", "~x", "quoted", "1.50"],
    "environmentVars": ["SEED=1", "MODE=fast"],
    "data": ["acme.joe.set:/data:ro", "home:/home/work"],
    "workdir": "/data",
    "role": "acme.joe.reader",
    "resources": {
        "cpu": 2,
        "mem": 8,
        "gpu": 1,
        "gpuMem": 24,
        "gpuModel": "!T4",
        "cpuModel": "EPYC",
        "gpuCudaVersion": 8.0,
        "replicas": 2,
    },
    "maxRunTime": 43200,
    "preemptable": True,
    "restartable": True,
    "interactive": False,
    "bid": 3,
    "tags": [{"key": "sweep", "value": "7"}, {"key": "draft"}],
    "ports": [{"port": 9000, "public": True}, {"port": 9001}],
    "options": {"internal-dns": {"name": "a", "ports": [{"port": 1}]}},
}


@pytest.fixture
def submit(service: Service, cli: Cli, tmp_path: Path) -> Any:
    """Submits a file's text with some flags; gives the spec that was sent."""

    def run(text: str | bytes, *flags: str, name: str = "job.yml", code: int = 0) -> Any:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        cli("job", "submit", "-f", str(tmp_path / name), *flags, code=code)
        sent = service.asked("POST", "/jobs")
        assert bool(sent) == (code == 0)
        return sent[-1].body if sent else None

    return run


def test_all_keys(submit: Any) -> None:
    assert submit(JOB) == SPEC
    JobSpec.model_validate(SPEC)


def test_json_says_the_same(submit: Any) -> None:
    assert submit(json.dumps(SPEC), name="job.json") == SPEC


def test_a_file_from_stdin(service: Service, cli: Cli) -> None:
    cli("job", "submit", "-f", "-", stdin="image: python\n")
    assert service.asked("POST", "/jobs")[0].body == {"image": "python"}


def test_flags_go_before_the_file(submit: Any) -> None:
    flags = ["--name", "other", "-e", "MODE=slow", "-e", "NEW=1", "--mem", "16", "--gpu", "0", "--tag", "sweep=8"]
    flags += ["--non-preemptable", "-d", "acme.joe.new:/data:rw", "--port", "9000", "--max-run-time", "0", "--bid", "0"]
    got = submit(JOB, *flags, "--", "bash", "-c", "true")
    assert got == SPEC | {
        "name": "other",
        "command": ["bash", "-c", "true"],
        "environmentVars": ["SEED=1", "MODE=slow", "NEW=1"],
        "data": ["home:/home/work", "acme.joe.new:/data:rw"],
        "resources": {**SPEC["resources"], "mem": 16, "gpu": 0},  # type: ignore[dict-item]
        "tags": [{"key": "draft"}, {"key": "sweep", "value": "8"}],
        "ports": [{"port": 9001}, {"port": 9000}],
        "preemptable": False,
        "maxRunTime": 0,
        "bid": 0,
    }


def test_short_forms_of_the_service_are_understood(submit: Any) -> None:
    got = submit("ports: [9000:public, 9001]\ntags: [a=1, b]\n", "--port", "9000", "--tag", "b=2")
    assert got == {"ports": [9001, {"port": 9000}], "tags": ["a=1", {"key": "b", "value": "2"}]}


def test_a_spec_that_info_prints_can_be_submitted(service: Service, cli: Cli, submit: Any) -> None:
    tags = [Tag(key="a", value="1"), Tag(key="b")]
    service.jobs = [
        make_job(name="train", tags=tags, max_run_time=60, environment_vars=["A=é\n"], data=["d:/d"], bid=2)
    ]
    text = cli("job", "info", "--job-spec", "train")
    got = submit(text)
    assert got["tags"] == [{"key": "a", "value": "1"}, {"key": "b"}]
    assert (got["environmentVars"], got["maxRunTime"], got["bid"]) == (["A=é\n"], 60, 2)
    assert "gpuModel" not in text


def test_the_printed_spec_has_every_key() -> None:
    keys = {str(field.alias) for field in JobSpec.model_fields.values()}
    # What a new job may take from another one is no property of the job that came of it.
    assert set(SPEC_FIELDS) == keys - {"enforceName"}


def test_the_example_of_the_page_is_a_spec(submit: Any) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", reference_docs.cli_page(), re.DOTALL)
    JobSpec.model_validate(submit(example))
    assert yaml.safe_load(example)["command"][3] == 0.1


# --- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image: python\ncommand: [a, b\n", "job.yml, line 3, column 1: while parsing a flow sequence"),
        ("image: a\n  bad: b\n", "job.yml, line 2, column 6: mapping values are not allowed here"),
        ("image: a\n\tname: b\n", "line 2, column 1: "),
        ("resources:\n\tcpu: 2\n", "tabs cannot indent YAML"),
        ("name: 'x\n", "job.yml, line 2, column 1"),
        ("image: a\nname: b\x07\n", "job.yml, line 2, column 8: a character that YAML does not allow"),
        (b"image: a\nname: \xff\n", "job.yml, line 2, column 7: this is not UTF-8 text"),
        ("image: a\nname: \\0\n", "line 2, column 1: name: a name is"),
        ('command: [a, "b\\0c"]\n', "line 1, column 1: command: word 2 of the command contains a NUL byte"),
        ("image: a\nimage: b\n", "line 2, column 1: the key 'image' is there twice"),
        ("image: a\n---\nimage: b\n", "line 3, column 1: a second document begins here"),
        ("", "job.yml is empty"),
        ("# nothing\n---\n", "job.yml is empty"),
        ("just words\n", "has no keys"),
        ("- a\n- b\n", "has no keys"),
        ("? [a, b]\n: c\n", "line 1, column 3: a key is a single word"),
        (
            "image: !!python/object/apply:os.system [id]\n",
            "line 1, column 8: !!python/object/apply:os.system is not possible",
        ),
        ("image: !!binary aGk=\n", "!!binary is not possible"),
        ("resources: {cpu: .inf}\n", "line 1, column 18: '.inf' is no number"),
        ("resources: {cpu: .nan}\n", "'.nan' is no number"),
        ("command: &a [*a]\n", "job.yml: it is nested too deeply"),
        ("command: " + "[" * 3000, "it is nested too deeply"),
        ("options:\n  mem: 0\nresources:\n  mem: 0\n", "line 4, column 3: resources.mem: must be a number of GiB"),
        ("tags: [{key: a}, {key: a}]\n", "line 1, column 1: tags: the tag 'a' is given twice"),
        ("ports: [{port: 0}]\n", "line 1, column 10: ports.0.port: must be a whole number"),
        ("name: Bad Name\n", "line 1, column 1: name: a name is 1 to 64"),
        ("environmentVars: [PATH]\n", "is written NAME=value; this is not: 'PATH'"),
        ("environmentVars: {A: 1}\n", "line 1, column 1: environmentVars: Input should be a valid list"),
        ("data: [a:/x, b:/x/y]\n", "mounts cannot be nested"),
        ("interactive: maybe\n", "line 1, column 1: interactive: Input should be a valid boolean"),
    ],
)
def test_mistakes_are_told_with_their_place(cli: Cli, submit: Any, text: str | bytes, words: str) -> None:
    submit(text, code=2)
    assert words in cli.err, cli.err
    assert re.fullmatch(r"error: .+\nhint: .+\n", cli.err)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("imge: a", "image"),
        ("max_run_time: 3", "maxRunTime"),
        ("maxruntime: 3", "maxRunTime"),
        ("env: [A=1]", "environmentVars"),
        ("cmd: [a]", "command"),
        ("tag: [a]", "tags"),
        ("cpu: 2", "resources.cpu"),
        ("gpus: 2", "resources.gpu"),
        ("cuda: 8", "resources.gpuCudaVersion"),
        ("resources: {memory: 2}", "mem"),
        ("resources: {gpu_mem: 2}", "gpuMem"),
        ("tags: [{name: a}]", None),
        ("ports: [{prot: 1}]", "port"),
        ("qqqqqq: 1", None),
    ],
)
def test_unknown_keys_and_what_they_may_mean(cli: Cli, submit: Any, key: str, meant: str | None) -> None:
    submit(f"image: a\n{key}\n", code=2)
    assert re.match(r"error: \S+job.yml, line 2, column \d+: there is no key '", cli.err), cli.err
    assert (f"hint: did you mean '{meant}'?\n" if meant else "hint: known keys: ") in cli.err


def test_a_flag_that_is_wrong_is_not_blamed_on_the_file(cli: Cli, submit: Any) -> None:
    submit("resources: {mem: 2}\n", "--mem", "0", code=2)
    assert cli.err.startswith("error: resources.mem: must be a number of GiB")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"image": "a",}', "job.json, line 1, column 15"),
        ('{"image": "a", "image": "b"}', "the key 'image' is there twice"),
        ('{"bid": NaN}', "NaN is no number of JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "has no keys"),
        ('{"imge": "a"}', "did you mean 'image'?"),
    ],
)
def test_mistakes_in_json(cli: Cli, submit: Any, text: str, words: str) -> None:
    submit(text, name="job.json", code=2)
    assert words in cli.err, cli.err


def test_files_that_cannot_be_read(cli: Cli, submit: Any, tmp_path: Path) -> None:
    for name, words in (("none.yml", "No such file"), ("", "Is a directory")):
        cli("job", "submit", "-f", str(tmp_path / name), code=2)
        assert words in cli.err
    submit(b"a" * 10_000_000, code=2)
    assert "larger than a job file may be (1 MiB)" in cli.err


def test_mounts_with_and_without_a_path(cli: Cli, service: Service, submit: Any) -> None:
    flags = ["-d", "acme.joe.new:/home/toolkit/a", "-m", "acme.joe..ssh:ro", "--mount", "images@2/x:/d"]
    file = yaml.safe_dump({"data": ["old:/home/work/a", "kept:/home/work/b"]})
    assert submit(file, *flags)["data"] == [
        "kept:/home/work/b",
        "acme.joe.new:/home/toolkit/a",
        "acme.joe..ssh:/home/work/.ssh:ro",
        "images@2/x:/d",
    ]


def test_a_text_that_unfolds_to_very_much_is_refused_soon(cli: Cli, submit: Any) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12)]
    begin = time.monotonic()
    submit("\n".join(lines), code=2)
    assert "unfolds to more than 50000 values" in cli.err
    assert time.monotonic() - begin < 5


def test_long_commands_pass(submit: Any) -> None:
    words = ["w" * 100_000, "x" * 100_000, "é" * 25_000]
    assert submit(yaml.safe_dump({"command": words}))["command"] == words
