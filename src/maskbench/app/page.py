"""The page: a photograph in, every arm's faces side by side, and why."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from maskbench.app.draw import faces_drawn, side_by_side
from maskbench.app.photographs import BoxError, Picture, parse_boxes, plain_name
from maskbench.app.service import NO_MAPS, ArmFaces, BusyError, Explanation, Service, WishError, face_at
from maskbench.app.uploads import KEPT_SECONDS
from maskbench.data.images import ImageError

PREDICTED = "what each model says"

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
_TITLE = """<h1>Who wears a mask?</h1>
<p>Hand in a photograph to see what each model finds in it. Click a face, or its row, for what the answer rests on.</p>
"""
_WAITING = "Waiting for a photograph: upload one, paste it, use the camera, or take an example."
_NOTICE = """<p><b>Your photograph</b> goes to the machine that runs this page and nowhere else. It is not stored:
the copy that clicks need is deleted after {minutes} minutes, and when the server ends.</p>
<p>The examples are drawn; they show nobody.</p>
<p><b>For study and demonstration only.</b> Answers can be wrong for any face. Do not use them to decide about people:
not for admission, enforcement, surveillance, health or identification.</p>
<p>Programs: the JSON API is described at <a href="openapi.json">openapi.json</a>.</p>"""
_FAILURES = (ImageError, BoxError, WishError, BusyError, FileNotFoundError)


@dataclass(frozen=True)
class Seen:
    """What the page shows at the moment.

    Attributes:
        digest: of the photograph's file.
        arms: their faces.
    """

    digest: str
    arms: tuple[ArmFaces, ...]


def make_page(service: Service, examples: Sequence[Path], *, min_score: float) -> gr.Blocks:
    """The page of a service.

    Args:
        service: that answers.
        examples: photographs to try.
        min_score: where the slider stands at first.
    """
    asks = _Page(service)
    gr.set_static_paths([str(folder) for folder in {path.parent for path in examples}])
    with gr.Blocks(title="maskbench", analytics_enabled=False, fill_width=True) as page:
        seen = gr.State(None)
        gr.HTML(_TITLE, elem_id="title")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                inputs = _inputs(examples, min_score)
                given, class_name = _options(service)
            with gr.Column(scale=5, min_width=300):
                status = gr.HTML(_status(_WAITING), elem_id="status")
                arms, whys = _arms(service)
                table = _table(service)
        gr.HTML(_NOTICE.format(minutes=round(KEPT_SECONDS / 60)), elem_id="notice")
        photograph, score = inputs
        options: dict[str, Any] = {"concurrency_limit": 1, "api_visibility": "private", "show_progress_on": status}
        looks = [photograph.change, score.release, given.submit]
        gr.on(looks, asks.look, [photograph, score, given], [status, seen, *arms, table, *whys], **options)
        again, pictures = [photograph, seen, class_name], arms[1::2]
        parts = [status, *pictures, *whys]
        for number, picture in enumerate(pictures):
            picture.select(asks.clicked(number), [*again, picture], parts, **options)
        table.select(asks.row_chosen, again, parts, **options)
    page.queue(max_size=16, api_open=False)
    return page


def _inputs(examples: Sequence[Path], min_score: float) -> tuple[gr.Image, gr.Slider]:
    photograph = gr.Image(
        label="Photograph (PNG, JPEG)", sources=["upload", "clipboard", "webcam"], type="filepath", image_mode=None,
        height=300, elem_id="photograph",
    )  # fmt: skip
    # The file is handed on unopened, so that it is checked where the API's is, and no address is ever fetched. Not a
    # class of its own: gradio writes a file beside the source of every component that is defined.
    photograph.preprocess = _path_of
    photograph.move_resource_to_block_cache = _uploaded(photograph.move_resource_to_block_cache)
    if examples:
        gr.Examples([[str(path)] for path in examples], photograph, label="Drawn examples", elem_id="examples")
    return photograph, gr.Slider(0, 1, min_score, step=0.01, label="Leave out scores below", elem_id="score")


def _table(service: Service) -> gr.Dataframe:
    """A row per face; a row can be chosen with the keyboard too."""
    columns = _columns(service)
    return gr.Dataframe(
        headers=[name.replace("_", "_\u200b") for name in columns],  # may be folded after its underscores
        column_widths=["48px", "180px", "150px", "72px", *["112px"] * (len(columns) - 5), "150px"],
        interactive=False, wrap=True, elem_id="faces", label="Faces", visible=False, max_height=330, buttons=["copy"],
    )  # fmt: skip


def _path_of(payload: Any) -> str | None:
    """The path of an uploaded file."""
    return None if payload is None else str(payload.path)


def _uploaded(keep: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`keep`, for files alone."""

    def only_files(path: Any) -> Any:
        if str(path).lower().startswith(("http:", "https:")):
            raise gr.Error("hand in a file, not an address", print_exception=False)
        return keep(path)

    return only_files


