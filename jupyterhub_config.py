"""JupyterHub with the toolkit. Every setting and its meaning: docs/settings.md."""

from toolkit_hub.configure import configure

c = get_config()  # type: ignore[name-defined]  # noqa: F821

# Values of this site, as: c.Toolkit.public_url = "https://hub.example.org"

configure(c)

# Settings of JupyterHub itself, as: c.JupyterHub.log_level = "DEBUG"
