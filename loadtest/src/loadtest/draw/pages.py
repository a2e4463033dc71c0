"""Pages in Markdown, from Jinja templates."""

from pathlib import Path

import jinja2


def environment(folder: Path) -> jinja2.Environment:
    """Return the environment of a folder's templates: what they ask for and is not there is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 — Markdown, from files of this repository
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
