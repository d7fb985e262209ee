"""The site's doctor: what is in order, what is not, what that means and what to do.

`examine` runs every check: for the API, and for ``python -m toolkit_hub.host.doctor`` when the service is down.
"""

from __future__ import annotations

from toolkit_client.admin_models import Checkup
from toolkit_hub.doctor.addresses import check_job_hosts, check_urls
from toolkit_hub.doctor.check import Check, Patient, examine_with
from toolkit_hub.doctor.clocks import check_clock
from toolkit_hub.doctor.database import check_database, check_hub_database
from toolkit_hub.doctor.engine import check_engine
from toolkit_hub.doctor.software import check_runtime, check_versions
from toolkit_hub.doctor.storage import check_disk, check_secrets
from toolkit_hub.doctor.units import check_ports, check_proxy, check_units
from toolkit_hub.doctor.work import check_gpus, check_runs

__all__ = ["CHECKS", "Check", "Patient", "examine"]

#: All checks, in the order in which they are shown.
CHECKS = (
    Check("units", check_units),
    Check("proxy", check_proxy),
    Check("ports", check_ports),
    Check("engine", check_engine),
    Check("runtime", check_runtime),
    Check("disk", check_disk),
    Check("database", check_database),
    Check("database: hub", check_hub_database),
    Check("runs", check_runs),
    Check("gpus", check_gpus),
    Check("secrets", check_secrets),
    Check("urls", check_urls),
    Check("job hosts", check_job_hosts),
    Check("clock", check_clock),
    Check("versions", check_versions),
)


async def examine(patient: Patient) -> Checkup:
    """Run all checks, side by side."""
    return await examine_with(patient, CHECKS)
