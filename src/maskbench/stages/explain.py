"""The stage that looks inside: maps and how far they can be trusted, representations, errors, question 3."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
