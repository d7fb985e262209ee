"""Job files: the spec as YAML or JSON, read safely, with the place of each mistake.

A file may come from someone else, so it is only data: no tags that make objects, bounded in size, depth and unfolding of
aliases. Where the spec wants text (a command's words, names) a scalar counts as it is written: ``0644``, ``12:30`` and
``yes`` stay what they are, which plain YAML would turn into numbers and truth values.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from toolkit_client.errors import InvalidRequest

__all__ = ["LARGEST", "JobFile", "merged", "read_job_file"]

#: Bytes that a job file may have. The command line itself cannot be longer than about twice that.
LARGEST = 1024 * 1024
#: Values that a file may unfold to; aliases can make very many out of a short text.
MOST_VALUES = 50_000
#: Keys below which every scalar is text; of tags only `key` and `value` are there.
TEXT_KEYS = frozenset(
    {"account", "after", "array", "command", "data", "environmentVars", "image", "name", "role", "tags", "workdir"}
)
HINT = "keys and an example: `toolkit job submit -h`, docs/cli.md"

#: Where a value stands in a spec, as ``("tags", 0, "key")``.
Place = tuple[str | int, ...]


class JobFile(NamedTuple):
    """A spec, and for each value in it where it was written, as ``job.yml, line 3, column 5``."""

    spec: dict[str, Any]
    written_at: Mapping[Place, str]


def read_job_file(name: str) -> JobFile:
    """The spec in a file; ``-`` is stdin.

    Raises:
        InvalidRequest: the file cannot be read, is too large, is no YAML or JSON, or has a key that no spec has.
    """
    shown, text = _read(name)
    file = _from_json(shown, text) if name.endswith(".json") else _from_yaml(shown, text)
    from toolkit_client.cli.spec_check import check_keys

    check_keys(file)
    return file


def merged(file: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a file as flags change it.

    A flag replaces the file's value. Of variables, tags, ports and data only those are replaced that have the same name,
    key, port or mount path; resources one by one.
    """
    spec = {**file, **flags}
    if isinstance(file.get("resources"), dict) and "resources" in flags:
        spec["resources"] = {**file["resources"], **flags["resources"]}
    for key, identity in IDENTITIES.items():
        if isinstance(file.get(key), list) and key in flags:
            given = {identity(item) for item in flags[key]}
            spec[key] = [item for item in file[key] if identity(item) not in given] + flags[key]
    return spec


def _mount_path(item: Any) -> str:
    """The mount path of ``NAME[@VERSION][/SUBPATH]:/path[:ro|:rw]``."""
    from toolkit_client.mounts import canonical_target

    return canonical_target(str(item).partition(":")[2].removesuffix(":ro").removesuffix(":rw"))


#: What tells two items of a list apart.
IDENTITIES: dict[str, Callable[[Any], str]] = {
    "data": _mount_path,
    "environmentVars": lambda item: str(item).partition("=")[0],
    "ports": lambda item: str(item.get("port") if isinstance(item, dict) else item).partition(":")[0],
    "tags": lambda item: str(item.get("key") if isinstance(item, dict) else item).partition("=")[0],
}


def _read(name: str) -> tuple[str, str]:
    """The file's name as it is shown, and its text."""
    shown = "stdin" if name == "-" else name
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with Path(name).open("rb") as stream:
                raw = stream.read(LARGEST + 1)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise InvalidRequest(f"cannot read {shown}: {reason}", "-f takes the name of a job file") from problem
    if len(raw) > LARGEST:
        raise InvalidRequest(
            f"{shown} is larger than a job file may be (1 MiB)", "put large input in a data volume or in the image"
        )
    try:
        return shown, raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        _fail(shown, raw[: problem.start].decode(), "this is not UTF-8 text")


def _fail(shown: str, before: str, problem: str) -> NoReturn:
    """Raises InvalidRequest for the place after the text `before`."""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    raise InvalidRequest(f"{shown}, line {line}, column {column}: {problem}", HINT)


def _checked_spec(shown: str, value: Any) -> dict[str, Any]:
    if value is None:
        raise InvalidRequest(f"{shown} is empty", HINT)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{shown} has no keys: a job file is a mapping, as `image: python`", HINT)
    return value


# --- JSON -------------------------------------------------------------------------------------------------------------


