"""What every section of the configuration is built on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]


class ConfigError(ValueError):
    """The configuration is wrong; the message names the field, in one line per field."""


class Section(BaseModel):
    """A strict, frozen part of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


Validated = TypeVar("Validated", bound=Section)


def validated(section: type[Validated], values: Mapping[str, Any]) -> Validated:
    """`values` as a section.

    Raises:
        ConfigError: an unknown field, or a value out of range; names the field.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_one_line(item) for item in error.errors())) from error


def _one_line(item: Any) -> str:
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{field}: no such field"
    message = item["msg"].removeprefix("Value error, ")
    got = "" if item["type"] == "value_error" else f" (got {item['input']!r})"
    return f"{field}: {message}{got}" if field else message
