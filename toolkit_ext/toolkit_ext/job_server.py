"""The job server: a plain Jupyter Server with JupyterLab and the job's apps that serves the toolkit's gate and nobody else.

It comes from the runtime folder, with a Python of its own, and works in any image; the image's own Jupyter and Python, and what
it sets for them, are for its kernels and terminals only.

The gate stands on the host, decides on every request, and shows the run's secret in a header. A request without it is refused
before any handler sees it, whatever the route: static files, websockets, proxied apps, and those of extensions that forgot to
ask for a user. A request with it has the header taken out, for jupyter-server-proxy hands its headers on to the user's apps.

The visitor's name is the gate's word, too (``X-Toolkit-User``). There is no log-in, no cookie and no token here.
"""

from __future__ import annotations

import argparse
import hmac
import os
import sys
from pathlib import Path
from typing import Any

from jupyter_server.auth import IdentityProvider, User
from jupyter_server.serverapp import ServerApp
from tornado import web
from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from traitlets.config import Config

from toolkit_ext.apps.places import private_folder, shell
from toolkit_ext.isolation import apart
from toolkit_ext.kernels import ImageKernels

__all__ = ["GateIdentity", "JobServer", "main"]

SECRET_VARIABLE = "TOOLKIT_RUN_SECRET"  # noqa: S105 (a name, not a secret)
SECRET_HEADER = "X-Toolkit-Run-Secret"  # noqa: S105
USER_HEADER = "X-Toolkit-User"
#: Longest visitor's name that is kept, in characters.
NAME_LENGTH = 128

#: Extensions that come with JupyterLab or its dependencies, and whether this server has a use for them. The language servers
#: that jupyter_lsp looks for are not there, and the search costs each start a tenth of a second. What jupyter-server-proxy serves
#: is up to our own extension: its routes lead to any port.
EXTENSIONS = {
    "jupyterlab": True,
    "jupyter_server_terminals": True,
    "toolkit_ext.apps": True,
    "jupyter_server_proxy": False,
    "jupyter_lsp": False,
    "notebook_shim": False,
}
#: Plug-ins of the page whose other half is off, or that would ask the Internet.
DISABLED_PLUGINS = (
    "@jupyterlab/apputils-extension:announcements",
    "@jupyterlab/extensionmanager-extension",
    "@jupyterlab/fileeditor-extension:language-server",
    "@jupyterlab/lsp-extension",
    "@jupyterlab/notebook-extension:language-server",
)


class WithoutSecret(Matcher):
    """Matches every request that does not carry the run's secret; takes the secret out of the others."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        given = request.headers.get_list(SECRET_HEADER)
        request.headers.pop(SECRET_HEADER, None)
        if len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "surrogatepass"), self._secret):
            request.from_gate = True  # type: ignore[attr-defined]
            return None
        return {}


class Refusal(web.RequestHandler):
    """The answer to whoever is not the gate."""

    def check_xsrf_cookie(self) -> None:
        """Nothing is done here that a forged request could misuse."""

    def prepare(self) -> None:
        self.set_status(403)
        self.finish(
            {"message": "This server answers the toolkit's gate only. Open the job by its link on the jobs page."}
        )


class GateIdentity(IdentityProvider):
    """The visitor as the gate names them."""

    login_available = False
    logout_available = False

    def get_user(self, handler: web.RequestHandler) -> User | None:
        if not getattr(handler.request, "from_gate", False):
            return None
        name = visitor_name(handler.request.headers.get(USER_HEADER, ""))
        return User(username=name, name=name, display_name=name, initials=name[:2].upper())

    def is_token_authenticated(self, handler: web.RequestHandler) -> bool:
        """True: no cookie of this server's exists, so its own checks of Origin and XSRF are moot. The gate makes them."""
        return bool(getattr(handler.request, "from_gate", False))


def visitor_name(header: str) -> str:
    """A name that is safe to show. Header values arrive as Latin-1; the gate sends UTF-8."""
    text = header.encode("latin-1", "replace").decode("utf-8", "replace")
    shown = "".join(character for character in text if character.isprintable()).strip()
    return shown[:NAME_LENGTH] or "unknown"


class JobServer(ServerApp):
    """Jupyter Server behind the gate."""

    name = "jupyter-server"

    def __init__(self, run_secret: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._run_secret = run_secret

    def find_server_extensions(self) -> None:
        """Those of `EXTENSIONS`, and none that the image has settings for."""

    def init_webapp(self) -> None:
        super().init_webapp()
        # First of all rules, before those that extensions add.
        self.web_app.default_router.rules.insert(0, Rule(WithoutSecret(self._run_secret), Refusal))


def settings(base_url: str, port: int) -> Config:
    """Everything that sets this server apart from one on a laptop. Wins over the user's own Jupyter configuration."""
    config = Config()
    home = str(Path.home())
    config.ServerApp.update(
        {
            "ip": "0.0.0.0",
            "port": port,
            "port_retries": 0,
            "base_url": base_url,
            "default_url": "/lab",
            "root_dir": home,
            "identity_provider_class": GateIdentity,
            "kernel_spec_manager_class": ImageKernels,
            "allow_remote_access": True,
            # Never matches: Jupyter would answer each Origin with leave to read from there.
            "allow_origin_pat": "(?!)",
            "trust_xheaders": True,
            "allow_root": True,
            "open_browser": False,
            "quit_button": False,
            "terminals_enabled": True,
            "terminado_settings": {"shell_command": [shell()]},
            "jpserver_extensions": EXTENSIONS,
            "tornado_settings": {"page_config_hook": without_plugins},
        }
    )
    config.Application.log_level = "WARN"  # of the extensions, too
    config.IdentityProvider.token = ""
    config.LabApp.update(
        {
            "news_url": None,
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "extension_manager": "readonly",
        }
    )
    return config


def without_plugins(handler: web.RequestHandler, page_config: dict[str, Any]) -> dict[str, Any]:
    """JupyterLab's hook: the page's settings, with `DISABLED_PLUGINS` among the disabled ones and no build on the fly."""
    page_config["buildAvailable"] = page_config["buildCheck"] = False
    page_config["disabledExtensions"] = [
        *dict.fromkeys([*page_config.get("disabledExtensions", []), *DISABLED_PLUGINS])
    ]
    return page_config


def main() -> None:
    """``toolkit-job-server --base-url URL --port PORT``, with the run's secret in the environment's TOOLKIT_RUN_SECRET."""
    secret = os.environ.pop(SECRET_VARIABLE, "")  # at once: kernels and terminals inherit the rest
    parser = argparse.ArgumentParser(prog="toolkit-job-server", description="Jupyter Server for the toolkit's gate.")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    if not secret:
        sys.exit(
            f"toolkit-job-server: {SECRET_VARIABLE} is not set; the job server is started by the toolkit, not by hand"
        )
    # Jupyter's run-time files: not in the home, which other runs may have mounted at the same time.
    runtime_dir = private_folder() / "jupyter"
    runtime_dir.mkdir(mode=0o700, exist_ok=True)
    with apart(str(runtime_dir)):
        server = JobServer(secret, config=settings(options.base_url, options.port))
        server.initialize(argv=[])
    server.start()


if __name__ == "__main__":
    main()
