"""How answers print an interval: one place, so that none prints a number that does not exist."""

from __future__ import annotations

import math

#: Said of what has no interval: neither that a difference is shown nor that none is.
NOTHING = "nothing can be said"

#: Before the reason of a missing interval, where a row has reasons for other columns too.
NO_INTERVAL = "no interval: "


def why(reason: str) -> str:
    """Why a row has no interval, without what its reasons say of other columns.

    Args:
        reason: reasons, with "; " between them.

    Example:
        >>> why("one seed: no spread between seeds; no interval: 9 photographs: fewer than 10; h: no share of faces")
        '9 photographs: fewer than 10'
    """
    parts = [part for part in reason.split("; ") if part]
    of_interval = [part.removeprefix(NO_INTERVAL) for part in parts if part.startswith(NO_INTERVAL)]
    return "; ".join(of_interval or parts)


def interval_text(
    low: float, high: float, reason: str = "", *, confidence: float | None = None, digits: int = 3, signed: bool = True
) -> str:
    """An interval in words.

    Args:
        low: NaN where there is none.
        high: likewise.
        reason: why there is none (see `why`).
        confidence: nominal coverage, named where given.
        digits: after the point.
        signed: with a plus before positive limits.

    Example:
        >>> interval_text(-0.02, 0.1, confidence=0.95), interval_text(float("nan"), float("nan"), "one photograph")
        ('95% interval -0.020 to +0.100', 'no interval (one photograph)')
    """
    if math.isnan(low) or math.isnan(high):
        return f"no interval ({why(reason)})" if reason else "no interval"
    form = f"{'+' if signed else ''}.{digits}f"
    named = f"{confidence:.0%} interval" if confidence is not None else "interval"
    return f"{named} {low:{form}} to {high:{form}}"