def _options(service: Service) -> tuple[gr.Textbox, gr.Dropdown]:
    names = any(arm.classifier for arm in service.arms)
    with gr.Accordion("More", open=False, visible=names):
        given = gr.Textbox(
            label="Boxes that you give, instead of a search", placeholder="xmin,ymin,xmax,ymax; … in px, then Enter",
            elem_id="boxes", max_length=4000,
        )  # fmt: skip
        classes = list(dict.fromkeys(name for arm in service.arms if arm.classifier for name in arm.classes))
        class_name = gr.Dropdown(
            [PREDICTED, *classes], value=PREDICTED, label="Class whose evidence a map shows", elem_id="class"
        )
    return given, class_name


def _arms(service: Service) -> tuple[list[Any], list[Any]]:
    """A column per arm: its name and its picture; below, where it has a classifier, the bars and the map of a face."""
    shown: list[Any] = []
    whys: list[Any] = []
    with gr.Row():
        for arm in service.arms:
            with gr.Column(min_width=260):
                shown += [
                    gr.HTML(visible=False, elem_classes="head"),
                    gr.Image(
                        show_label=False, label=f"Faces by {arm.name}", interactive=False, format="png",
                        elem_classes="arm", buttons=["fullscreen"], visible=False,
                    ),
                ]  # fmt: skip
                if arm.classifier is not None:
                    whys += [
                        gr.HTML(visible=False, elem_classes="why"),
                        gr.Image(
                            show_label=False, label=f"Grad-CAM of {arm.name}", interactive=False, format="png",
                            elem_classes="map", buttons=["fullscreen"], visible=False,
                        ),
                    ]  # fmt: skip
    return shown, whys


class _Page:
    """What the page's events do; every failure becomes a line in the page."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.explainable = [arm.name for arm in service.arms if arm.classifier is not None]

    def look(self, path: str | None, score: float, given: str) -> list[Any]:
        """All parts of the page for a photograph."""
        if path is None:
            return self._nothing(_status(_WAITING))
        try:
            content, name = self._read(path)
            boxes = parse_boxes(given or "")
            with self.service.turn():
                picture = self.service.read(content, name)
                arms = self.service.look(picture, min_score=score, boxes=boxes)
                drawn = [faces_drawn(picture, one) for one in arms]
        except _FAILURES as error:
            return self._nothing(_problem(error))
        rows = _rows(arms, self.service)
        shown = [part for one, image in zip(arms, drawn, strict=True) for part in (_head(one), image)]
        return [
            _status(f"{name}, {picture.width} × {picture.height} px"),
            Seen(_digest(content), arms),
            *(gr.update(value=part, visible=True) for part in shown),
            gr.update(value=rows, visible=bool(rows)),
            *self._no_explanations(),
        ]

    def clicked(self, number: int) -> Callable[..., list[Any]]:
        """The event of a click on the picture of arm `number`."""

        def select(path: str | None, seen: Seen | None, class_name: str, shown: Any, event: gr.SelectData) -> list[Any]:
            if seen is None or shown is None:
                return self._unchanged(_status(_WAITING))
            height, width = shown.shape[:2]
            x, y = float(event.index[0]) / width, float(event.index[1]) / height
            return self._explain(path, seen, class_name, lambda picture: _chosen(seen, number, picture, x, y))

        return select

    def row_chosen(self, path: str | None, seen: Seen | None, class_name: str, event: gr.SelectData) -> list[Any]:
        """The event of a click on a row of the table."""
        if seen is None:
            return self._unchanged(_status(_WAITING))
        places = [(number, face) for number, one in enumerate(seen.arms) for face in range(len(one.faces))]
        chosen = int(event.row_value[0]) - 1
        return self._explain(path, seen, class_name, lambda _: places[chosen])

    def _explain(
        self, path: str | None, seen: Seen, class_name: str, choose: Callable[[Picture], tuple[int, int] | None]
    ) -> list[Any]:
        try:
            content, name = self._read(path)
            if _digest(content) != seen.digest:
                raise WishError("this face is of another photograph; wait until the new one has been looked at")
            with self.service.turn():
                picture = self.service.read(content, name)
                chosen = choose(picture)
                if chosen is None:
                    return self._unchanged(_status("There is no face at this place; click inside a box."))
                number, place = chosen
                face = seen.arms[number].faces[place]
                drawn = [
                    faces_drawn(picture, one, place if other == number else None)
                    for other, one in enumerate(seen.arms)
                ]  # fmt: skip
                wanted = "" if class_name == PREDICTED else class_name
                found = self.service.explain(picture, face.box, class_name=wanted) if self.explainable else ()
        except _FAILURES as error:
            return self._unchanged(_problem(error))
        corners = ", ".join(f"{value:.0f}" for value in face.box)
        words = f"Chosen: {face.label} ({face.score:.2f}) of {seen.arms[number].arm}, box {corners} px."
        notes = [] if self.explainable else [NO_MAPS]
        return [_status(words, notes), *drawn, *_explained(found)]

    def _read(self, path: str | None) -> tuple[bytes, str]:
        if path is None or not Path(path).is_file():
            raise FileNotFoundError("the photograph has been deleted; hand it in again")
        size = Path(path).stat().st_size
        if size > self.service.max_bytes:  # of what did not come through the upload: never read
            return bytes(self.service.max_bytes + 1), plain_name(path)
        return Path(path).read_bytes(), plain_name(path)

    def _nothing(self, status: str) -> list[Any]:
        hidden = [gr.update(value=None, visible=False) for _ in self.service.arms for _ in range(2)]
        return [status, None, *hidden, gr.update(value=[], visible=False), *self._no_explanations()]

    def _no_explanations(self) -> list[Any]:
        return [gr.update(value=None, visible=False) for _ in self.explainable for _ in range(2)]

    def _unchanged(self, status: str) -> list[Any]:
        return [status, *(gr.skip() for _ in range(len(self.service.arms) + 2 * len(self.explainable)))]


def _chosen(seen: Seen, number: int, picture: Picture, x: float, y: float) -> tuple[int, int] | None:
    """Arm and place of the face at a point, in shares of the photograph's sides."""
    place = face_at(seen.arms[number].faces, x * picture.width, y * picture.height)
    return None if place is None else (number, place)


