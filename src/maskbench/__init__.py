"""maskbench: an honest study of face-mask detection, and its trained models for use.

Example:
    `maskbench.Predictor("best.safetensors")("street.png")` finds faces and says who wears a mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskbench.inference.detections import Detections
    from maskbench.inference.predictor import Predictor

__all__ = ["Detections", "Predictor"]
_HOMES = {"Detections": "maskbench.inference.detections", "Predictor": "maskbench.inference.predictor"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: the command line starts without torch."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'maskbench' has no attribute {name!r}")
