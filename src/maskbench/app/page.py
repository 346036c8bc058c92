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
from maskbench.app.service import ArmFaces, BusyError, Explanation, Service, WishError, face_at
from maskbench.data.images import ImageError

#: Seconds after which a photograph that was handed in is deleted, and how often that is looked after.
KEPT_SECONDS, CLEANED_EVERY = 600, 30
PREDICTED = "what each model says"

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
_TITLE = """<h1>Who wears a mask?</h1>
<p>Hand in a photograph: {arms} what the models see. Click a face, or its row, for what the answer rests on.</p>"""
_NOTICE = """<p><b>Your photograph</b> goes to the machine that runs this page and nowhere else. It is not stored:
it is deleted after {minutes} minutes, and when the server ends. The examples are drawn; they show nobody.</p>
<p><b>For study and demonstration only.</b> Answers can be wrong for any face. Do not use them to decide about people:
not for admission, enforcement, surveillance, health or identification.</p>"""
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


class Photograph(gr.Image):  # type: ignore[misc]
    """An input for a photograph whose file is handed on unopened: it is checked where the API's is."""

    is_template = True  # shown as what it derives from

    def preprocess(self, payload: Any) -> str | None:
        """The path of the uploaded file."""
        return None if payload is None else str(payload.path)

    def move_resource_to_block_cache(self, url_or_file_path: Any) -> Any:
        """As its parent, but no address is ever fetched."""
        if str(url_or_file_path).lower().startswith(("http:", "https:")):
            raise gr.Error("hand in a file, not an address")
        return super().move_resource_to_block_cache(url_or_file_path)