def _explained(found: Sequence[Explanation]) -> list[Any]:
    parts: list[Any] = []
    for one in found:
        parts += [gr.update(value=_why(one), visible=True), gr.update(value=side_by_side(one), visible=True)]
    return parts


def _why(one: Explanation) -> str:
    """Bars of the probabilities, and what the map shows."""
    bars = "".join(
        f"<div class='bar'><span>{html.escape(label)}</span><i><b style='width:{100 * prob:.1f}%'></b></i>"
        f"<em>{prob:.3f}</em></div>"
        for label, prob in one.probabilities.items()
    )
    where = "evidence for it" if one.explained == one.label else f"evidence for {html.escape(one.explained)}"
    said = f"{where}, as a share of the map's peak" if one.evidence else f"no {where} anywhere"
    return f"<h3>{html.escape(one.label)}</h3>{bars}<p>Grad-CAM: {said}.</p>"


def _columns(service: Service) -> list[str]:
    classes = dict.fromkeys(name for arm in service.arms if arm.classifier for name in arm.classes)
    return ["#", "arm", "class", "score", *classes, "box (px)"]


def _rows(arms: Sequence[ArmFaces], service: Service) -> list[list[Any]]:
    """A row per face; a dash where an arm gives no probability."""
    classes = _columns(service)[4:-1]
    faces = [(one.arm, face) for one in arms for face in one.faces]
    return [
        [
            number, arm, face.label, f"{face.score:.3f}",
            *(f"{(face.probabilities or {}).get(name, float('nan')):.3f}".replace("nan", "–") for name in classes),
            ", ".join(f"{value:.0f}" for value in face.box),
        ]
        for number, (arm, face) in enumerate(faces, start=1)
    ]  # fmt: skip


def _head(one: ArmFaces) -> str:
    count = f"{len(one.faces)} face{'' if len(one.faces) == 1 else 's'}"
    words = one.note or ("" if one.faces else "None is sure enough: lower the score, or take a clearer photograph.")
    note = f"<p>{html.escape(words)}</p>" if words else ""
    return f"<h2>{html.escape(one.arm)} <small>{count}</small></h2>{note}"


def _status(words: str, notes: Sequence[str] = ()) -> str:
    lines = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in notes)
    return f"<div role='status'><p>{html.escape(words)}</p>{lines}</div>"


def _problem(error: Exception) -> str:
    return f"<div role='alert'><p>{html.escape(' '.join(str(error).split()))}</p></div>"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
