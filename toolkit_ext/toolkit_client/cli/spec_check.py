"""The keys and values of a job file against the wire model, with the place of each mistake and what may be meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from toolkit_client.cli.job_file import HINT, JobFile, Place
from toolkit_client.errors import InvalidRequest
from toolkit_client.job_spec import JobSpec
from toolkit_client.wire import keys_at

__all__ = ["check_keys", "check_values"]

#: What people write, and what a spec calls it.
SYNONYMS = {
    "args": "command",
    "cmd": "command",
    "cuda": "resources.gpuCudaVersion",
    "cudaversion": "resources.gpuCudaVersion",
    "entrypoint": "command",
    "env": "environmentVars",
    "environment": "environmentVars",
    "envs": "environmentVars",
    "gpus": "resources.gpu",
    "gpumodelfilter": "resources.gpuModel",
    "memory": "resources.mem",
    "mounts": "data",
    "timeout": "maxRunTime",
    "volumes": "data",
    "workingdir": "workdir",
}


def check_keys(file: JobFile) -> None:
    """Raises InvalidRequest for a key that no spec has."""
    _check_keys(file, file.spec, ())


def check_values(file: JobFile, spec: dict[str, Any]) -> None:
    """Checks a file's spec, with the flags merged into it, as the service will; raises InvalidRequest."""
    try:
        JobSpec.model_validate(spec)
    except ValidationError as error:
        problems = [_problem(file, spec, item) for item in error.errors(include_url=False)[:3]]
        raise InvalidRequest("; ".join(problems), HINT) from error


def _check_keys(file: JobFile, value: Any, place: Place) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check_keys(file, item, (*place, index))
    if not isinstance(value, dict):
        return
    known = keys_at(JobSpec, place)
    if not known:
        # The spec leaves the keys open here.
        return
    for key, item in value.items():
        here: Place = (*place, key)
        if key not in known:
            where = file.written_at.get(here, file.written_at[()])
            raise InvalidRequest(f"{where}: there is no key {_dotted(here)!r}", _meant(key, known, place))
        _check_keys(file, item, here)


def _meant(key: str, known: set[str], place: Place) -> str:
    """What the key may have been meant to be, as a hint."""
    plain = "".join(letter for letter in key.lower() if letter.isalnum())
    everything = {name.lower(): name for name in known}
    if not place:
        for name in keys_at(JobSpec, ("resources",)):
            everything.setdefault(name.lower(), f"resources.{name}")
        synonym = SYNONYMS.get(plain)
    else:
        synonym = SYNONYMS.get(plain, "").removeprefix(f"{place[0]}.")
    close = get_close_matches(plain, everything, n=1)
    meant = everything.get(plain) or (synonym if synonym in everything.values() else None)
    meant = meant or (everything[close[0]] if close else None)
    return f"did you mean {meant!r}?" if meant else f"known keys: {', '.join(sorted(known))}"


def _problem(file: JobFile, spec: dict[str, Any], item: Any) -> str:
    place: Place = tuple(item["loc"])
    where = ""
    # A value that a flag gave stands in no file.
    if _value_at(file.spec, place) == _value_at(spec, place):
        near = next((place[:length] for length in range(len(place), -1, -1) if place[:length] in file.written_at), ())
        where = f"{file.written_at[near]}: "
    text = str(item["msg"]).removeprefix("Value error, ")
    return f"{where}{_dotted(place)}: {text}" if place else where + text


def _value_at(value: Any, place: Place) -> Any:
    for part in place:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place)
