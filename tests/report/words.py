"""What figures say."""

from __future__ import annotations

import re
from collections.abc import Iterable

from matplotlib.text import Text

from maskbench.report.drawing import Drawing

_NOT_A_NUMBER = re.compile(r"(?<![a-z])(nan|inf)(?![a-z])", re.IGNORECASE)


def words_of(drawing: Drawing) -> list[str]:
    """Title, caption, and every text that stands on the figure."""
    return [drawing.title, drawing.caption, *(text.get_text() for text in drawing.figure.findobj(Text))]


def without_nan(drawings: Iterable[Drawing]) -> None:
    """No undefined number is printed as one."""
    for drawing in drawings:
        drawing.figure.draw_without_rendering()
        found = [words for words in words_of(drawing) if _NOT_A_NUMBER.search(words)]
        assert not found, (drawing.name, found)
