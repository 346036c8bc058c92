"""Build step of the site: the page of tables, from the schemas that every table is checked against when written."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

PLACE = "<!-- generated: tables -->"
_FACTORS = "`factors/{0}`, `detect-factors/missed/{0}`, `detect-factors/misplaced/{0}`"
#: Where each table lies, relative to `results/NAME`, without suffix.
FILES = {
    **{name: f"`audit/{name}`" for name in ("images", "faces", "duplicates")},
    "findings": "`audit/audit`",
    "eda_summary": "`eda/box_summary`, `eda/image_summary`",
    "eda_tests": "`eda/tests`",
    **{name: f"`eda/{name}`" for name in (
        "image_kinds", "faces_per_image", "image_coverage", "boxes", "class_balance", "class_measures",
        "class_cooccurrence", "class_bands", "heatmaps",
    )},
    "split": "`split/split`",
    **{name: f"`train/ARM/seedN/{name}`, `detect-train/ARM/seedN/{name}`" for name in ("epochs", "steps")},
    "epoch_confusion": "`train/ARM/seedN/confusion`",
    "gradients": "`train/ARM/seedN/gradients`",
    "layers": "`train/layers`",
    **{name: f"`evaluate/{name}`" for name in (
        "predictions", "metrics", "confusion", "roc", "precision_recall", "intervals", "differences",
    )},
    **{name: f"`compare/{name}`" for name in (
        "temperatures", "epoch_times", "convergence", "convergence_summary", "convergence_differences", "best_epochs",
        "loss_statistics", "loss_autocorrelation", "gradient_flow", "gradient_ratio",
    )},
    **{f"{name}_pooled": f"`compare/{name}`" for name in ("calibration", "reliability")},
    **{f"comparison_{name}": f"`compare/{name}`" for name in ("seeds", "summary", "differences", "tests")},
    "properties": "`factors/properties`",
    "run_training_properties": "`factors/training_properties`",
    **{table: _FACTORS.format(name) for table, name in {
        "error_rates": "rates", "error_effects": "effects", "odds": "odds", "property_correlations": "correlations",
        "error_model_skill": "skill", "importance": "importance", "partial_dependence": "dependence",
        "factor_ranking": "ranking",
    }.items()},
    "intervened": "`intervene/intervened`",
    "intervention_curves": "`intervene/curves`",
    "intervention_ranking": "`intervene/ranking`",
    **{f"variant_{name}": f"`experiments/{name}`" for name in ("runs", "predictions", "summary")},
    **{name: f"`experiments/{name}`" for name in ("learning_curves", "label_worth", "regimes")},
    **{name: f"`explain/{name}`" for name in (
        "failures", "confusion_pairs", "prototypes", "neighbours", "portraits", "label_issues", "faithfulness",
        "faithfulness_curves", "faithfulness_summary", "map_features", "mistake_skill", "mistake_gain",
        "mistake_features", "embedding", "explained_variance", "cka", "probes", "separation", "layer_statistics",
        "feature_channels",
    )},
    **{name: f"`detect-evaluate/{name}`" for name in (
        "detections", "detection_metrics", "detection_differences", "detection_curves", "detection_confusion",
        "detection_errors", "found_faces", "placed_faces",
    )},
    "detection_losses": "`detect-factors/losses`",
    "placement_effects": "`detect-factors/placement`",
    **dict.fromkeys(
        ("calibration", "reliability", "efficiency_runs", "regime_runs", "training_properties", "training_faces"),
        "In memory only.",
    ),
}  # fmt: skip
#: Schema modules in the order of the study, with the heading of each.
PARTS = {
    "study": "Audit, split, training, evaluation",
    "eda": "Description of the dataset",
    "comparison": "Comparison of arms",
    "calibration": "Calibration",
    "convergence": "Convergence and learning curves",
    "factors": "Errors and properties of faces",
    "interventions": "Interventions",
    "experiments": "Variants of the study",
    "faithfulness": "Explanations and how far they can be trusted",
    "representations": "What layers see",
    "failures": "What goes wrong",
    "mistakes": "Finding mistakes",
    "detection": "Detection in whole photographs",
    "localisation": "What detection loses",
}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the tables where the page asks for them."""
    return markdown.replace(PLACE, "\n".join(_sections())) if PLACE in markdown else markdown


