"""The page in a browser: a photograph is handed in, its faces are read, one is clicked, its map is seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from maskbench.app.examples import EXAMPLES, example_photographs
from maskbench.app.models import Arm
from maskbench.app.serve import make_app, make_server, open_socket
from maskbench.app.service import Service
from maskbench.app.uploads import upload_folder
from maskbench.inference.detections import Detections
from tests.app.conftest import CLASSES, MAX_BYTES, classifier
from tests.browser import OpenPage, Watched

#: Milliseconds that a busy machine may take for a step; a free one takes a few hundred.
PATIENCE = 120_000


class Middle:
    """Finds one face in the middle of any photograph."""

    classes = tuple(CLASSES)

    def detect(self, images: list[np.ndarray]) -> list[Detections]:
        sizes = [image.shape[:2] for image in images]
        return [
            Detections.of([[w / 4, h / 4, 3 * w / 4, 3 * h / 4]], ["light"], [0.9], w, h, CLASSES) for h, w in sizes
        ]


@pytest.fixture(scope="module")
def uploads() -> Iterator[Path]:
    with upload_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    few = {**EXAMPLES, "images": 1, "faces_per_image": 1}
    return example_photographs(tmp_path_factory.mktemp("cache"), lambda _: None, few)


@pytest.fixture(scope="module")
def address(uploads: Path, drawn: list[Path]) -> Iterator[str]:
    arms = [Arm(name, Middle(), classifier(name, seed)) for seed, name in enumerate(("hand", "bought"))]
    server = make_server(make_app(Service(arms, max_bytes=MAX_BYTES), drawn, min_score=0.3))
    with closing(open_socket("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = True
        thread.join(20)


def hand_in(watched: Watched, *files: Any) -> None:
    watched.page.set_input_files("#photograph input[type=file]", *files)


def stays_here(watched: Watched, address: str) -> None:
    """Nothing went wrong in the browser, and nothing was asked of another host."""
    assert watched.errors == []
    assert {urlsplit(url).netloc for url in watched.outside} == {urlsplit(address).netloc}


def test_a_photograph_is_handed_in_read_and_explained(address: str, drawn: list[Path], open_page: OpenPage) -> None:
    watched = open_page(address)
    page = watched.page
    page.set_default_timeout(PATIENCE)
    hand_in(watched, drawn[0])
    page.wait_for_selector("#faces [role=gridcell][data-row='1'][data-col='6']")
    cells = [page.inner_text(f"#faces [role=gridcell][data-row='{row}'][data-col='1']") for row in (0, 1)]
    assert cells == ["hand", "bought"]
    row = [page.inner_text(f"#faces [role=gridcell][data-row='0'][data-col='{column}']") for column in range(7)]
    dark, light = float(row[4]), float(row[5])
    assert row[2] == ("dark" if dark > light else "light") and dark + light == pytest.approx(1, abs=0.002)
    assert float(row[3]) == pytest.approx(0.9 * max(dark, light), abs=0.002)
    assert not page.locator(".map img").count()
    page.locator(".arm img").nth(1).click()  # the middle of the picture is inside the box
    page.wait_for_function("document.querySelectorAll('.map img').length == 2")
    assert "of bought" in page.inner_text("#status")
    widths = "Array.from(document.querySelectorAll('.map img'), one => one.naturalWidth)"
    page.wait_for_function(f"{widths}.every(width => width > 0)")
    assert page.evaluate(widths) == [648, 648]
    page.locator("#faces [role=gridcell][data-row='0'][data-col='2']").click()
    page.wait_for_function("document.querySelector('#status').innerText.includes('of hand')")
    stays_here(watched, address)


def test_bad_files_get_one_line_and_an_example_is_answered_after_them(
    address: str, drawn: list[Path], open_page: OpenPage, uploads: Path
) -> None:
    watched = open_page(address, width=390, height=844)
    page = watched.page
    page.set_default_timeout(PATIENCE)
    for name, body, says in (
        ("text.png", b"dear sir", "neither PNG nor JPEG"),
        ("torn.png", drawn[0].read_bytes()[:900], "damaged"),
    ):
        hand_in(watched, {"name": name, "mimeType": "image/png", "buffer": body})
        page.wait_for_selector(f"#status [role=alert]:has-text('{says}')")
        assert name in page.inner_text("#status")
        assert not page.locator(".arm img").count()
    hand_in(watched, {"name": "big.png", "mimeType": "image/png", "buffer": bytes(MAX_BYTES + 1)})
    page.wait_for_selector("text=/exceed|too large|maximum/i")
    page.locator("#examples button, .gallery-item").first.click()
    page.wait_for_function("document.querySelectorAll('.arm img').length == 2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert {urlsplit(url).netloc for url in watched.outside} == {urlsplit(address).netloc}
    assert any(uploads.rglob("*.png"))  # what is kept lies where it is deleted from
