"""Tries the runtime folder in images of all kinds, with settings that would break it if it minded them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit_spawner.docker_api import Engine
from toolkit_spawner.runtime import LAB_IMAGE
from toolkit_spawner.runtime.base import base_image, ensure_base_image
from toolkit_spawner.runtime.build import LAB_SUITE, RUNTIME_SUITE
from toolkit_spawner.runtime.parts import RECIPES
from toolkit_spawner.runtime.trial import HOSTILE, Trial, TrialFailed

__all__ = ["IMAGES", "Outcome", "ensure_images", "run_selftest", "try_image"]

Say = Callable[[str], None]

#: Kinds of images, by the names that they have here; the last three are made for the trial.
IMAGES = {
    "default": LAB_IMAGE,
    "bookworm": base_image(LAB_SUITE),
    "trixie": base_image(RUNTIME_SUITE),
    "musl": "toolkit-trial-musl:latest",
    "scratch": "toolkit-trial-scratch:latest",
    "empty": "toolkit-trial-empty:latest",
}
#: One MiB, with every byte.
DATA = bytes(range(256)) * 4096


@dataclass(frozen=True)
class Outcome:
    """What came of one step, and in how many seconds; `problem` is empty when all was well."""

    step: str
    seconds: float
    problem: str = ""


def run_selftest(engine: Engine, runtime: Path, say: Say, scratch: Path) -> bool:
    """Try all images, one line for each step. Blocks. Raises `RuntimeBuildError`."""
    ensure_images(engine, scratch, say)
    good = True
    for kind, image in IMAGES.items():
        for outcome in try_image(engine, runtime, image):
            good &= not outcome.problem
            say(
                f"{kind:9} {outcome.step:12} {'FAILED: ' + outcome.problem if outcome.problem else f'{outcome.seconds:6.2f} s'}"
            )
    return good


def ensure_images(engine: Engine, scratch: Path, say: Say) -> None:
    """Have the images. The default one comes with the build of the folder."""
    for suite in (LAB_SUITE, RUNTIME_SUITE):
        ensure_base_image(engine, suite, scratch, say)
    for kind in ("musl", "scratch", "empty"):
        with tempfile.TemporaryDirectory(prefix="toolkit-build-") as folder:
            recipe = RECIPES / "trial" / f"Dockerfile.{kind}"
            Path(folder, "Dockerfile").write_bytes(recipe.read_bytes())
            engine.build_image(Path(folder), IMAGES[kind], {}, lambda line: None)


def try_image(engine: Engine, runtime: Path, image: str) -> Iterator[Outcome]:
    """All steps in one container; after a failure of the first, nothing else is tried."""
    with (
        tempfile.TemporaryDirectory(prefix="toolkit-trial-") as folder,
        _trial(engine, runtime, image, folder) as trial,
    ):
        for step, action in STEPS.items():
            begin = time.monotonic()
            try:
                action(trial)
            except TrialFailed as error:
                yield Outcome(step, time.monotonic() - begin, str(error))
                if action is Trial.start_job_server:
                    return
            else:
                yield Outcome(step, time.monotonic() - begin)


def _trial(engine: Engine, runtime: Path, image: str, folder: str) -> Trial:
    return Trial(engine, runtime, image, Path(folder), HOSTILE)


def _lab(trial: Trial) -> None:
    trial.page("lab", "jupyter-config-data")


def _notebook(trial: Trial) -> None:
    """With the runtime's kernel; an image's own Python may mind what the trial sets."""
    spec = trial.get("api/kernelspecs").json()["kernelspecs"]["python3"]["spec"]
    if spec["display_name"] == "Python 3 (toolkit)":
        said = trial.run_cell("import os; print(6 * 7, os.environ['PYTHONHOME'])")
        if said != "42 /nowhere\n":
            raise TrialFailed(f"notebook: {said!r}")


def _terminal(trial: Trial) -> None:
    trial.page("ttyd/", "ttyd")


def _code_server(trial: Trial) -> None:
    trial.page("code-server/", "vscode")


def _ssh(trial: Trial) -> None:
    said = trial.ssh("echo $((6 * 7)); id -u; cd; pwd").decode()
    if said != "42\n13011\n/home/toolkit\n":
        raise TrialFailed(f"ssh: {said!r}")


def _environment(trial: Trial) -> None:
    """The session has the job's environment, and its programs are the image's."""
    words = " ".join(f'"{name}=${name}"' for name in sorted(HOSTILE) if name not in ("USER", "LD_PRELOAD"))
    said = trial.ssh(f"unset LD_PRELOAD; printf '%s\\n' {words}").decode().splitlines()
    expected = [f"{name}={value}" for name, value in sorted(HOSTILE.items()) if name not in ("USER", "LD_PRELOAD")]
    if said != expected:
        raise TrialFailed(f"the session's environment is {said}")


def _sftp(trial: Trial) -> None:
    (trial.home / "there").write_bytes(DATA)
    here = trial.home.parent / "here"
    trial.sftp(f"get there {here}\nput {here} back\n")
    if here.read_bytes() != DATA or (trial.home / "back").read_bytes() != DATA:
        raise TrialFailed("sftp: what came back is not what was sent")


STEPS: dict[str, Callable[[Trial], None]] = {
    "job server": Trial.start_job_server,
    "JupyterLab": _lab,
    "notebook": _notebook,
    "ttyd": _terminal,
    "code-server": _code_server,
    "ssh": _ssh,
    "environment": _environment,
    "sftp": _sftp,
}
