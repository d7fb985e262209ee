"""The flags of ``toolkit job submit`` that say what to run, and the spec that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from toolkit_client.cli import values
from toolkit_client.cli.complete import complete_living_jobs

__all__ = ["spec_flags", "spec_of"]

#: Flags by parameter name, and the key of the spec that each sets.
KEYS = {
    "name": "name",
    "enforce_name": "enforceName",
    "account": "account",
    "image": "image",
    "command": "command",
    "workdir": "workdir",
    "variables": "environmentVars",
    "data": "data",
    "role": "role",
    "ports": "ports",
    "interactive": "interactive",
    "shareable": "shareable",
    "preemptable": "preemptable",
    "restartable": "restartable",
    "max_run_time": "maxRunTime",
    "bid": "bid",
    "after": "after",
    "array": "array",
    "detach": "detach",
    "tags": "tags",
}
RESOURCES = {
    "cpu": "cpu",
    "mem": "mem",
    "gpu": "gpu",
    "gpu_mem": "gpuMem",
    "gpu_model": "gpuModel",
    "cuda_version": "gpuCudaVersion",
    "tensor_cores": "gpuTensorCores",
    "cpu_model": "cpuModel",
    "replicas": "replicas",
}

FLAGS = (
    click.option("-i", "--image", metavar="IMAGE", help="Container image. Default: the site's."),
    click.option("--name", metavar="NAME", help="A name that no living job of the account has."),
    click.option(
        "--enforce-name",
        is_flag=True,
        default=None,
        help="Take the name from the living job that has it; that goes on.",
    ),
    click.option("--account", metavar="A", help="Account that owns the job. Default: your home account."),
    click.option(
        "--cpu", metavar="N", callback=values.cores, help="CPUs, in cores; fractions are allowed. Default: 1."
    ),
    click.option(
        "--mem", metavar="SIZE", callback=values.gibibytes, help="Memory in GiB, or as 512m or 4g. Default: 1."
    ),
    click.option("--gpu", metavar="N", type=int, help="GPUs. Default: 0."),
    click.option(
        "--gpu-mem", metavar="SIZE", callback=values.gibibytes, help="Least memory of each GPU, in GiB, or as 24g."
    ),
    click.option(
        "--gpu-model-filter", "gpu_model", metavar="M", help="Only GPUs with M in their name; `!M`: only others."
    ),
    click.option(
        "--cuda-version", metavar="N", callback=values.number, help="Least CUDA compute capability of the GPUs, as 8.0."
    ),
    click.option("--gpu-tensor-cores", "tensor_cores", is_flag=True, default=None, help="Only GPUs with tensor cores."),
    click.option(
        "--cpu-model-filter", "cpu_model", metavar="M", help="Only CPUs with M in their name; `!M`: only others."
    ),
    click.option("--replicas", metavar="N", type=int, help="Machines that the job runs on at once. Default: 1."),
    click.option(
        "-d",
        "--data",
        metavar="D:/PATH",
        multiple=True,
        help="Mount data: NAME[@VERSION][/SUBPATH]:/PATH[:ro|:rw]; repeatable.",
    ),
    click.option(
        "-m",
        "--mount",
        "mounts",
        metavar="D[:/PATH]",
        multiple=True,
        callback=values.mounts,
        help="The same, where the path may be left out: then it is /home/work/NAME.",
    ),
    click.option(
        "-e",
        "--env",
        "variables",
        metavar="K=V",
        multiple=True,
        callback=values.variables,
        help="A variable for the command; repeatable.",
    ),
    click.option("--workdir", metavar="PATH", help="Folder in the container to start in. Default: the image's."),
    click.option(
        "--role", metavar="R", help="Role whose rights the job's own token has. Default: only the job itself."
    ),
    click.option(
        "--port",
        "ports",
        metavar="N[:public]",
        multiple=True,
        callback=values.ports,
        help="A port to serve beside 8080; `public`: to everybody, without a log-in. Repeatable.",
    ),
    click.option(
        "--tag", "tags", metavar="K[=V]", multiple=True, callback=values.tags, help="A label to find it by; repeatable."
    ),
    click.option(
        "-I/ ",
        "--interactive/--non-interactive",
        default=None,
        help="Goes before other jobs; limited in number per user. It carries your rights, and only you can enter it.",
    ),
    click.option(
        "--shareable/--non-shareable",
        default=None,
        help="Of an interactive job: it carries none of your rights, and others may be given job:exec.",
    ),
    click.option(
        "--preemptable/--non-preemptable", default=None, help="May be stopped to make room. Default: it may not."
    ),
    click.option(
        "--restartable/--non-restartable",
        default=None,
        help="Goes back to the queue when it is interrupted. Default: it ends.",
    ),
    click.option("--bid", metavar="N", type=int, help="Order among waiting jobs of its class, the highest first."),
    click.option(
        "--max-run-time",
        metavar="T",
        callback=values.duration,
        help="Time limit of a run: 48h, 90m, 1d12h, or seconds; 0: none. Default: the site's.",
    ),
    click.option(
        "--after",
        metavar="ID[:ok|:any]",
        multiple=True,
        shell_complete=complete_living_jobs,
        help="Start when that job, or array, has succeeded (`ok`, the default) or has ended (`any`); repeatable.",
    ),
    click.option(
        "--array",
        metavar="0-99[%8]",
        help="One job for each index, also 0,3,7-9; `%8`: at most 8 at once. Each has TOOLKIT_ARRAY_INDEX.",
    ),
    click.option(
        "--detach",
        is_flag=True,
        default=None,
        help="Submitted from within a job: go on when that one has ended.",
    ),
)


def spec_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags; the command gets their values by parameter name."""
    for flag in reversed(FLAGS):
        command = flag(command)
    return command


def spec_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The spec as JSON; what was not given is left out."""
    spec = {key: _plain(given[flag]) for flag, key in KEYS.items()}
    spec["data"] = [*spec["data"], *given["mounts"]]
    spec["resources"] = {key: given[flag] for flag, key in RESOURCES.items() if given[flag] is not None}
    return {key: value for key, value in spec.items() if value not in (None, [], {})}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
