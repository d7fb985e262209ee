"""Which image a job means, and which ones it may use: `c.Toolkit.image_names` and `c.Toolkit.allowed_images`.

Unset: whatever is on this machine, and nothing is pulled but the default image. Set: references that match a pattern, and
the default image and those that have a short name; those may be pulled.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from toolkit_client.errors import InvalidRequest
from toolkit_hub.domain.site import Site

__all__ = ["check_image", "image_meant", "may_pull"]


def image_meant(site: Site, written: str) -> str:
    """The image reference that a spec means: the default image where it names none, and what a short name stands for."""
    return site.image_names.get(written, written) if written else site.default_image


def check_image(site: Site, reference: str) -> None:
    """Raises `InvalidRequest` for an image that the site does not allow."""
    if site.allowed_images is None or _listed(site, reference):
        return
    patterns = ", ".join(site.allowed_images) or "none but the default image"
    raise InvalidRequest(
        f"the image {reference} is not allowed on this site",
        f"allowed are: {patterns}; an administrator can add to c.Toolkit.allowed_images",
    )


def may_pull(site: Site, reference: str) -> bool:
    """Whether an image that is not on this machine may be fetched."""
    return _listed(site, reference)


def _listed(site: Site, reference: str) -> bool:
    if reference == site.default_image or reference in site.image_names.values():
        return True
    # What docker reads into a name without a tag, so that `python:*` allows `python` too.
    tagged = reference if ":" in reference.rpartition("/")[2] or "@" in reference else f"{reference}:latest"
    return any(fnmatchcase(form, pattern) for pattern in site.allowed_images or () for form in (reference, tagged))