def _from_json(shown: str, text: str) -> JobFile:
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as problem:
        raise InvalidRequest(
            f"{shown}, line {problem.lineno}, column {problem.colno}: {problem.msg}", HINT
        ) from problem
    except (ValueError, RecursionError) as problem:
        raise InvalidRequest(f"{shown}: {_too_deep(problem)}", HINT) from problem
    return JobFile(_checked_spec(shown, value), {(): shown})


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in names if names.count(key) > 1)!r} is there twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _too_deep(problem: Exception) -> str:
    return "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)


# --- YAML -------------------------------------------------------------------------------------------------------------


def _from_yaml(shown: str, text: str) -> JobFile:
    # Loaded here: most submissions have no file, and YAML costs a tenth of a short command's time.
    import yaml

    try:
        documents = [node for node in yaml.compose_all(text, yaml.SafeLoader) if not _is_nothing(node)]
        if len(documents) > 1:
            mark = documents[1].start_mark
            raise InvalidRequest(
                f"{shown}, line {mark.line + 1}, column {mark.column + 1}: a second document begins here",
                "a job file has one job: put each in a file of its own",
            )
        values = _YamlValues(shown)
        return JobFile(_checked_spec(shown, values.value(documents[0], ()) if documents else None), values.written_at)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        raise InvalidRequest(f"{_at(shown, mark)}: {_yaml_problem(problem)}", HINT) from problem
    except yaml.reader.ReaderError as problem:
        _fail(shown, text[: problem.position], f"a character that YAML does not allow: {text[problem.position]!r}")
    except RecursionError as problem:
        raise InvalidRequest(f"{shown}: {_too_deep(problem)}", HINT) from problem


def _is_nothing(node: Any) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null" and node.value == "")


def _at(shown: str, mark: Any) -> str:
    return f"{shown}, line {mark.line + 1}, column {mark.column + 1}" if mark else shown


def _yaml_problem(problem: Any) -> str:
    words = " ".join(part for part in (problem.context, problem.problem) if part) or "this is no YAML"
    return f"{words} (tabs cannot indent YAML)" if "'\\t'" in words else words


class _YamlValues:
    """Values of YAML nodes: only what JSON has."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._count = 0
        self.written_at: dict[Place, str] = {(): shown}

    def value(self, node: Any, place: Place) -> Any:
        self._count += 1
        if self._count > MOST_VALUES:
            raise InvalidRequest(f"{self._shown} unfolds to more than {MOST_VALUES} values", "use fewer aliases")
        if place:
            self.written_at[place] = _at(self._shown, node.start_mark)
        if node.id == "mapping" and node.tag.endswith(":map"):
            return self._mapping(node, place)
        if node.id == "sequence" and node.tag.endswith(":seq"):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: Any, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.id != "scalar":
                raise InvalidRequest(f"{_at(self._shown, key_node.start_mark)}: a key is a single word", HINT)
            key = str(key_node.value)
            if key in found:
                raise InvalidRequest(f"{_at(self._shown, key_node.start_mark)}: the key {key!r} is there twice", HINT)
            found[key] = self.value(value_node, (*place, key))
            # What is wrong with a mapping's entry is best looked for at its key.
            self.written_at[(*place, key)] = _at(self._shown, key_node.start_mark)
        return found

    def _scalar(self, node: Any, place: Place) -> Any:
        from yaml.constructor import SafeConstructor

        kind = node.tag.removeprefix("tag:yaml.org,2002:") if node.id == "scalar" else ""
        if kind == "null":
            return None
        if kind == "str" or (kind in ("bool", "int", "float", "timestamp") and self._is_text(place)):
            return str(node.value)
        if kind in ("bool", "int", "float"):
            try:
                value = getattr(SafeConstructor(), f"construct_yaml_{kind}")(node)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise InvalidRequest(f"{_at(self._shown, node.start_mark)}: {node.value!r} is no number", HINT)
            return value
        if kind == "timestamp":
            return str(node.value)
        shown = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise InvalidRequest(
            f"{_at(self._shown, node.start_mark)}: {shown} is not possible here: a job file has words, numbers, lists "
            "and keys only",
            HINT,
        )

    @staticmethod
    def _is_text(place: Place) -> bool:
        return bool(place) and place[0] in TEXT_KEYS
