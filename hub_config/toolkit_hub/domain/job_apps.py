"""The apps of a job: what it serves, where, and who may come."""

from __future__ import annotations

from toolkit_client.errors import NotFound
from toolkit_client.models import App, Job
from toolkit_hub.domain.job_view import APP_PORT

__all__ = ["apps_of", "find_app"]

#: Apps of the job server: name → what is below its root, whether that is a page, and what it is.
_OF_THE_SERVER = {
    "jupyter": ("lab", True, "JupyterLab"),
    "ttyd": ("ttyd/", True, "a terminal"),
    "code-server": ("code-server/", True, "VS Code"),
    "sshd": ("sshd", False, "ssh, scp, sftp, rsync"),
}


def apps_of(job: Job) -> list[App]:
    """The apps that every job has, and then its own ports. They are there while it runs."""
    root = job.lab_url.removesuffix("lab")
    apps = [
        App(name=name, address=root + path, page=page, needs="job:exec", about=about)
        for name, (path, page, about) in _OF_THE_SERVER.items()
    ]
    public = {port.port for port in job.ports if port.public}
    addresses = {APP_PORT: job.access_url} | {int(port): address for port, address in job.port_urls.items()}
    for port, address in addresses.items():
        about = "the job's own web server" if port == APP_PORT else f"the job's port {port}"
        needs = "public" if port in public else "job:get"
        apps.append(App(name=str(port), address=address, page=True, needs=needs, about=about))
    return apps


def find_app(job: Job, name: str) -> App:
    """Raises `NotFound`, saying which there are."""
    apps = {app.name: app for app in apps_of(job)}
    if name not in apps:
        hint = f"there are: {', '.join(apps)}; other ports are declared at submit (`--port N`)"
        raise NotFound(f"this job has no app {name[:40]!r}", hint)
    return apps[name]