def make_page(service: Service, examples: Sequence[Path], *, min_score: float) -> gr.Blocks:
    """The page of a service.

    Args:
        service: that answers.
        examples: photographs to try.
        min_score: where the slider stands at first.
    """
    asks = _Page(service)
    gr.set_static_paths([str(folder) for folder in {path.parent for path in examples}])
    with gr.Blocks(
        title="maskbench", analytics_enabled=False, delete_cache=(CLEANED_EVERY, KEPT_SECONDS), fill_width=True
    ) as page:
        seen = gr.State(None)
        title = "both arms show" if len(service.arms) == 2 else "the page shows"
        gr.HTML(_TITLE.format(arms=title), elem_id="title")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                photograph = Photograph(
                    label="Photograph (PNG, JPEG)", sources=["upload", "clipboard", "webcam"],
                    type="filepath", height=300, elem_id="photograph",
                )  # fmt: skip
                if examples:
                    gr.Examples([[str(path)] for path in examples], photograph, label="Drawn examples")
                score = gr.Slider(
                    0, 1, min_score, step=0.01, label="Leave out faces with a score below", elem_id="score"
                )
                given, class_name = _options(service)
            with gr.Column(scale=5, min_width=300):
                status = gr.HTML(_status("Waiting for a photograph."), elem_id="status")
                pictures = _pictures(service)
                table = gr.Dataframe(
                    headers=_headers(service), interactive=False, wrap=True, elem_id="faces", label="Faces",
                    visible=False, max_height=330,
                )  # fmt: skip
                whys = _explanations(service)
        gr.HTML(_NOTICE.format(minutes=KEPT_SECONDS // 60), elem_id="notice")
        shown = [status, seen, *pictures, table, *whys]
        inputs: list[Any] = [photograph, score, given]
        options: dict[str, Any] = {"concurrency_limit": 1, "api_visibility": "private", "show_progress": "minimal"}
        gr.on([photograph.change, score.release, given.submit], asks.look, inputs, shown, **options)
        again = [photograph, seen, class_name]
        parts = [status, *pictures, *whys]
        for number, picture in enumerate(pictures):
            picture.select(asks.clicked(number), [*again, picture], parts, **options)
        table.select(asks.row_chosen, again, parts, **options)
    page.queue(max_size=16, api_open=False)
    return page


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


def _pictures(service: Service) -> list[gr.Image]:
    with gr.Row():
        return [
            gr.Image(
                label=arm.name, interactive=False, format="png", elem_classes="arm", buttons=["fullscreen"],
                min_width=260, visible=False,
            )
            for arm in service.arms
        ]  # fmt: skip


def _explanations(service: Service) -> list[Any]:
    """Per arm with a classifier a text and a picture; one text where there is none."""
    found: list[Any] = []
    with gr.Row():
        for arm in service.arms:
            if arm.classifier is None:
                continue
            with gr.Column(min_width=260):
                found += [
                    gr.HTML("", elem_classes="why", visible=False),
                    gr.Image(
                        label=f"{arm.name}: the face and Grad-CAM", interactive=False, format="png",
                        elem_classes="map", buttons=["fullscreen"], visible=False,
                    ),
                ]  # fmt: skip
    return found


class _Page:
    """What the page's events do; every failure becomes a line in the page."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.explainable = [arm.name for arm in service.arms if arm.classifier is not None]

    def look(self, path: str | None, score: float, given: str) -> list[Any]:
        """All parts of the page for a photograph."""
        if path is None:
            return self._nothing(_status("Waiting for a photograph."))
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
        words = _status(_counted(name, picture, arms), [f"{one.arm}: {one.note}" for one in arms if one.note])
        return [
            words,
            Seen(_digest(content), arms),
            *(gr.update(value=image, visible=True) for image in drawn),
            gr.update(value=rows, visible=bool(rows)),
            *self._no_explanations(),
        ]

    def clicked(self, number: int) -> Callable[..., list[Any]]:
        """The event of a click on the picture of arm `number`."""

        def select(path: str | None, seen: Seen | None, class_name: str, shown: Any, event: gr.SelectData) -> list[Any]:
            if seen is None or shown is None:
                return self._unchanged(_status("Waiting for a photograph."))
            height, width = shown.shape[:2]
            x, y = float(event.index[0]) / width, float(event.index[1]) / height
            return self._explain(path, seen, class_name, lambda picture: _chosen(seen, number, picture, x, y))

        return select

    def row_chosen(self, path: str | None, seen: Seen | None, class_name: str, event: gr.SelectData) -> list[Any]:
        """The event of a click on a row of the table."""
        if seen is None:
            return self._unchanged(_status("Waiting for a photograph."))
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
        notes = [] if self.explainable else ["Maps need a classifier of faces; this model is a detector alone."]
        return [_status(words, notes), *drawn, *_explained(found)]

    def _read(self, path: str | None) -> tuple[bytes, str]:
        if path is None or not Path(path).is_file():
            raise FileNotFoundError("the photograph has been deleted; hand it in again")
        size = Path(path).stat().st_size
        if size > self.service.max_bytes:  # of what did not come through the upload: never read
            return bytes(self.service.max_bytes + 1), plain_name(path)
        return Path(path).read_bytes(), plain_name(path)

    def _nothing(self, status: str) -> list[Any]:
        hidden = [gr.update(value=None, visible=False) for _ in self.service.arms]
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
    said = f"evidence for {html.escape(one.explained)}" if one.evidence else "no evidence for it anywhere"
    return (
        f"<h3>{html.escape(one.arm)}: {html.escape(one.label)}</h3>{bars}"
        f"<p>Map: {said}, as a share of its own peak.</p>"
    )


def _headers(service: Service) -> list[str]:
    classes = dict.fromkeys(name for arm in service.arms if arm.classifier for name in arm.classes)
    return ["#", "arm", "class", "score", *(f"p({name})" for name in classes), "box (px)"]


def _rows(arms: Sequence[ArmFaces], service: Service) -> list[list[Any]]:
    """A row per face; a dash where an arm gives no probability."""
    classes = [name[2:-1] for name in _headers(service)[4:-1]]
    faces = [(one.arm, face) for one in arms for face in one.faces]
    return [
        [
            number, arm, face.label, f"{face.score:.3f}",
            *(f"{(face.probabilities or {}).get(name, float('nan')):.3f}".replace("nan", "–") for name in classes),
            ", ".join(f"{value:.0f}" for value in face.box),
        ]
        for number, (arm, face) in enumerate(faces, start=1)
    ]  # fmt: skip


def _counted(name: str, picture: Picture, arms: Sequence[ArmFaces]) -> str:
    counts = "; ".join(f"{one.arm}: {len(one.faces)} face{'' if len(one.faces) == 1 else 's'}" for one in arms)
    return f"{name}, {picture.width} × {picture.height} px. {counts}."


def _status(words: str, notes: Sequence[str] = ()) -> str:
    lines = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in notes)
    return f"<div role='status'><p>{html.escape(words)}</p>{lines}</div>"


def _problem(error: Exception) -> str:
    return f"<div role='alert'><p>{html.escape(' '.join(str(error).split()))}</p></div>"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
