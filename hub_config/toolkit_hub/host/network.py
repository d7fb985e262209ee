"""The jobs' network by hand: ``python -m toolkit_hub.host.network apply|show|remove``, as root.

The units do this themselves where they are root or have CAP_NET_ADMIN; set-up does it once, so that what is missing is said
before the first job.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys

from toolkit_hub.configure import Toolkit
from toolkit_hub.host.site import load_site
from toolkit_hub.host.steps import SetupError, show_failure
from toolkit_hub.job_network import job_network
from toolkit_spawner.docker_api import Engine, EngineRefused, EngineUnavailable
from toolkit_spawner.network import Firewall, NetworkKeeper, NetworkProblem

__all__ = ["apply", "main"]


def apply(site: Toolkit, engine: Engine) -> str:
    """Have the network with its rules; returns what there is in words. Raises `SetupError`."""
    network = job_network(site)
    try:
        asyncio.run(NetworkKeeper(engine).ensure(network))
    except NetworkProblem as error:
        raise SetupError(f"The jobs' network cannot be closed off: {error}", "No job starts until it is.") from error
    except (EngineRefused, EngineUnavailable) as error:
        raise SetupError(f"The engine has no network for the jobs: {error}", "") from error
    return f"{network.name} ({network.bridge}), {'internet' if network.internet else 'no way out'}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m toolkit_hub.host.network", description="The network of the jobs.")
    parser.add_argument(
        "verb", choices=["apply", "show", "remove"], help="remove: for a site that is given up, without running jobs"
    )
    verb = parser.parse_args(arguments).verb
    engine = Engine()
    try:
        site = load_site()
        if verb == "remove":
            asyncio.run(engine.remove_network(site.docker_network))
            Firewall().remove(site.jobs_bridge)
            print(f"removed {site.docker_network} and its rules")
        else:
            if verb == "apply":
                print(apply(site, engine))
            _show(site.jobs_bridge)
    except SetupError as error:
        show_failure(error)
        return 1
    except (NetworkProblem, EngineRefused, EngineUnavailable) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        engine.close()
    return 0


def _show(bridge: str) -> None:
    """The rules that name the bridge or its chains."""
    for program in ("iptables-save", "ip6tables-save"):
        saved = subprocess.run([program, "-t", "filter"], capture_output=True, text=True, check=False).stdout
        for line in saved.splitlines():
            if bridge in line or bridge.removeprefix("tk-") in line:
                print(f"{program.removesuffix('-save')} {line}")


if __name__ == "__main__":
    sys.exit(main())
