"""The page's own answers and addresses; how it looks and feels in a browser is tested beside this."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from maskbench.app.models import Arm
from maskbench.app.serve import make_app
from maskbench.app.service import Service
from maskbench.app.uploads import upload_folder
from tests.app.conftest import MAX_BYTES
from tests.app.test_photographs import HOSTILE
from tests.inference.test_detections import BrightSquares


@pytest.fixture(scope="module")
def page_client(arms: list[Any]) -> Iterator[TestClient]:
    # As `serve` has it: the folder first, for gradio asks where it is when it builds the page.
    with upload_folder(), TestClient(make_app(Service(arms, max_bytes=MAX_BYTES), [], min_score=0.3)) as client:
        yield client


@pytest.fixture
def page(service: Service) -> Any:
    from maskbench.app.page import _Page

    return _Page(service)


@pytest.fixture
def path(tmp_path: Path, photograph: bytes) -> str:
    (tmp_path / "street.png").write_bytes(photograph)
    return str(tmp_path / "street.png")


def test_a_photograph_fills_the_page_and_a_row_explains_its_face(page: Any, path: str) -> None:
    status, seen, head, picture, *_, table, _, _, _, hidden = page.look(path, 0.1, "")
    assert "street.png, 60 × 40 px" in status and "role='status'" in status
    assert head["value"] == "<h2>hand <small>1 face</small></h2>"
    assert picture["value"].size == (800, 533) and picture["visible"]
    assert [row[:2] for row in table["value"]] == [[1, "hand"], [2, "bought"]]
    assert table["value"][0][-1] == "5, 10, 35, 40" and not hidden["visible"]
    chosen = SimpleNamespace(row_value=["2", "bought"])
    status, _, _, why, map_, *_ = page.row_chosen(path, seen, "what each model says", chosen)
    assert "of bought, box 5, 10, 35, 40 px" in status
    face = seen.arms[0].faces[0]
    assert f"<h3>{face.label}</h3>" in why["value"] and f"{max(face.probabilities.values()):.3f}" in why["value"]
    assert map_["value"].size == (648, 320)
    assert "evidence for dark" in "".join(
        part["value"] for part in page.row_chosen(path, seen, "dark", chosen)[3::2] if "value" in part
    ) or face.label == "dark"  # fmt: skip


def test_a_click_inside_a_box_explains_and_beside_it_says_so(page: Any, path: str) -> None:
    import numpy as np

    seen, shown = page.look(path, 0.1, "")[1], np.zeros((533, 800, 3))
    click = page.clicked(1)
    inside = click(path, seen, "dark", shown, SimpleNamespace(index=[20 / 60 * 800, 25 / 40 * 533]))
    assert "of bought" in inside[0] and inside[4]["visible"]
    beside = click(path, seen, "dark", shown, SimpleNamespace(index=[700, 20]))
    assert "no face at this place" in beside[0] and all("value" not in part for part in beside[1:])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_file_empties_the_page_and_is_named(page: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HOSTILE[name][0])
    status, seen, *parts = page.look(str(tmp_path / name), 0.3, "")
    assert "role='alert'" in status and name in status and seen is None
    assert all(not part["visible"] for part in parts)


def test_what_cannot_be_answered_is_said_in_the_page(page: Any, path: str, tmp_path: Path, photograph: bytes) -> None:
    assert "write it as xmin,ymin,xmax,ymax" in page.look(path, 0.3, "1,2")[0]
    assert "Waiting for a photograph" in page.look(None, 0.3, "")[0]
    seen, row = page.look(path, 0.1, "")[1], SimpleNamespace(row_value=["1"])
    other = tmp_path / "other.png"
    other.write_bytes(photograph + b"more")
    assert "this face is of another photograph" in page.row_chosen(str(other), seen, "", row)[0]
    Path(path).unlink()
    assert "has been deleted; hand it in again" in page.row_chosen(path, seen, "", row)[0]


def test_a_detector_alone_has_a_page_without_maps(path: str) -> None:
    from maskbench.app.page import _Page, make_page

    alone = Service([Arm("found", BrightSquares(), None)], max_bytes=MAX_BYTES)
    assert make_page(alone, [], min_score=0.3)
    status, seen, _, picture, table = _Page(alone).look(path, 0.3, "")
    assert "street.png" in status and picture["visible"]
    assert table["value"] == [[1, "found", "light", "0.900", "5, 10, 35, 40"]]
    status, drawn = _Page(alone).row_chosen(path, seen, "", SimpleNamespace(row_value=["1"]))
    assert "Maps need a classifier of faces" in status and drawn.size == picture["value"].size


def test_names_are_shown_as_text(page: Any, tmp_path: Path, photograph: bytes) -> None:
    (tmp_path / "<img src=x>.png").write_bytes(photograph)
    assert "&lt;img src=x&gt;.png" in page.look(str(tmp_path / "<img src=x>.png"), 0.3, "")[0]


def test_the_page_is_served_beside_the_api_and_names_no_other_host(page_client: TestClient) -> None:
    found = page_client.get("/")
    assert found.status_code == 200 and "text/html" in found.headers["content-type"]
    for words in ("Who wears a mask?", "It is not stored", "For study and demonstration only"):
        assert words in found.text
    assert "fonts.googleapis" not in found.text
    assert page_client.get("/api/health").json()["status"] == "ok"
    assert page_client.get("/gradio_api/runs").status_code == 404


def test_uploads_that_are_too_large_are_refused(page_client: TestClient) -> None:
    for size in (MAX_BYTES + 1, 4 * MAX_BYTES):
        found = page_client.post("/gradio_api/upload", files={"files": ("big.png", bytes(size))})
        assert found.status_code == 413
    assert page_client.post("/gradio_api/upload", files={"files": ("a.png", b"x")}).status_code == 200


def test_no_address_is_fetched_for_anybody(page_client: TestClient) -> None:
    """A file that is named by its address would be downloaded by the server."""
    import gradio as gr

    blocks = page_client.app.routes[-1].app.get_blocks()  # type: ignore[attr-defined]
    photograph = next(block for block in blocks.blocks.values() if block.elem_id == "photograph")
    with pytest.raises(gr.Error, match="not an address"):
        photograph.move_resource_to_block_cache("HTTP://127.0.0.1:1/a.png")


def test_no_file_of_the_machine_can_be_named_as_an_input(page_client: TestClient, tmp_path: Path) -> None:
    """Gradio copies an input's file to where it is served from; it has to be one that was uploaded."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    uploads = Path(os.environ["GRADIO_TEMP_DIR"])
    uploaded = page_client.post("/gradio_api/upload", files={"files": ("mine.png", b"mine")}).json()[0]
    config = page_client.get("/config").json()
    looks = [one["id"] for one in config["dependencies"] if len(one["inputs"]) == 3]
    assert looks
    for number, path in enumerate((str(secret), uploaded)):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        asked = {"data": [file, 0.3, ""], "fn_index": looks[0], "session_hash": f"s{number}"}
        assert page_client.post("/gradio_api/queue/join", json=asked).status_code == 200
        said = page_client.get(f"/gradio_api/queue/data?session_hash=s{number}").text
        assert ("mine.png: content is neither PNG nor JPEG" in said) == (path == uploaded)
    assert [path.name for path in uploads.rglob("*.png") if path.read_bytes() == b"secret"] == []
