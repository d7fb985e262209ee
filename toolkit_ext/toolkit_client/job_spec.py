"""The job spec: what a user submits, from flags, a YAML file or JSON. Each problem is told in words and units."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from toolkit_client.job_after import parse_after
from toolkit_client.job_array import parse_array
from toolkit_client.mounts import parse_mounts
from toolkit_client.wire import WireModel

__all__ = [
    "MAX_BID",
    "MAX_RUN_TIME",
    "JobName",
    "JobPatch",
    "JobSpec",
    "Port",
    "Resources",
    "ResourcesPatch",
    "Tag",
    "Tags",
]

JOB_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
ENVIRONMENT_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
#: Docker's grammar: [host[:port]/]path[:tag][@digest].
IMAGE_REFERENCE = (
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?{_PATH_PART}(?:/{_PATH_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
#: Variables that describe the run to itself; a user's value would make programs see another job.
RESERVED_ENVIRONMENT = ("TOOLKIT_", "EAI_", "NVIDIA_")
#: Linux takes no longer word on a command line or variable (MAX_ARG_STRLEN, with its end).
MAX_WORD = 128 * 1024 - 1
#: Bytes of command and environment together; Linux takes 2 MiB, and the request has its own limit.
MAX_WORDS = 512 * 1024
MAX_BID = 10**6
#: Ten years in seconds.
MAX_RUN_TIME = 10 * 366 * 86400


def _number(what: str, low: float, high: float, *, whole: bool = False) -> Callable[[Any], Any]:
    """A check that speaks of the unit: a message without it would not say what to write instead."""

    def check(value: Any) -> Any:
        number = math.nan
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            with contextlib.suppress(ValueError, OverflowError):
                number = float(value)
        if not low <= number <= high or (whole and number != int(number)):
            kind = "whole number" if whole else "number"
            raise ValueError(f"must be a {kind} of {what} from {low:g} to {high:g}; given: {str(value)[:40]!r}")
        return int(number) if whole else number

    return check


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of printable text")
    return value


def _job_name(value: str) -> str:
    if not re.fullmatch(JOB_NAME, value):
        raise ValueError("a name is 1 to 64 of a-z, 0-9, `_` and `-`, and begins with a letter or a digit")
    return value


JobName = Annotated[str, AfterValidator(_job_name), Field(json_schema_extra={"pattern": f"^{JOB_NAME}$"})]
_Line = Annotated[str, AfterValidator(_one_line)]


class Resources(WireModel):
    """What a run holds while it lives."""

    cpu: Annotated[float, BeforeValidator(_number("CPU cores", 0.01, 4096))] = Field(
        default=1.0, ge=0.01, le=4096, description="CPUs, in cores; fractions are allowed"
    )
    mem: Annotated[float, BeforeValidator(_number("GiB", 0.05, 65536))] = Field(
        default=1.0, ge=0.05, le=65536, description="memory in GiB; a run that uses more is killed"
    )
    gpu: Annotated[int, BeforeValidator(_number("GPUs", 0, 4096, whole=True))] = Field(
        default=0, ge=0, le=4096, description="whole GPUs"
    )
    gpu_mem: Annotated[float, BeforeValidator(_number("GiB", 0, 65536))] = Field(
        default=0.0, ge=0, le=65536, description="least memory of each GPU in GiB"
    )
    gpu_model: _Line | None = Field(
        default=None, max_length=128, description="only GPUs with this in their name; with `!` before it, only others"
    )
    cpu_model: _Line | None = Field(
        default=None, max_length=128, description="only CPUs with this in their name; with `!` before it, only others"
    )
    gpu_cuda_version: Annotated[float, BeforeValidator(_number("CUDA compute capability", 0, 1000))] | None = Field(
        default=None, description="least CUDA compute capability of each GPU, as 8.0"
    )
    gpu_tensor_cores: bool | None = Field(default=None, description="whether each GPU must have tensor cores")
    replicas: Annotated[int, BeforeValidator(_number("replicas", 1, 1024, whole=True))] = Field(
        default=1, ge=1, le=1024, description="machines that the job runs on at once"
    )


class ResourcesPatch(WireModel):
    """Amounts of a waiting job that change; keys that are left out stay as they are."""

    cpu: Annotated[float, BeforeValidator(_number("CPU cores", 0.01, 4096))] = 1.0
    mem: Annotated[float, BeforeValidator(_number("GiB", 0.05, 65536))] = 1.0
    gpu: Annotated[int, BeforeValidator(_number("GPUs", 0, 4096, whole=True))] = 0
    gpu_mem: Annotated[float, BeforeValidator(_number("GiB", 0, 65536))] = 0.0
    gpu_model: _Line | None = Field(default=None, description="null: any model")


class Port(WireModel):
    """A port of the job's own that its job host serves; also written `N` or `N:public`."""

    port: Annotated[int, BeforeValidator(_number("TCP port", 1, 65535, whole=True))] = Field(ge=1, le=65535)
    public: bool = Field(default=False, description="served without a log-in to everybody who knows the address")


