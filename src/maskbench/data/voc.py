"""Pascal VOC annotations: one XML file to one typed record.

The file is hostile until shown otherwise: DTDs, entities and external references are refused, its
size is bounded, and nothing it names (`filename`, `folder`, `path`) is ever opened: a photograph and
its annotation belong together by file stem. What is wrong with the file as a whole raises
`AnnotationError`; what is wrong with one object is returned as a problem beside the good objects.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, ParseError
from xml.etree.ElementTree import fromstring as plain_fromstring

from defusedxml.common import DefusedXmlException, DTDForbidden, EntitiesForbidden, ExternalReferenceForbidden
from defusedxml.ElementTree import fromstring

from maskbench.storage import read_at_most

#: Largest annotation that is read. A face takes about 400 bytes, so this holds over ten thousand.
MAX_XML_BYTES = 5 * 1024 * 1024

BOX_FIELDS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False,
          "unspecified": False}  # fmt: skip
# Python's float() also takes "1_000" and the digits of every script; an annotation that holds those is wrong.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
#: What `float()` takes exactly as it stands, and cannot be too large for.
_DIGITS = 15
# 18 digits: int() of a megabyte of digits is refused by Python with another exception.
_WHOLE = re.compile(r"\d{1,18}(\.0{1,3})?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_STRAY_KEPT = 5
_SHOWN_CHARACTERS = 80

ProblemKind = Literal["label", "box", "not_finite", "size", "flag"]


class AnnotationError(ValueError):
    """An annotation cannot be used; the message is one line that names file and field."""


@dataclass(frozen=True)
class AnnotatedObject:
    """One object of an annotation.

    Attributes:
        index: 0-based place among the file's `object` elements, counting unusable ones.
        name: the label, as written but for surrounding and repeated white space.
        box: `xmin, ymin, xmax, ymax`, px, finite; not checked against the photograph.
        pose: as written, `Unspecified` when missing.
        truncated: reaches beyond the photograph; False when missing.
        occluded: partly hidden; False when missing.
        difficult: marked as hard; False when missing.
    """

    index: int
    name: str
    box: tuple[float, float, float, float]
    pose: str = "Unspecified"
    truncated: bool = False
    occluded: bool = False
    difficult: bool = False


@dataclass(frozen=True)
class Problem:
    """One thing wrong inside an otherwise usable annotation.

    Attributes:
        kind: `label` (missing or ambiguous), `box` (missing or not numeric), `not_finite` (NaN or
            infinite coordinate), `size` (the photograph's size is missing or nonsense), `flag`.
        field: for example `object 3: bndbox/xmin`.
        message: one line.
        index: the object concerned, None for the file.
        lost: whether that object is left out.
    """

    kind: ProblemKind
    field: str
    message: str
    index: int | None
    lost: bool


@dataclass(frozen=True)
class Annotation:
    """What an annotation file says.

    Attributes:
        filename: as written, never followed; empty when missing.
        width: px, None when missing or not a positive whole number.
        height: px, like `width`.
        depth: channels, like `width`.
        objects: the usable objects in file order.
        problems: what is wrong with the others, or with optional fields.
        stray_text: text found outside any field, a sign of a damaged file (at most 5 pieces).
        object_count: `object` elements in the file, usable or not.
    """

    filename: str
    width: int | None
    height: int | None
    depth: int | None
    objects: tuple[AnnotatedObject, ...]
    problems: tuple[Problem, ...]
    stray_text: tuple[str, ...]
    object_count: int


class _FieldError(Exception):
    """A field of one object is unusable."""

    def __init__(self, kind: ProblemKind, field: str, message: str) -> None:
        super().__init__(message)
        self.kind: ProblemKind = kind
        self.field = field
        self.message = message


def read_annotation(path: Path) -> Annotation:
    """Read a Pascal VOC annotation.

    Args:
        path: the XML file.

    Returns:
        The annotation; see `Annotation.problems` for objects that had to be left out.

    Raises:
        AnnotationError: the file as a whole is unusable: unreadable, too large, not well-formed, wrongly
            encoded, with a DTD or entities, or its root is not `annotation`.
    """
    path = Path(path)
    try:
        content = read_at_most(path, MAX_XML_BYTES)
    except OSError as error:
        raise AnnotationError(f"{path.name}: cannot be read ({error.strerror})") from error
    return parse_annotation(content, path.name)


def parse_annotation(content: bytes, name: str) -> Annotation:
    """`read_annotation` on bytes; `name` is what messages call the file.

    Example:
        >>> xml = b"<annotation><object><name>a</name><bndbox><xmin>1</xmin><ymin>2</ymin>"
        >>> xml += b"<xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>"
        >>> parse_annotation(xml, "a.xml").objects[0].box
        (1.0, 2.0, 3.0, 4.0)
    """
    root = _parse(content, name)
    if root.tag != "annotation":
        raise AnnotationError(f"{name}: root element is <{_shown(str(root.tag))}>, not <annotation>")
    problems: list[Problem] = []
    objects: list[AnnotatedObject] = []
    elements = root.findall("object")
    for index, element in enumerate(elements):
        try:
            objects.append(_object(element, index, problems))
        except _FieldError as error:
            field = f"object {index}: {error.field}"
            problems.append(Problem(error.kind, field, f"{field} {error.message}", index, lost=True))
    sizes = root.findall("size")
    width, height, depth = (_size(sizes, field, problems) for field in ("width", "height", "depth"))
    return Annotation(
        filename=_text(root.find("filename")),
        width=width,
        height=height,
        depth=depth,
        objects=tuple(objects),
        problems=tuple(problems),
        stray_text=_stray_text(root),
        object_count=len(elements),
    )


def clean_label(text: str) -> str:
    """A label without surrounding or repeated white space, in Unicode's composed form.

    Example:
        >>> clean_label("  con   máscara ") == "con m\u00e1scara"
        True
    """
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _parse(content: bytes, name: str) -> Element:
    if len(content) > MAX_XML_BYTES:
        raise AnnotationError(f"{name}: larger than {MAX_XML_BYTES // 1024**2} MiB, not read as an annotation")
    if not content.strip():
        raise AnnotationError(f"{name}: empty file")
    # A DTD begins with "<!". Bytes without it hold none in any encoding that expat takes (all but UTF-16, whose text
    # has zero bytes, write ASCII as it is), so there is nothing to refuse: the parser in C, ten times as fast, will do.
    if b"<!" not in content and b"\0" not in content:
        with suppress(ParseError, ValueError, LookupError):  # said below, in the same words for all files
            return plain_fromstring(content)
    try:
        root: Element = fromstring(content, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except (DTDForbidden, EntitiesForbidden, ExternalReferenceForbidden) as error:
        kind = {DTDForbidden: "a DTD", EntitiesForbidden: "entities"}.get(type(error), "an external reference")
        raise AnnotationError(f"{name}: declares {kind}, which is refused") from error
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        # Beside ParseError, expat reports encodings it does not know as ValueError or LookupError.
        raise AnnotationError(f"{name}: not well-formed XML ({_shown(str(error))})") from error
    return root


def _object(element: Element, index: int, problems: list[Problem]) -> AnnotatedObject:
    name = clean_label(_text(_only(element, "name", "label")))
    if not name:
        raise _FieldError("label", "name", "is missing or empty")
    bndbox = _only(element, "bndbox", "box")
    if bndbox is None:
        raise _FieldError("box", "bndbox", "is missing")
    xmin, ymin, xmax, ymax = (_coordinate(bndbox, field) for field in BOX_FIELDS)
    return AnnotatedObject(
        index=index,
        name=name,
        box=(xmin, ymin, xmax, ymax),
        pose=_text(element.find("pose")) or "Unspecified",
        truncated=_flag(element, "truncated", index, problems),
        occluded=_flag(element, "occluded", index, problems),
        difficult=_flag(element, "difficult", index, problems),
    )


def _only(element: Element, field: str, kind: ProblemKind) -> Element | None:
    """The child called `field`; two of them contradict each other and are refused."""
    found = element.findall(field)
    if len(found) > 1:
        raise _FieldError(kind, field, f"stands there {len(found)} times")
    return found[0] if found else None


def _coordinate(bndbox: Element, field: str) -> float:
    child = _only(bndbox, field, "box")
    if child is not None and (plain := child.text) and len(plain) <= _DIGITS and plain.isascii() and plain.isdigit():
        return float(plain)  # nearly all of them
    where = f"bndbox/{field}"
    if child is None:
        raise _FieldError("box", where, "is missing")
    text = _text(child)
    if not _NUMBER.fullmatch(text):
        if _NOT_FINITE.fullmatch(text):
            raise _FieldError("not_finite", where, f"is {text}, not a finite number")
        raise _FieldError("box", where, f"is {_shown(text)!r}, not a number")
    value = float(text)
    if not math.isfinite(value):
        raise _FieldError("not_finite", where, f"is {_shown(text)}, beyond any number")
    return value


def _flag(element: Element, field: str, index: int, problems: list[Problem]) -> bool:
    child = element.find(field)
    if child is not None and child.text == "0":  # nearly all of them
        return False
    text = _text(child)
    value = _FLAGS.get(text.lower())
    if value is None:
        where = f"object {index}: {field}"
        problems.append(Problem("flag", where, f"{where} is {_shown(text)!r}, read as no", index, lost=False))
        return False
    return value


def _size(sizes: Sequence[Element], field: str, problems: list[Problem]) -> int | None:
    """The first `field` among the children of `sizes`."""
    text = _text(next((child for size in sizes if (child := size.find(field)) is not None), None))
    if _WHOLE.fullmatch(text) and int(text.partition(".")[0]) > 0:
        return int(text.partition(".")[0])
    if field != "depth":
        said = f"is {_shown(text)!r}" if text else "is missing"
        problems.append(Problem("size", f"size/{field}", f"size/{field} {said}", None, lost=False))
    return None


def _text(element: Element | None) -> str:
    return "" if element is None else " ".join((element.text or "").split())


def _stray_text(root: Element) -> tuple[str, ...]:
    texts = [element.text for element in root.iter() if len(element)]  # text of a leaf is its value
    texts += [element.tail for element in root.iter()]
    if not "".join(filter(None, texts)).strip():  # in nearly all files
        return ()
    return tuple(piece for piece, _ in zip(_stray_pieces(root), range(_STRAY_KEPT), strict=False))


def _stray_pieces(root: Element) -> Iterator[str]:
    for element in root.iter():
        if len(element) and (text := element.text) and not text.isspace():  # text of a leaf is its value
            yield _shown(" ".join(text.split()))
        if (text := element.tail) and not text.isspace() and element is not root:
            yield _shown(" ".join(text.split()))


def _shown(text: str) -> str:
    """`text` on one line and not longer than a message bears."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…"
