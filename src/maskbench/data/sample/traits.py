"""What a person looks like: drawn once, as plain values; painting reads them and draws nothing random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskbench.data.sample.paint import Colour, mix, scaled
from maskbench.data.sample.params import INCORRECT, WITH_MASK, SampleParams

SKIN_TONES: dict[str, Colour] = {
    "porcelain": (234, 199, 179),
    "fair": (226, 187, 161),
    "beige": (222, 178, 146),
    "olive": (203, 158, 122),
    "tan": (184, 134, 98),
    "brown": (148, 100, 70),
    "dark": (110, 72, 50),
    "deep": (78, 51, 38),
}
_SKIN_WEIGHTS = (0.12, 0.22, 0.22, 0.16, 0.1, 0.08, 0.06, 0.04)
HAIR_COLOURS: dict[str, Colour] = {
    "black": (30, 26, 26),
    "dark brown": (52, 36, 28),
    "brown": (88, 58, 40),
    "auburn": (112, 58, 34),
    "blond": (190, 152, 96),
    "grey": (142, 140, 138),
    "white": (212, 208, 202),
}
_HAIR_WEIGHTS = (0.36, 0.24, 0.15, 0.06, 0.09, 0.07, 0.03)
HAIR_STYLES = ("bald", "buzz", "short", "side part", "fringe", "bob", "long", "curly", "bun")
_STYLE_WEIGHTS = (0.05, 0.1, 0.21, 0.16, 0.1, 0.11, 0.14, 0.07, 0.06)
HATS = ("cap", "beanie", "hood", "headscarf")
_HAT_WEIGHTS = (0.36, 0.3, 0.18, 0.16)
GLASSES = ("round", "square", "sunglasses")
BEARDS = ("stubble", "goatee", "full")
CLOTHES = ("round neck", "shirt", "jacket", "hoodie", "turtleneck")
PATTERNS = ("plain", "stripes", "checks")

MASK_COLOURS: dict[str, dict[str, Colour]] = {
    "surgical": {
        "light blue": (150, 198, 228),
        "sky blue": (118, 182, 222),
        "green": (142, 208, 188),
        "white": (236, 239, 241),
        "pink": (234, 190, 202),
    },
    "cloth": {"black": (38, 38, 42), "white": (234, 232, 228), "navy": (46, 58, 96), "grey": (132, 136, 142)},
    "patterned": {
        "white floral": (240, 234, 230),
        "red checks": (178, 62, 60),
        "blue dots": (70, 104, 160),
        "pastel": (240, 208, 218),
        "olive stripes": (118, 124, 84),
    },
    "n95": {"white": (242, 242, 238), "grey": (190, 194, 196)},
}
_KIND_WEIGHTS = (0.54, 0.24, 0.1, 0.12)
_SURGICAL_WEIGHTS = (0.34, 0.18, 0.1, 0.3, 0.08)
INCORRECT_STYLES = ("under nose", "on chin", "one ear")
_INCORRECT_WEIGHTS = (0.5, 0.36, 0.14)

CLOTHING_COLOURS: tuple[Colour, ...] = (
    (36, 40, 50),
    (60, 64, 74),
    (44, 56, 90),
    (96, 104, 116),
    (140, 48, 50),
    (74, 94, 74),
    (168, 142, 108),
    (208, 206, 200),
    (104, 74, 58),
    (188, 152, 62),
    (94, 72, 112),
    (62, 112, 132),
    (206, 138, 150),
)
#: Clothes and walls in these colours look like a mask to whoever only counts pixels.
CAMOUFLAGE_COLOURS: tuple[Colour, ...] = ((150, 198, 228), (232, 236, 240), (142, 208, 188), (36, 36, 40))


@dataclass(frozen=True)
class Mask:
    """A mask as it is worn.

    Attributes:
        kind: key of `MASK_COLOURS`.
        colour_name: its colour in words; "skin-like" for low contrast.
        colour: RGB.
        style: "correct" or one of `INCORRECT_STYLES`.
        droop: small individual differences of fit, about -1..1.
        ear: the side (-1 left, 1 right in the picture) it hangs from, if it does.
        pattern_seed: places the dots of a patterned cloth.
    """

    kind: str
    colour_name: str
    colour: Colour
    style: str
    droop: float
    ear: int
    pattern_seed: int


@dataclass(frozen=True)
class Person:
    """One person. Angles in radians; shares and factors near 0 or 1 are relative to a plain face."""

    label: str
    side: float
    yaw: float
    pitch: float
    roll: float
    skin_name: str
    skin: Colour
    hair_style: str
    hair_name: str
    hair: Colour
    hat: str
    hat_colour: Colour
    glasses: str
    beard: str
    jaw: float
    length: float
    eye_open: float
    brow: float
    mouth: float
    smile: float
    lipstick: bool
    gaze: float
    clothing: str
    clothing_colour: Colour
    under_colour: Colour
    trousers: Colour
    pattern: str
    occluder: str
    occluder_colour: Colour
    occluder_side: int
    mask: Mask | None
    light: float
    blur_share: float
    mirror: int

    @property
    def unit(self) -> float:
        """Px per unit: the box of a frontal face is about 2.12 units wide and high."""
        return self.side / 2.12


def _pick(rng: np.random.Generator, names: tuple[str, ...], weights: tuple[float, ...] | None = None) -> str:
    p = None if weights is None else np.asarray(weights) / np.sum(weights)
    return names[int(rng.choice(len(names), p=p))]


def _clothing_colour(rng: np.random.Generator, camouflage: float) -> Colour:
    palette = CAMOUFLAGE_COLOURS if rng.random() < camouflage else CLOTHING_COLOURS
    colour = palette[int(rng.integers(len(palette)))]
    return scaled(colour, float(rng.uniform(0.85, 1.12)))


def _draw_mask(rng: np.random.Generator, params: SampleParams, style: str, skin: Colour) -> Mask:
    kind = _pick(rng, tuple(MASK_COLOURS), _KIND_WEIGHTS)
    if style != "correct" and kind == "n95":  # rigid cups are hardly ever worn on the chin
        kind = "surgical"
    names = tuple(MASK_COLOURS[kind])
    name = _pick(rng, names, _SURGICAL_WEIGHTS if kind == "surgical" else None)
    colour = MASK_COLOURS[kind][name]
    if rng.random() < params.low_contrast_rate:
        kind, name = "cloth", "skin-like"
        colour = scaled(mix(skin, (205, 196, 190), 0.25), float(rng.uniform(0.88, 1.08)))
    return Mask(
        kind=kind,
        colour_name=name,
        colour=scaled(colour, float(rng.uniform(0.93, 1.04))),
        style=style,
        droop=float(np.clip(rng.normal(0, 0.45), -1, 1)),
        ear=1 if rng.random() < 0.5 else -1,
        pattern_seed=int(rng.integers(2**31)),
    )


def draw_person(rng: np.random.Generator, params: SampleParams, label: str, side: float) -> Person:
    """Draw one person's looks.

    Args:
        rng: the photograph's generator; it advances.
        params: rates and ranges.
        label: the class to be shown.
        side: side of the face box in px.
    """
    skin_name = _pick(rng, tuple(SKIN_TONES), _SKIN_WEIGHTS)
    skin = scaled(SKIN_TONES[skin_name], float(rng.uniform(0.95, 1.05)))
    hair_name = _pick(rng, tuple(HAIR_COLOURS), _HAIR_WEIGHTS)
    hair_style = _pick(rng, HAIR_STYLES, _STYLE_WEIGHTS)
    hat = _pick(rng, HATS, _HAT_WEIGHTS) if rng.random() < params.hat_rate else "none"
    glasses = _pick(rng, GLASSES, (0.42, 0.4, 0.18)) if rng.random() < params.glasses_rate else "none"
    bearded = rng.random() < params.beard_rate and hair_style not in ("bob", "long", "bun") and hat != "headscarf"
    beard = _pick(rng, BEARDS, (0.4, 0.25, 0.35)) if bearded else "none"

    if label == WITH_MASK:
        mask: Mask | None = _draw_mask(rng, params, "correct", skin)
    elif label == INCORRECT:
        mask = _draw_mask(rng, params, _pick(rng, INCORRECT_STYLES, _INCORRECT_WEIGHTS), skin)
    else:
        mask = None
    rate = params.occlusion_rate if mask is not None else params.unmasked_occlusion_rate
    occluder = "none"
    if rng.random() < rate:
        # a scarf over a mask would hide what the label says: scarves cover unmasked mouths only
        occluder = _pick(rng, ("hand", "scarf")) if mask is None else "hand"
    low, high = params.yaw_range
    yaw = float(np.clip((low + high) / 2 + rng.normal(0, max(high - low, 1e-9) / 4), low, high))
    out_of_focus = rng.random() < params.face_blur_rate
    blur_share = float(rng.uniform(*params.face_blur))
    colour = _clothing_colour(rng, params.camouflage_rate)
    return Person(
        label=label,
        side=side,
        yaw=float(np.deg2rad(yaw)),
        pitch=float(np.clip(rng.normal(0.05, 0.16), -0.3, 0.4)),
        roll=float(np.deg2rad(np.clip(rng.normal(0, params.roll_sd), -25, 25))),
        skin_name=skin_name,
        skin=skin,
        hair_style=hair_style,
        hair_name=hair_name,
        hair=scaled(HAIR_COLOURS[hair_name], float(rng.uniform(0.85, 1.2))),
        hat=hat,
        hat_colour=_clothing_colour(rng, params.camouflage_rate / 2),
        glasses=glasses,
        beard=beard,
        jaw=float(rng.uniform(0.9, 1.08)),
        length=float(rng.uniform(0.95, 1.08)),
        eye_open=float(np.clip(rng.normal(1, 0.2), 0.15, 1.4)),
        brow=float(rng.uniform(0.7, 1.4)),
        mouth=float(rng.choice([0.0, 0.0, 0.0, 0.35, 0.8])),
        smile=float(rng.normal(0.25, 0.5)),
        lipstick=bool(beard == "none" and rng.random() < 0.25),
        gaze=float(rng.normal(0, 0.35)),
        clothing=_pick(rng, CLOTHES),
        clothing_colour=colour,
        under_colour=_clothing_colour(rng, 0.5),
        trousers=scaled(CLOTHING_COLOURS[int(rng.integers(4))], float(rng.uniform(0.7, 1.1))),
        pattern=_pick(rng, PATTERNS, (0.74, 0.16, 0.1)),
        occluder=occluder,
        occluder_colour=_clothing_colour(rng, 0.35),
        occluder_side=1 if rng.random() < 0.5 else -1,
        mask=mask,
        light=float(np.clip(np.exp(rng.normal(0, params.face_light)), 0.6, 1.5)),
        blur_share=min(blur_share, params.face_blur_max_px / side) if out_of_focus else 0.0,
        mirror=1 if rng.random() < 0.5 else -1,
    )