class Tag(WireModel):
    """A label for finding jobs again; also written `key` or `key=value`."""

    key: _Line = Field(min_length=1, max_length=64)
    value: _Line | None = Field(default=None, max_length=256)


def _port_from_text(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"port": value}
    if isinstance(value, str):
        number, colon, word = value.partition(":")
        if not re.fullmatch(r"[0-9]{1,5}", number) or (colon and word != "public"):
            raise ValueError(f"a port is written N or N:public, not {value[:40]!r}")
        return {"port": int(number), "public": bool(colon)}
    return value


def _tag_from_text(value: Any) -> Any:
    if isinstance(value, str):
        key, equals, text = value.partition("=")
        return {"key": key, "value": text if equals else None}
    return value


def _keys_once(tags: list[Tag]) -> list[Tag]:
    keys = [tag.key for tag in tags]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"the tag {twice!r} is given twice")
    return tags


Tags = Annotated[
    list[Annotated[Tag, BeforeValidator(_tag_from_text)]], AfterValidator(_keys_once), Field(max_length=64)
]
_Seconds = Annotated[
    int,
    BeforeValidator(_number("seconds", 0, MAX_RUN_TIME, whole=True)),
    Field(ge=0, le=MAX_RUN_TIME, description="seconds that a run may take; 0: no limit"),
]
_Bid = Annotated[
    int,
    BeforeValidator(_number("bid", -MAX_BID, MAX_BID, whole=True)),
    Field(ge=-MAX_BID, le=MAX_BID, description="orders waiting jobs of one class, the highest first"),
]


