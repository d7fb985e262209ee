"""The site that a command of this machine is about, with paths that hold wherever its units run."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit_hub.configure import Toolkit, load_settings
from toolkit_hub.host.steps import SetupError

__all__ = ["SOURCE_TREE", "load_site", "unit_environment"]

#: Root of the source tree this package is installed from; of no use when it is installed from a wheel.
SOURCE_TREE = Path(__file__).resolve().parents[3]

#: The only variables with our prefix that units get. Others belong to a person's shell or to a job, as TOOLKIT_TOKEN.
SITE_VARIABLES = frozenset({"TOOLKIT_STATE", "TOOLKIT_PORT", "TOOLKIT_CONFIG", "TOOLKIT_CA_BUNDLE"})
FOREIGN_PREFIXES = ("TOOLKIT_", "EAI_", "JUPYTERHUB_", "JPY_", "CONFIGPROXY_", "SUPERVISOR_")
KEPT = SITE_VARIABLES | {"JUPYTERHUB_CRYPT_KEY"}
MAKE_VARIABLES = frozenset({"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKE_TERMOUT", "MAKE_TERMERR"})


def load_site() -> Toolkit:
    """The settings of TOOLKIT_CONFIG, else of ``jupyterhub_config.py`` in the present folder, else of the source tree.

    Makes TOOLKIT_STATE and TOOLKIT_CONFIG absolute in this process's environment. Raises `SetupError`.
    """
    config = _config_file()
    os.environ["TOOLKIT_CONFIG"] = str(config)
    if "TOOLKIT_STATE" in os.environ:
        os.environ["TOOLKIT_STATE"] = os.path.abspath(os.environ["TOOLKIT_STATE"])
    port = os.environ.get("TOOLKIT_PORT", "8000")
    if not port.isdecimal() or not 1 <= int(port) <= 65530:
        raise SetupError(
            f"TOOLKIT_PORT is {port!r}; it must be a number from 1 to 65530, the first of six ports in a row.",
            "As in: TOOLKIT_PORT=9000 make run",
        )
    site = load_settings(str(config))
    site.state_dir = str(site.state.absolute())
    os.environ["TOOLKIT_STATE"] = site.state_dir
    return site


def _config_file() -> Path:
    named = os.environ.get("TOOLKIT_CONFIG")
    here = Path("jupyterhub_config.py")
    candidates = [Path(named)] if named else [here, SOURCE_TREE / here]
    for path in candidates:
        if path.is_file():
            return path.absolute()
    raise SetupError(
        f"There is no {candidates[0].absolute()}.",
        "Start in the folder that holds jupyterhub_config.py, or name it by TOOLKIT_CONFIG.",
    )


def unit_environment(site: Toolkit) -> dict[str, str]:
    """The environment of the units: this one without anybody's tokens, with the site's place in absolute paths."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in MAKE_VARIABLES and (name in KEPT or not name.startswith(FOREIGN_PREFIXES))
    }
    return {
        **kept,
        "TOOLKIT_STATE": site.state_dir,
        "TOOLKIT_CONFIG": str(Path(os.environ["TOOLKIT_CONFIG"]).absolute()),
        "TOOLKIT_PORT": str(site.base_port),
        "PYTHONUNBUFFERED": "1",
    }
