"""Build step of the site: lists that the code holds (configuration, checks, methods, …), so that pages never lag."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

_PLACE = re.compile(
    r"<!-- generated: (config|presets|checks|explanations|interventions|properties|sample|pretraining) -->"
)
_FILE = re.compile(r"<!-- file: (\S+) -->")
#: Where a link of a file in the repository's root leads to on the site.
_LINKS = {"](docs/": "](", "](CHANGELOG.md)": "](changes.md)", "](LICENSE)": "](credits.md)"}
#: Limits of a field, as pydantic keeps them.
_LIMITS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "multiple_of": "multiple of {}",
           "min_length": "at least {} long"}  # fmt: skip


def on_page_markdown(markdown: str, *, config: Any, **_: object) -> str:
    """Put each list, and each file of the repository's root, where a page asks for it."""
    root = Path(config.config_file_path).parent
    markdown = _FILE.sub(lambda match: _relinked((root / match[1]).read_text(encoding="utf-8")), markdown)
    lists = {
        "config": _config, "presets": _presets, "checks": _checks, "explanations": _explanations,
        "interventions": _interventions, "properties": _properties, "sample": _sample,
        "pretraining": _pretraining,
    }  # fmt: skip
    return _PLACE.sub(lambda match: "\n".join(lists[match[1]]()), markdown)


def _relinked(text: str) -> str:
    for link, target in _LINKS.items():
        text = text.replace(link, target)
    return text


def _config() -> Iterator[str]:
    """A section of the page per section of the configuration."""
    from maskbench.config import ArmConfig, Config

    sections = {name: field for name, field in Config.model_fields.items() if _is_section(field.annotation)}
    single = {name: field for name, field in Config.model_fields.items() if name not in sections and name != "arms"}
    yield from ("## The study", "", *_fields("", single))
    yield from ("## arms", "", _first(ArmConfig), "", *_fields("arms[].", ArmConfig.model_fields))
    for name, field in sections.items():
        yield from (f"## {name}", "", _first(field.annotation), "", *_fields(f"{name}.", field.annotation.model_fields))


def _pretraining() -> Iterator[str]:
    """Fields of the recipe, and where its `train` differs from a study's."""
    from maskbench.config import TrainConfig
    from maskbench.config.pretraining import PretrainConfig, make_pretraining

    yield from _fields("", {name: field for name, field in PretrainConfig.model_fields.items() if name != "train"})
    ours, theirs = _flat(make_pretraining({}).train), _flat(TrainConfig())
    yield from ("| field | pretraining | study |", "| --- | --- | --- |")
    for name, value in ours.items():
        if value != theirs[name] and name != "epochs":
            yield f"| `train.{name}` | `{_value(value)}` | `{_value(theirs[name])}` |"
    yield ""


def _flat(section: Any, prefix: str = "") -> dict[str, Any]:
    """Values by dotted name."""
    found: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        found |= _flat(value, f"{prefix}{name}.") if _is_section(type(value)) else {prefix + name: value}
    return found


def _is_section(annotation: Any) -> bool:
    return hasattr(annotation, "model_fields")


def _first(section: Any) -> str:
    """The section's docstring, its first paragraph."""
    return " ".join((section.__doc__ or "").strip().split("\n\n")[0].split())


def _fields(prefix: str, fields: dict[str, Any]) -> Iterator[str]:
    yield from ("| field | default | what |", "| --- | --- | --- |")
    yield from _rows(prefix, fields)
    yield ""


def _rows(prefix: str, fields: dict[str, Any]) -> Iterator[str]:
    for name, field in fields.items():
        if _is_section(field.annotation):
            yield from _rows(f"{prefix}{name}.", field.annotation.model_fields)
            continue
        default = "needed" if field.is_required() else f"`{_value(field.get_default(call_default_factory=True))}`"
        allowed = "; ".join(filter(None, (_kind(field.annotation), _limits(field))))
        what = (field.description or "").replace("|", "\\|")
        yield f"| `{prefix}{name}` | {default} | {what} *({allowed})* |"


def _limits(field: Any) -> str:
    found = [
        words.format(f"{value:g}" if isinstance(value, (int, float)) else value)
        for one in field.metadata
        for key, words in _LIMITS.items()
        if (value := getattr(one, key, None)) is not None
    ]
    return ", ".join("not empty" if words == "at least 1 long" else words for words in found)


def _kind(annotation: Any) -> str:
    """The type as people call it."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " · ".join(f"`{one}`" for one in inside)
    if origin is tuple:
        several = len(inside) == 2 and inside[1] is ...
        return f"list of {_kind(inside[0])}" if several else f"{len(inside)} × {_kind(inside[0])}"
    if hasattr(annotation, "__metadata__"):
        return _kind(inside[0])
    if _is_section(annotation):
        return f"`{':'.join(annotation.model_fields)}`"
    if type(None) in inside:
        return " or none, ".join(_kind(one) for one in inside if one is not type(None)) + " or none"
    return (
        "mapping"
        if origin is dict
        else {int: "whole number", float: "number", str: "text", bool: "yes / no"}[annotation]
    )


def _value(value: Any) -> str:
    """A default as it is written in YAML."""
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return {None: "none", "": '""'}.get(value, str(value)) if value is None or isinstance(value, str) else str(value)


def _presets() -> Iterator[str]:
    """What each preset lays over the defaults."""
    from maskbench.config import PRESETS

    for name, changes in PRESETS.items():
        told = ", ".join(
            f"`{section}.{field}={_shortened(value)}`"
            for section, fields in changes.items()
            for field, value in fields.items()
        )
        yield f"- `{name}`: {told or 'the defaults'}"
    yield ""


def _shortened(value: Any) -> str:
    return "[all]" if isinstance(value, tuple) else _value(value)


def _checks() -> Iterator[str]:
    from maskbench.audit.checks import CHECKS

    yield from ("| finding | severity | what is done |", "| --- | --- | --- |")
    yield from (f"| `{name}` | {check.severity} | {check.action} |" for name, check in CHECKS.items())


def _explanations() -> Iterator[str]:
    from maskbench.explain.cam import METHODS

    yield from ("| method | name | works on | depends on the class | source |", "| --- | --- | --- | --- | --- |")
    for one in METHODS.values():
        where, depends = "a layer" if one.uses_layer else "the input", "yes" if one.uses_class else "no"
        yield f"| {one.label} | `{one.name}` | {where} | {depends} | {one.source} |"


def _interventions() -> Iterator[str]:
    from maskbench.data.interventions import INTERVENTIONS

    yield from ("| name | what | levels | ranked at |", "| --- | --- | --- | --- |")
    for one in INTERVENTIONS.values():
        levels = ", ".join(f"{level:g}" for level in one.levels)
        yield f"| `{one.name}` | {one.label} … {one.unit} | {levels} | {one.reference:g} |"


def _properties() -> Iterator[str]:
    from maskbench.comparison.face_errors import KNOWN_PROPERTIES

    yield from ("| property | what | enters models as |", "| --- | --- | --- |")
    words = {"none": "itself", "log": "logarithm", "reciprocal": "1 / value", "flag": "0 or 1"}
    yield from (f"| `{one.name}` | {one.label} | {words[one.transform]} |" for one in KNOWN_PROPERTIES)


def _sample() -> Iterator[str]:
    from maskbench.data.sample import SampleParams

    yield from _fields("data.sample.", SampleParams.model_fields)