def schemas_by_module() -> dict[str, dict[str, Any]]:
    """By module of `maskbench.schemas`, the schemas that it defines itself, by the name of their variable.

    Raises:
        LookupError: a table has no file here, or a module no heading.
    """
    import pandera.pandas as pa

    from maskbench import schemas

    found: dict[str, dict[str, Any]] = {}
    for info in pkgutil.iter_modules(schemas.__path__):
        module = importlib.import_module(f"{schemas.__name__}.{info.name}")
        own = {
            name: getattr(module, name)
            for name in _comments(module)
            if isinstance(getattr(module, name), pa.DataFrameSchema)
        }
        if own:
            found[info.name] = own
    missing = [s.name for own in found.values() for s in own.values() if s.name not in FILES]
    missing += sorted(set(found) - set(PARTS))
    if missing:
        raise LookupError(f"scripts/docs/tables.py: say where these lie: {', '.join(missing)}")
    return {name: found[name] for name in PARTS}


def _comments(module: ModuleType) -> dict[str, str]:
    """The `#:` comment above each variable that a module assigns; empty where there is none."""
    source = inspect.getsource(module)
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(target, ast.Name):
            continue
        above, place = [], node.lineno - 2
        while place >= 0 and lines[place].startswith("#:"):
            above.insert(0, lines[place].removeprefix("#:").strip())
            place -= 1
        found[target.id] = " ".join(above)
    return found


def _sections() -> list[str]:
    lines: list[str] = []
    for module, own in schemas_by_module().items():
        comments = _comments(importlib.import_module(f"maskbench.schemas.{module}"))
        lines += [f"## {PARTS[module]}", ""]
        for variable, schema in own.items():
            lines += [f"### {schema.name}", "", FILES[schema.name] + f" (`schemas.{module}.{variable}`)", ""]
            lines += [comments[variable], ""] if comments[variable] else []
            lines += ["| column | type | range |", "| --- | --- | --- |"]
            lines += [_row(name, column) for name, column in schema.columns.items()]
            if schema.unique:
                lines += ["", "One row per " + ", ".join(f"`{name}`" for name in schema.unique) + "."]
            lines.append("")
    return lines


def _row(name: str, column: Any) -> str:
    shown = name.strip("^$").replace(".+", "CLASS") if column.regex else name
    checks = [_check(check) for check in column.checks] + (["may be undefined (NaN)"] if column.nullable else [])
    return f"| `{shown}` | {_kind(column)} | {', '.join(filter(None, checks))} |"


def _kind(column: Any) -> str:
    """The type as people call it."""
    kinds = {"str": "text", "string[pyarrow]": "text", "float64": "number", "int64": "whole number", "bool": "yes / no"}
    return kinds.get(str(column.dtype), str(column.dtype))


def _check(check: Any) -> str:
    """A pandera check in words."""
    facts = check.statistics
    known = {
        "in_range": lambda: f"{facts['min_value']:g} to {facts['max_value']:g}",
        "greater_than_or_equal_to": lambda: f"≥ {facts['min_value']:g}",
        "greater_than": lambda: f"> {facts['min_value']:g}",
        "less_than_or_equal_to": lambda: f"≤ {facts['max_value']:g}",
        "isin": lambda: " · ".join(f"`{one}`" for one in facts["allowed_values"] if one != ""),
        "str_length": lambda: _length(facts),
    }
    if check.name not in known:
        raise LookupError(f"scripts/docs/tables.py: put the check {check.name!r} into words")
    return known[check.name]()


def _length(facts: dict[str, Any]) -> str:
    least, most = facts.get("min_value"), facts.get("max_value")
    if least == most:
        return f"{least} characters"
    return "not empty" if least == 1 and most is None else f"{least} to {most} characters"
