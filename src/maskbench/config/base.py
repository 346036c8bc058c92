"""What every section of the configuration is built on."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]


class ConfigError(ValueError):
    """The configuration is wrong; the message names the field, in one line per field."""


class Section(BaseModel):
    """A strict, frozen part of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