class JobSpec(WireModel):
    """What a user submits."""

    name: JobName | None = Field(
        default=None, description="unique among the account's jobs that are alive; free again when the job has ended"
    )
    enforce_name: bool = Field(
        default=False,
        description="take the name from a living job that has it: that job goes on without a name",
    )
    account: _Line | None = Field(
        default=None, max_length=512, description="id or full name of the account; default: your home account"
    )
    image: str = Field(default="", max_length=512, description="image reference; empty: the site's default image")
    command: list[str] | None = Field(
        default=None,
        description="replaces the image's ENTRYPOINT and CMD; without it the image's own run; an empty list, of an interactive "
        "job only: nothing runs, and the job stays until it is stopped",
    )
    workdir: str = Field(default="", max_length=4096, description="folder to start in; empty: the image's own")
    environment_vars: list[str] = Field(default_factory=list, description="items `NAME=value`")
    data: list[str] = Field(
        default_factory=list, max_length=64, description="items `<full name or id>[@version][/subpath]:/path[:ro|:rw]`"
    )
    role: _Line | None = Field(
        default=None, max_length=512, description="role whose rights the job's own token has; default: only the job"
    )
    resources: Resources = Field(default_factory=Resources)
    ports: list[Annotated[Port, BeforeValidator(_port_from_text)]] = Field(
        default_factory=list, max_length=32, description="ports that the job's host serves beside 8080"
    )
    interactive: bool = Field(
        default=False, validate_default=True, description="goes before other jobs; limited in number per user"
    )
    shareable: bool = Field(
        default=False,
        description="of an interactive job: others may be given job:exec; the job then carries none of its creator's rights",
    )
    preemptable: bool = Field(default=False, description="may be stopped to make room; goes after normal jobs")
    restartable: bool = Field(
        default=False, description="goes back to the queue when it is interrupted; goes after preemptable jobs"
    )
    max_run_time: _Seconds | None = Field(
        default=None,
        description="seconds that a run may take; 0: no limit; default: the site's limit (48 h), none for preemptable "
        "and interactive jobs",
    )
    bid: _Bid = Field(default=0)
    after: list[str] = Field(
        default_factory=list,
        max_length=64,
        description="jobs that it waits for, items `ID[:ok|:any]`: until it has succeeded (`ok`, the default), or has ended",
    )
    array: str | None = Field(
        default=None,
        max_length=4096,
        description="makes one job for each index: `0-99`, `0,3,7-9`, or `0-99%8` for at most 8 at once",
    )
    detach: bool = Field(
        default=False, description="of a job that is submitted from within a job: goes on when that one has ended"
    )
    tags: Tags = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict, description="settings of single features, as `internal-dns`")

    @field_validator("image")
    @classmethod
    def _image_well_formed(cls, value: str) -> str:
        if value and not re.fullmatch(IMAGE_REFERENCE, value):
            raise ValueError(f"{value[:80]!r} is no image reference: write NAME, NAME:TAG or REGISTRY/NAME:TAG")
        return value

    @field_validator("command")
    @classmethod
    def _command_well_formed(cls, value: list[str] | None) -> list[str] | None:
        if value is None:
            return value
        if value and not value[0]:
            raise ValueError("the command is empty: leave it out to run the image's own")
        for index, word in enumerate(value):
            if "\0" in word:
                raise ValueError(f"word {index + 1} of the command contains a NUL byte")
            _check_length(word, f"word {index + 1} of the command")
        _check_total(value, "the command")
        return value

    @field_validator("workdir")
    @classmethod
    def _workdir_absolute(cls, value: str) -> str:
        if value and (not value.startswith("/") or "\0" in value):
            raise ValueError("must be an absolute path without NUL bytes")
        return value

    @field_validator("environment_vars")
    @classmethod
    def _environment_well_formed(cls, value: list[str]) -> list[str]:
        for item in value:
            name, equals, text = item.partition("=")
            if not equals or not re.fullmatch(ENVIRONMENT_NAME, name):
                raise ValueError(f"an environment variable is written NAME=value; this is not: {item[:80]!r}")
            if "\0" in text:
                raise ValueError(f"the value of {name} contains a NUL byte")
            if name.startswith(RESERVED_ENVIRONMENT):
                raise ValueError(f"{name} is set by the toolkit and cannot be overridden")
            _check_length(item, f"the variable {name}")
        _check_total(value, "the environment")
        return value

    @field_validator("data")
    @classmethod
    def _mounts_well_formed(cls, value: list[str]) -> list[str]:
        parse_mounts(value)
        return value

    @field_validator("interactive", "shareable")
    @classmethod
    def _interactive_only(cls, value: bool, info: ValidationInfo) -> bool:
        if info.field_name == "interactive" and not value and info.data.get("command") == []:
            raise ValueError(
                "the command is empty: leave it out to run the image's own; only interactive jobs have none"
            )
        if info.field_name == "shareable" and value and not info.data.get("interactive", True):
            raise ValueError("only an interactive job carries rights to give up")
        return value

    @field_validator("after")
    @classmethod
    def _after_well_formed(cls, value: list[str]) -> list[str]:
        for item in value:
            parse_after(item)
        return value

    @field_validator("array")
    @classmethod
    def _array_well_formed(cls, value: str | None) -> str | None:
        return None if value is None else str(parse_array(value))

    @field_validator("ports")
    @classmethod
    def _ports_once(cls, value: list[Port]) -> list[Port]:
        numbers = [item.port for item in value]
        if len(set(numbers)) < len(numbers):
            raise ValueError("a port is given twice")
        return value


class JobPatch(WireModel):
    """What can be changed of a living job; keys that are left out stay as they are."""

    name: JobName | None = Field(default=None, description="null takes the name away")
    tags: Tags = Field(default_factory=list, description="replaces all tags")
    bid: _Bid = Field(default=0)
    max_run_time: _Seconds = Field(default=0, description="seconds from the start of a run; 0: no limit")
    resources: ResourcesPatch = Field(default_factory=ResourcesPatch, description="only while it waits in the queue")
    preemptable: bool = Field(default=False, description="only while it waits in the queue")
    restartable: bool = Field(default=False, description="only while it waits in the queue")


def _check_length(word: str, what: str) -> None:
    size = len(word.encode())
    if size > MAX_WORD:
        raise ValueError(f"{what} has {size} bytes, and Linux takes {MAX_WORD} at most: pass it in a file")


def _check_total(words: list[str], what: str) -> None:
    size = sum(len(word.encode()) + 1 for word in words)
    if size > MAX_WORDS:
        raise ValueError(f"{what} has {size} bytes in all, and {MAX_WORDS} is the limit: pass them in a file")
