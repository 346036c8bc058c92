"""What the HTTP API answers, as its OpenAPI description shows it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Corners = tuple[float, float, float, float]


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="one line for people")


class Health(BaseModel):
    """The server runs."""

    status: Literal["ok"]
    version: str = Field(description="of maskbench")


class ModelFacts(BaseModel):
    """One arm."""

    arm: str
    classes: list[str] = Field(description="class order of its answers")
    finds: bool = Field(description="has a detector: finds faces in photographs")
    names: bool = Field(description="has a classifier of faces: gives probabilities and can be explained")


class Models(BaseModel):
    """The arms, and what may be handed in."""

    arms: list[ModelFacts]
    formats: list[str] = Field(description="of photographs")
    max_bytes: int = Field(description="of a photograph's file")
    max_pixels: int = Field(description="of a photograph")
    min_score: float = Field(description="used where a request says nothing")


class FaceAnswer(BaseModel):
    """One face by one arm."""

    box: Corners = Field(description="xmin, ymin, xmax, ymax in px of the upright photograph")
    label: str
    score: float = Field(
        ge=0,
        le=1,
        description="of the detector; times the class's probability where a classifier names what a detector found; "
        "that probability alone where nothing was searched",
    )
    probabilities: dict[str, float] | None = Field(description="by class; null where only a detector looked")


class ArmAnswer(BaseModel):
    """What one arm sees."""

    arm: str
    faces: list[FaceAnswer] = Field(description="by falling score; boxes that were given keep their order")
    note: str = Field(description="what a reader has to know; empty: nothing")


class DetectAnswer(BaseModel):
    """The faces of a photograph by every arm."""

    width: int = Field(description="of the upright photograph (EXIF orientation applied), px")
    height: int = Field(description="likewise")
    arms: list[ArmAnswer]


class ExplanationAnswer(BaseModel):
    """What one arm's answer rests on."""

    arm: str
    label: str = Field(description="the class it gives")
    explained: str = Field(description="the class whose evidence the map shows")
    probabilities: dict[str, float]
    evidence: bool = Field(description="false: the map is zero everywhere")
    overlay_png: str = Field(description="PNG in base64: the face as the model sees it, and Grad-CAM over it")


class ExplainAnswer(BaseModel):
    """What all arms' answers to one face rest on."""

    box: Corners
    arms: list[ExplanationAnswer] = Field(description="those that have a classifier")
