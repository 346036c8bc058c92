"""Build step of the site: LaTeX formulas become inline SVG, so that pages need no script and no network.

matplotlib's mathtext sets them. They take the colour of the text, and a screen reader is given their source.
"""

from __future__ import annotations

import functools
import html
import re

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.path import Path
from matplotlib.textpath import TextPath

#: What pymdownx.arithmatex leaves where a formula stood.
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])</(?P=tag)>', re.DOTALL
)
#: A sum with its limits, which mathtext sets too close to its neighbours.
_SUM = re.compile(r"\\sum(?:_(?:\{(?:[^{}]|\{[^{}]*\})*\}|\w))?(?:\^(?:\{[^{}]*\}|\w))?")
#: Font size at which shapes are computed; the page shows them in em.
_SIZE = 20.0
_COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


def on_page_content(content: str, **_: object) -> str:
    """Replace every formula of a page."""
    return _FORMULA.sub(_replaced, content)


def _replaced(match: re.Match[str]) -> str:
    inline = match["inline"] is not None
    source = " ".join(html.unescape(match["inline"] if inline else match["block"]).split())
    if inline:
        return svg(source)
    # Fractions of a display are as large as the rest of it.
    displayed = svg(source.replace(r"\frac", r"\dfrac"), source)
    return f'<div class="formula">{displayed}</div>'


@functools.cache
def svg(source: str, told: str = "") -> str:
    """A formula as SVG that stands on the line of the text.

    Args:
        source: LaTeX as far as mathtext knows it.
        told: to screen readers; `source` if empty.

    Raises:
        ValueError: mathtext does not know it; the message shows where.
    """
    spaced = _SUM.sub(lambda match: rf"\,{match[0]}\,", source)
    with_dollars = f"${spaced}$"
    rcParams["mathtext.fontset"] = "stix"
    font = FontProperties(size=_SIZE)
    width, height, depth, _, _ = MathTextParser("path").parse(with_dollars, 72, font)
    shape = TextPath((0, 0), with_dollars, size=_SIZE, prop=font)
    pad, ascent = 1.0, height - depth
    box = (-pad, -ascent - pad, width + 2 * pad, height + 2 * pad)
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(told or source)}" '
        f'viewBox="{" ".join(f"{value:.2f}" for value in box)}" '
        f'style="width:{box[2] / _SIZE:.3f}em;height:{box[3] / _SIZE:.3f}em;'
        f'vertical-align:{-(depth + pad) / _SIZE:.3f}em"><path d="{_outline(shape)}"/></svg>'
    )


def _outline(shape: Path) -> str:
    parts = []
    for points, code in shape.iter_segments(curves=True, simplify=False):
        numbers = "" if code == Path.CLOSEPOLY else " ".join(f"{x:.2f}" for x in _flipped(points))
        parts.append(_COMMANDS[code] + numbers)
    return "".join(parts)


def _flipped(points: object) -> list[float]:
    """Coordinates with y pointing down, as SVG has it."""
    return [float(x) * (1 if place % 2 == 0 else -1) for place, x in enumerate(points)]  # type: ignore[arg-type]
