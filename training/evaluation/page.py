"""Renders templates of self-contained pages, which share a style sheet."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2

FOLDER = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    """Render a template of this folder; a missing value is an error.

    Args:
        template: the file's name.
        values: what it refers to.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["data_url"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    environment.filters["percent"] = lambda share: "" if share is None else f"{100 * share:.1f}"
    return environment.get_template(template).render(**values)
