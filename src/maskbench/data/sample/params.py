"""Parameters of the built-in sample: every number the generator draws from, with its reason."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Raised whenever the same parameters would give different bytes.
GENERATOR_VERSION = "1.0"

WITH_MASK = "with_mask"
WITHOUT_MASK = "without_mask"
INCORRECT = "mask_weared_incorrect"

#: The names of the real data; the generator must know which picture each name stands for.
SAMPLE_CLASSES = (WITH_MASK, WITHOUT_MASK, INCORRECT)
PNG_KINDS = ("rgba16", "rgba8", "rgb8")

Share = Annotated[float, Field(ge=0, le=1)]
# A YAML or JSON file has lists, not tuples, so the pairs alone are read leniently.
Range = Annotated[tuple[float, float], Field(strict=False)]


class SampleParams(BaseModel):
    """What the sample is made of. Ranges are (low, high), drawn uniformly unless said otherwise.

    The defaults imitate the figures of the real data (853 photographs, 4,072 faces).

    Example:
        >>> SampleParams(images=8).images
        8
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    images: int = Field(160, ge=1, le=100_000, description="photographs to draw")
    seed: int = Field(0, ge=0, lt=2**63, description="the same seed and parameters give the same bytes")

    class_shares: dict[str, float] = Field(
        default={WITH_MASK: 0.79, WITHOUT_MASK: 0.18, INCORRECT: 0.03},
        description="share of all faces per class, met exactly by quota (largest remainder)",
    )
    png_mix: dict[str, float] = Field(
        default={"rgba16": 648.0, "rgba8": 183.0, "rgb8": 22.0},
        description="relative frequency of the file kinds, met exactly by quota; the real data's counts",
    )
    transparent_share: Share = Field(
        186 / 853, description="share of RGBA photographs with partly transparent pixels (real: 186 of 853)"
    )
    low_order_bits: int = Field(
        1, ge=0, le=8, description="random low bits in 16-bit files: more would only make incompressible bytes"
    )

    faces_per_image: float = Field(4.8, ge=1, le=60, description="mean number of faces per photograph (real: 4.77)")
    faces_spread: float = Field(1.05, ge=0, le=2, description="log-sd of the number of faces: the long tail")
    max_faces: int = Field(115, ge=1, le=400, description="most faces in one photograph (real: 115)")

    median_face_px: float = Field(21.0, ge=6, le=200, description="median side of the face box in px (real: 21)")
    face_spread: Range = Field(
        (0.66, 0.92), description="log-sd of the side below and above the median (real: 5th percentile 7, 95th 96)"
    )
    face_px_range: Range = Field((6.5, 310.0), description="sides are clipped here (real: 4 to 317 px)")
    crowd_size_link: Share = Field(
        0.8, description="how strongly many faces go with small faces (real correlation of logs: -0.8)"
    )

    short_side_px: tuple[int, int] = Field(
        (225, 301), strict=False, description="range of the image's shorter side in px (real: mostly 225 to 301)"
    )
    long_side_px: int = Field(400, ge=96, le=4000, description="the longer side in px (real: 400)")
    large_image_share: Share = Field(0.12, description="share of photographs with the sides 1.5 times as long")
    portrait_share: Share = Field(0.36, description="share of photographs that are taller than wide (real: 0.36)")

    yaw_range: Range = Field((-48.0, 48.0), description="heads turn by at most this many degrees; small turns prevail")
    roll_sd: float = Field(6.0, ge=0, le=30, description="sd of the head's tilt in degrees")
    truncated_rate: Share = Field(0.03, description="share of faces that may be cut by the picture's edge")

    occlusion_rate: Share = Field(0.12, description="share of faces behind a hand or, if unmasked, a scarf")
    unmasked_occlusion_rate: Share = Field(
        0.25, description="the same for unmasked faces: covered mouths are what masks are confused with"
    )
    crowding: Share = Field(0.35, description="largest share of a face that people in front may hide")
    beard_rate: Share = Field(0.28, description="share of people with stubble, goatee or full beard")
    glasses_rate: Share = Field(0.28, description="share of people with glasses or sunglasses")
    hat_rate: Share = Field(0.22, description="share of people with cap, beanie, hood or headscarf")
    low_contrast_rate: Share = Field(0.12, description="share of masks in a colour near the wearer's skin")
    camouflage_rate: Share = Field(0.2, description="share of clothes and wall parts in mask colours")

    brightness: Range = Field((0.55, 1.25), description="the photograph's exposure factor")
    contrast: Range = Field((0.75, 1.12), description="the photograph's contrast factor")
    colour_cast: float = Field(0.08, ge=0, le=0.5, description="largest gain of one channel against another")
    face_light: float = Field(0.12, ge=0, le=0.6, description="sd of the exposure of one face against its photograph")
    photo_blur_px: Range = Field((0.25, 0.85), description="sd of the blur of the whole photograph in px")
    face_blur_rate: Share = Field(0.3, description="share of faces out of focus")
    face_blur: Range = Field((0.015, 0.055), description="sd of the out-of-focus blur as a share of the face's side")
    face_blur_max_px: float = Field(3.5, ge=0, le=50, description="largest sd of that blur in px")
    noise: Range = Field((1.0, 6.5), description="sd of the sensor noise in grey levels of 255")
    jpeg_rate: Share = Field(0.9, description="share of photographs that were once a JPEG file")
    jpeg_quality: tuple[int, int] = Field((38, 92), strict=False, description="range of that file's quality")

    @model_validator(mode="after")
    def _is_consistent(self) -> SampleParams:
        for name, known in (("class_shares", SAMPLE_CLASSES), ("png_mix", PNG_KINDS)):
            shares: dict[str, float] = getattr(self, name)
            unknown = sorted(set(shares) - set(known))
            if unknown:
                raise ValueError(f"{name}: {unknown[0]!r} is not one of {', '.join(known)}")
            if not all(0 <= share < float("inf") for share in shares.values()) or sum(shares.values()) <= 0:
                raise ValueError(f"{name}: shares are at least 0, finite, and not all 0")
        limits = {
            "face_px_range": (4.0, 1000.0),
            "short_side_px": (64, self.long_side_px),
            "face_spread": (0.0, 1.5),
            "yaw_range": (-60.0, 60.0),
            "brightness": (0.05, 3.0),
            "contrast": (0.1, 3.0),
            "photo_blur_px": (0.0, 20.0),
            "face_blur": (0.0, 1.0),
            "noise": (0.0, 60.0),
            "jpeg_quality": (1, 100),
        }
        for name, (least, most) in limits.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(f"{name}: {least} <= low <= high <= {most} is needed, not ({low}, {high})")
        return self
