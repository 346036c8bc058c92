"""The HTTP API: photographs in, JSON out. Nothing that is handed in is kept."""

from __future__ import annotations

import base64
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as AnyHTTPError

from maskbench.app.answers import (
    ArmAnswer,
    DetectAnswer,
    ExplainAnswer,
    ExplanationAnswer,
    FaceAnswer,
    Health,
    ModelFacts,
    Models,
    Problem,
)
from maskbench.app.draw import png, side_by_side
from maskbench.app.limits import ENVELOPE, BodyLimit, SafeHeaders
from maskbench.app.photographs import MAX_PIXELS, BoxError, megabytes, parse_boxes, plain_name
from maskbench.app.service import BusyError, Explanation, Service, WishError
from maskbench.data.images import FORMATS, ImageError

FORM = "multipart/form-data"
#: Bodies that are a photograph; what it is, its content says.
RAW = ("image/png", "image/jpeg", "application/octet-stream")
_STATUS = {"not_an_image": 415, "too_large": 413, "damaged": 422, "unreadable": 422}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A PNG or JPEG file: as the field `file` of a form, or as the body itself.",
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            **dict.fromkeys(RAW, _BINARY),
        },
    }
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": words}
    for code, words in {
        400: "The form is damaged.",
        413: "The file, or the photograph it promises, is too large.",
        415: "The content is neither PNG nor JPEG, or the body is of another type.",
        422: "The photograph is damaged, or a parameter cannot be used.",
        500: "The server failed; it goes on.",
        503: "Too many photographs are waiting; try again.",
    }.items()
}
MinScore = Annotated[float, Query(ge=0, le=1, allow_inf_nan=False, description="faces with a smaller one are left out")]
Boxes = Annotated[
    list[str] | None, Query(description="a face that is given: xmin,ymin,xmax,ymax in px (repeatable); none: search")
]
OneBox = Annotated[str, Query(description="the face: xmin,ymin,xmax,ymax in px")]
ClassName = Annotated[str, Query(description="the class explained; empty: of each arm its own answer")]


