"""A document as one HTML page that opens from disk: no network, and readable without its script."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from maskbench.report.document import Document
from maskbench.report.pictures import embedded

#: Tables with more rows scroll within the page, and are printed only if they were opened.
TALL_ROWS = 40
_CODE = re.compile(r"`([^`]+)`")


def render_page(document: Document) -> str:
    """The page.

    Args:
        document: numbered.

    Returns:
        HTML whose content policy forbids every request and every script but its own.
    """
    script = (Path(__file__).parent / "templates" / "report.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=PackageLoader("maskbench.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "kind": lambda item: type(item).__name__, "embedded": _embedded}
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template("report.html.j2").render(
        document=document, script=Markup(script), script_sha256=digest, tall=TALL_ROWS
    )


_embedded = functools.lru_cache(maxsize=4)(embedded)  # a template asks for address, width and height of one


def inline(words: str) -> Markup:
    """Escaped text whose `parts between backticks` are code.

    Example:
        >>> inline("`a` < b")
        Markup('<code>a</code> &lt; b')
    """
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(words))))
