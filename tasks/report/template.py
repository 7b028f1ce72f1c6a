"""Templates: pages that need nothing but themselves, with all text in them escaped."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(name: str, **context: object) -> str:
    """Return a page of a template; what is not Markup is escaped."""
    return _environment().get_template(name).render(**context)


def source(*names: str) -> Markup:
    """Return files of ours, one after the other, as they stand in a page: style or script."""
    environment = _environment()
    loader = environment.loader
    if loader is None:
        raise LookupError(names)
    return Markup("".join(loader.get_source(environment, name)[0] for name in names))


def policy_hash(text: str) -> str:
    """Return the digest by which a page's policy allows one style or script."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("tasks"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