def make_api(service: Service, *, min_score: float) -> FastAPI:
    """The API of a service; the page is mounted beside it.

    Args:
        service: that answers.
        min_score: used where a request says nothing.
    """
    api = FastAPI(
        title="maskbench",
        version=version("maskbench"),
        summary="Faces in photographs, and whether they wear a mask, by both arms of a study.",
        description="For study and demonstration only: answers must not be used to decide about people. "
        "Photographs are not stored.",
        openapi_url="/openapi.json",
        docs_url=None,  # their pages load scripts from another host
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    _add_facts(api, service, min_score)
    _add_detect(api, service, min_score)
    _add_explain(api, service)
    _add_unknown(api)
    _add_problems(api)
    limit = service.max_bytes
    api.add_middleware(BodyLimit, max_bytes=limit + ENVELOPE, message=f"too large: at most {megabytes(limit)} a file")
    api.add_middleware(SafeHeaders)
    return api


def _add_facts(api: FastAPI, service: Service, min_score: float) -> None:
    @api.get("/api/health", tags=["facts"], summary="Whether the server runs")
    def health() -> Health:
        return Health(status="ok", version=version("maskbench"))

    @api.get("/api/models", tags=["facts"], summary="The arms, and what may be handed in")
    def models() -> Models:
        arms = [
            ModelFacts(
                arm=arm.name, classes=list(arm.classes), finds=arm.detector is not None,
                names=arm.classifier is not None,
            )
            for arm in service.arms
        ]  # fmt: skip
        return Models(
            arms=arms, formats=list(FORMATS), max_bytes=service.max_bytes, max_pixels=MAX_PIXELS, min_score=min_score
        )


def _add_detect(api: FastAPI, service: Service, default: float) -> None:
    @api.post(
        "/api/detect", tags=["photographs"], summary="The faces of a photograph by every arm", responses=_PROBLEMS,
        openapi_extra=_BODY,
    )  # fmt: skip
    async def detect(request: Request, min_score: MinScore = default, box: Boxes = None) -> DetectAnswer:
        content, name = await _handed_in(request)

        def answer() -> DetectAnswer:
            boxes = [one for text in box or [] for one in parse_boxes(text)]
            with service.turn():
                picture = service.read(content, name)
                seen = service.look(picture, min_score=min_score, boxes=boxes)
            arms = [
                ArmAnswer(
                    arm=one.arm,
                    note=one.note,
                    faces=[
                        FaceAnswer(box=face.box, label=face.label, score=face.score, probabilities=face.probabilities)
                        for face in one.faces
                    ],
                )
                for one in seen
            ]
            return DetectAnswer(width=picture.width, height=picture.height, arms=arms)

        return await run_in_threadpool(answer)


def _add_explain(api: FastAPI, service: Service) -> None:
    @api.post(
        "/api/explain", tags=["photographs"], summary="What the answers to one face rest on (Grad-CAM)",
        responses=_PROBLEMS, openapi_extra=_BODY,
    )  # fmt: skip
    async def explain(request: Request, box: OneBox, class_name: ClassName = "") -> ExplainAnswer:
        content, name = await _handed_in(request)

        def answer() -> ExplainAnswer:
            boxes = parse_boxes(box)
            if len(boxes) != 1:
                raise BoxError(f"box: one face is explained at a time, not {len(boxes)}")
            with service.turn():
                picture = service.read(content, name)
                found = service.explain(picture, boxes[0], class_name=class_name)
            return ExplainAnswer(box=boxes[0], arms=[_explanation(one) for one in found])

        return await run_in_threadpool(answer)


def _explanation(found: Explanation) -> ExplanationAnswer:
    return ExplanationAnswer(
        arm=found.arm,
        label=found.label,
        explained=found.explained,
        probabilities=found.probabilities,
        evidence=found.evidence,
        overlay_png=base64.b64encode(png(side_by_side(found))).decode(),
    )


async def _handed_in(request: Request) -> tuple[bytes, str]:
    """The bytes of the photograph, and what messages call it.

    Raises:
        HTTPException: 400 where a form is damaged, 415 where the body is of another type, 422 without a file.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in RAW:
        return await request.body(), "photograph"
    if kind != FORM:
        raise HTTPException(415, f"body of type {kind[:60] or 'none'}: send {FORM} or {', '.join(RAW)}")
    async with request.form(max_files=1, max_fields=8) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise HTTPException(422, "file: the form has no file of this name")
        return await file.read(), plain_name(file.filename)


def _add_unknown(api: FastAPI) -> None:
    """Addresses below /api that there are none of, which the page would answer otherwise."""
    allowed = {
        path: sorted(method.upper() for method in operations)
        for path, operations in api.openapi()["paths"].items()
    }  # fmt: skip
    api.openapi_schema = None  # made again when it is asked for

    @api.api_route(
        "/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], include_in_schema=False
    )  # fmt: skip
    def unknown(request: Request) -> JSONResponse:
        path = request.url.path
        if path in allowed:
            detail = f"{path} takes {', '.join(allowed[path])}, not {request.method}"
            return JSONResponse({"detail": detail}, 405, {"allow": ", ".join(allowed[path])})
        return JSONResponse({"detail": f"no such address; there are {', '.join(allowed)}"}, 404)


def _add_problems(api: FastAPI) -> None:
    """Every failure becomes one line of JSON."""

    def says(status: Callable[[Any], int]) -> Callable[[Request, Exception], JSONResponse]:
        return lambda _, error: JSONResponse({"detail": " ".join(str(error).split())}, status(error))

    api.add_exception_handler(ImageError, says(lambda error: _STATUS[error.kind]))
    api.add_exception_handler(BoxError, says(lambda _: 422))
    api.add_exception_handler(WishError, says(lambda _: 422))

    @api.exception_handler(BusyError)
    def busy(_: Request, error: BusyError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 503, {"retry-after": "5"})

    @api.exception_handler(AnyHTTPError)
    def refused(_: Request, error: AnyHTTPError) -> JSONResponse:
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)

    @api.exception_handler(RequestValidationError)
    def wrong(_: Request, error: RequestValidationError) -> JSONResponse:
        lines = [f"{item['loc'][-1]}: {item['msg']}" for item in error.errors()]
        return JSONResponse({"detail": "; ".join(lines)}, 422)

    @api.exception_handler(Exception)
    def failed(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the server failed at this request; it goes on"}, 500)
