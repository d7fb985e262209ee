"""The pages of ``docs/`` that are written by the code: ``python -m toolkit_hub.reference_docs docs``. A test holds them equal."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from toolkit_hub.configure import Toolkit
from toolkit_hub.policy.actions import ACTIONS, RESOURCE_TYPES

__all__ = ["PAGES", "actions_page", "settings_page"]


def settings_page() -> str:
    """Every trait of `Toolkit`, with its help."""
    lines = [
        "# Settings",
        "",
        "Values of a site, written in `jupyterhub_config.py` before `configure(c)` as `c.Toolkit.NAME = value`.",
        "All units read the same file. JupyterHub's own settings come after `configure(c)`.",
        "",
        "Made from the code by `python -m toolkit_hub.reference_docs docs`.",
    ]
    for name, trait in sorted(Toolkit.class_traits(config=True).items()):
        shown = f" = `{trait.default_value!r}`" if trait.default_value not in (0.0, 0, "") else ""
        lines += ["", f"## `{name}`", "", f"{type(trait).__name__}{shown}", "", inspect.cleandoc(trait.help)]
    return "\n".join(lines) + "\n"


def actions_page() -> str:
    """Every action: what it is asked of, what it opens, and whether it gives more than it seems to."""
    lines = [
        "# Actions",
        "",
        "What can be done to resources, and what each right opens. How rights are written, held and granted:",
        "[access.md](access.md).",
        "",
        "*on* is the resource whose URN is asked about: the thing itself, or for `new` what it is made in. What somebody has no",
        "`get` of does not exist for them (404). **Dangerous** marks what gives more than it seems to: rights of others, or",
        "code that runs as somebody else. *in jobs*: what code in a job that carries its creator's rights may do with them; the",
        "rest they do in person.",
        "",
        "Made from the code by `python -m toolkit_hub.reference_docs docs`.",
    ]
    for resource in RESOURCE_TYPES:
        lines += ["", f"## `{resource}`", "", "| action | on | opens | dangerous | in jobs |", "|---|---|---|---|---|"]
        for item in ACTIONS.values():
            if item.resource == resource:
                dangerous = "**dangerous**" if item.dangerous else ""
                carried = "yes" if item.carried else ""
                lines.append(
                    f"| `{item.name}` | {' or '.join(item.asked_of)} | {item.opens} | {dangerous} | {carried} |"
                )
    return "\n".join(lines) + "\n"


PAGES = {"settings.md": settings_page, "actions.md": actions_page}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for name, page in PAGES.items():
        (folder / name).write_text(page())
        print(f"wrote {folder / name}")


if __name__ == "__main__":
    main()
