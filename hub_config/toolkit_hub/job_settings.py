"""The settings of what jobs get: capacity, GPUs, images, limits; a part of ``c.Toolkit`` (`toolkit_hub.configure`)."""

from __future__ import annotations

import os

from traitlets import Bool, Dict, Enum, Float, Int, List, Unicode, default
from traitlets.config import Configurable

__all__ = ["JobSettings"]


class JobSettings(Configurable):
    """What there is to give out, and within which limits."""

    cpus = Float(
        help="""CPUs that all runs together may hold. Default: the machine's.""",
    ).tag(config=True)

    @default("cpus")
    def _default_cpus(self) -> float:
        return float(os.cpu_count() or 1)

    memory = Float(
        help="""Memory in GiB that all runs together may hold. Default: the machine's, rounded down to a tenth.""",
    ).tag(config=True)

    @default("memory")
    def _default_memory(self) -> float:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return int(total / 2**30 * 10) / 10

    overcommit = Float(
        1.0,
        min=0.1,
        help="""Factor on `cpus` at admission. 2.0 lets runs declare twice the CPUs that exist; each still gets at most what it
        declared. Memory is never over-committed, for a run would be killed for what another one took.""",
    ).tag(config=True)

    gpus = List(
        Dict(),
        default_value=None,
        allow_none=True,
        help="""The machine's GPUs, as `[{"uuid": "GPU-…", "model": "NVIDIA A100", "mem": 80, "capability": 8.0}]`, for a machine
        whose driver cannot be asked. None: NVIDIA's driver is asked (NVML), and where there is none there are no GPUs.""",
    ).tag(config=True)

    simulated_gpus = Int(
        min=0,
        help="""GPUs that are only played: jobs get /dev/null for each, and every name says SIMULATED. Default: the environment's
        SIM_GPUS, or none.""",
    ).tag(config=True)

    @default("simulated_gpus")
    def _default_simulated_gpus(self) -> int:
        return int(os.environ.get("SIM_GPUS") or 0)

    gpu_handover = Enum(
        ["auto", "cdi", "nvidia", "nodes"],
        default_value="auto",
        help="""How a container is given a GPU: by the Container Device Interface, by the engine's `nvidia` runtime, or as bare
        device nodes. `auto`: the first of these that the engine knows.""",
    ).tag(config=True)

    default_image = Unicode(
        "toolkit-lab", help="Image of jobs that name none, and of users' own servers; it must contain JupyterLab."
    ).tag(config=True)

    image_names = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""Short names of images, as `{"pytorch": "registry.example.org/ml/pytorch:2.5"}`: a job that asks for one of them
        gets the image behind it, and shows that one. The images are allowed, and may be pulled, as if `allowed_images` named
        them. An image that has such a name itself is meant by its name with a tag (`python:latest`). Default: `python` is the
        default image.""",
    ).tag(config=True)

    @default("image_names")
    def _default_image_names(self) -> dict[str, str]:
        return {"python": self.default_image}

    server_cpu = Float(1.0, help="CPUs of a user's own server (“Start my server”).").tag(config=True)
    server_memory = Float(2.0, help="Memory of a user's own server in GiB.").tag(config=True)

    interactive_limit = Int(4, help="Interactive jobs that one user may have alive at a time.").tag(config=True)

    array_limit = Int(1000, min=1, help="Jobs that one array (`job submit --array`) may have.").tag(config=True)

    stop_grace = Int(
        10, min=3, help="Seconds between SIGTERM and SIGKILL when a job is killed; the last two belong to the toolkit."
    ).tag(config=True)

    preempt_grace = Int(
        30,
        min=3,
        help="""Seconds between SIGTERM and SIGKILL when a job is stopped to make room for another one: time to save its work.""",
    ).tag(config=True)

    pull_images = Bool(
        True,
        help="""Whether an image that is not on this machine is pulled from its registry: the default image, and those that
        `allowed_images` names.""",
    ).tag(config=True)

    allowed_images = List(
        Unicode(),
        default_value=None,
        allow_none=True,
        help="""Patterns of the image references that jobs may use, as `["python:3.*", "registry.example.org/team/*"]`; `*` and
        `?` as in file names. They are pulled if need be. The default image is always allowed. None: every image that is on
        this machine, and no other is pulled.""",
    ).tag(config=True)

    max_run_time = Int(
        172800,
        min=0,
        help="""Seconds after which a run is ended when its job names no limit of its own; 0: none. Preemptable and interactive
        jobs have no limit unless they name one.""",
    ).tag(config=True)

    log_quota = Int(
        256,
        min=1,
        help="""MiB that are kept of one run's output. Of a longer output the first half of that is kept, and of the rest what
        came last; in between a line says how much is missing.""",
    ).tag(config=True)

    scratch_quota = Float(
        20.0,
        min=0,
        help="""GiB that a run may write outside its data volumes: container layer, scratch home, log. A run that wrote more is
        killed. It is measured every few seconds, so it is no hard limit. 0: no limit.""",
    ).tag(config=True)

    disk_floor = Float(
        5.0,
        min=0,
        help="""GiB that stay free on the disk of the runs and the engine: with less, the run that has written most lately is
        killed. 0: never.""",
    ).tag(config=True)
