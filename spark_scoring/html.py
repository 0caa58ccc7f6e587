"""HTML pages from templates: every value is escaped, and none brings control characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader

from spark_scoring.redact import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def html_of(package: str, template: str, values: Mapping[str, Any], **filters: Callable[..., Any]) -> str:
    """A template of a package, filled in.

    Args:
        package: where the template lies.
        template: its file.
        values: what it names.
        filters: functions that it may call, by name.

    """
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= filters
    return environment.get_template(template).render(values)
