"""maskbench: an honest study of face-mask detection, and its trained models for use.

Example:
    `maskbench.Predictor("best.safetensors")("street.png")` finds faces and says who wears a mask;
    `mb.evaluate(mb.load_dataset("sample", preset="smoke")).tables["metrics"]` measures both arms of a small study.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskbench.api import (
        StageResult,
        Study,
        audit,
        build_model,
        compare,
        detect_evaluate,
        detect_factors,
        detect_train,
        eda,
        evaluate,
        experiments,
        explain,
        factors,
        intervene,
        load_dataset,
        report,
        run,
        split,
        train,
    )
    from maskbench.inference.detections import Detections
    from maskbench.inference.predictor import Predictor

__all__ = [
    "Detections",
    "Predictor",
    "StageResult",
    "Study",
    "audit",
    "build_model",
    "compare",
    "detect_evaluate",
    "detect_factors",
    "detect_train",
    "eda",
    "evaluate",
    "experiments",
    "explain",
    "factors",
    "intervene",
    "load_dataset",
    "report",
    "run",
    "split",
    "train",
]
_HOMES = {"Detections": "maskbench.inference.detections", "Predictor": "maskbench.inference.predictor"}


class _Public:
    """A public name, imported when it is asked for: the command line starts without torch and pandas.

    Being a data descriptor it also stands before the subpackage of the same name (`maskbench.audit` is a function here;
    `from maskbench.audit.scan import …` works all the same), whichever was imported first.
    """

    def __init__(self, name: str) -> None:
        self.name, self.home = name, _HOMES.get(name, "maskbench.api")

    def __get__(self, module: ModuleType | None, owner: type | None = None) -> Any:
        return getattr(import_module(self.home), self.name)

    def __set__(self, module: ModuleType, value: object) -> None:
        """Python binds a subpackage to its name when it is imported; anything else may not be set."""
        if not isinstance(value, ModuleType):
            raise AttributeError(f"maskbench.{self.name} cannot be replaced")


class _Package(ModuleType):
    """This package, with its public names."""

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


for _name in __all__:
    setattr(_Package, _name, _Public(_name))
sys.modules[__name__].__class__ = _Package
