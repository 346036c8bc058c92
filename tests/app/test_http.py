"""The API as programs use it: answers, their description, and one line for everything that cannot be answered."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from maskbench.app.http import make_api
from maskbench.app.limits import ENVELOPE, POLICY
from maskbench.app.models import Arm
from maskbench.app.service import Service
from tests.app.conftest import CLASSES, MAX_BYTES
from tests.app.test_photographs import HOSTILE

BOX = "5,10,35,40"
PNG = {"content-type": "image/png"}


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(make_api(service, min_score=0.3), raise_server_exceptions=False) as client:
        yield client


def described(client: TestClient, path: str, status: int, answer: Any) -> None:
    """The answer is as the description says."""
    description = client.get("/openapi.json").json()
    operation = next(iter(description["paths"][path].values()))
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    jsonschema.validate(answer, {**schema, "components": description["components"]})


def refused(client: TestClient, path: str, status: int, says: str, **request: Any) -> None:
    """One line of JSON, as described; and the next photograph is answered."""
    found = client.post(path, **request)
    assert (found.status_code, says in found.json()["detail"]) == (status, True), found.text
    assert "\n" not in found.json()["detail"]
    described(client, path, status, found.json())
    assert client.get("/api/health").status_code == 200


def test_a_photograph_in_a_form_or_bare_gets_the_faces_of_every_arm(client: TestClient, photograph: bytes) -> None:
    bare = client.post("/api/detect?min_score=0.1", content=photograph, headers=PNG)
    form = client.post("/api/detect?min_score=0.1", files={"file": ("a.png", photograph, "image/png")})
    assert bare.status_code == form.status_code == 200
    assert bare.json() == form.json()
    found = bare.json()
    assert (found["width"], found["height"], [arm["arm"] for arm in found["arms"]]) == (60, 40, ["hand", "bought"])
    face = found["arms"][0]["faces"][0]
    assert face["box"] == [5, 10, 35, 40] and list(face["probabilities"]) == CLASSES
    assert face["score"] == pytest.approx(0.9 * max(face["probabilities"].values()))
    assert face["label"] == max(face["probabilities"], key=face["probabilities"].get)
    described(client, "/api/detect", 200, found)
    given = client.post("/api/detect?box=1,2,30,30&box=5,10,35,40", content=photograph, headers=PNG).json()
    assert [face["box"] for face in given["arms"][1]["faces"]] == [[1, 2, 30, 30], [5, 10, 35, 40]]


def test_a_face_is_explained_by_every_arm(client: TestClient, photograph: bytes) -> None:
    found = client.post(f"/api/explain?box={BOX}&class_name=dark", content=photograph, headers=PNG)
    assert found.status_code == 200
    described(client, "/api/explain", 200, found.json())
    assert found.json()["box"] == [5, 10, 35, 40]
    hand, bought = found.json()["arms"]
    assert (hand["arm"], bought["arm"], hand["explained"]) == ("hand", "bought", "dark")
    picture = Image.open(io.BytesIO(base64.b64decode(hand["overlay_png"])))
    assert (picture.format, picture.size) == ("PNG", (648, 320))
    seen = client.post("/api/detect?min_score=0", content=photograph, headers=PNG).json()
    assert hand["probabilities"] == pytest.approx(seen["arms"][0]["faces"][0]["probabilities"])


def test_the_arms_and_the_limits_are_told(client: TestClient) -> None:
    found = client.get("/api/models").json()
    described(client, "/api/models", 200, found)
    assert found["arms"][0] == {"arm": "hand", "classes": CLASSES, "finds": True, "names": True}
    assert (found["max_bytes"], found["formats"], found["min_score"]) == (MAX_BYTES, ["PNG", "JPEG"], 0.3)
    health = client.get("/api/health").json()
    described(client, "/api/health", 200, health)
    assert health["status"] == "ok"


STATUS = {"damaged": 422, "not_an_image": 415, "too_large": 413}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_are_no_photographs(client: TestClient, name: str) -> None:
    content, kind, says = HOSTILE[name]
    hidden = f"../../{name}"  # the path of the name is of no interest
    refused(client, "/api/detect", STATUS[kind], f"{name}: ", files={"file": (hidden, content, "image/png")})
    refused(client, ["/api/explain", "box=1,1,9,9"][0], STATUS[kind], says, params={"box": "1,1,9,9"},
            content=content, headers=PNG)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "params", "says"),
    [
        ("/api/detect", {"min_score": "nan"}, "min_score: "),
        ("/api/detect", {"min_score": "1.5"}, "min_score: Input should be less than or equal to 1"),
        ("/api/detect", {"min_score": "high"}, "min_score: "),
        ("/api/detect", {"box": "-1,0,5,5"}, "reaches outside the photograph of 60 × 40 px"),
        ("/api/detect", {"box": "nan,0,5,5"}, "every number must be finite"),
        ("/api/detect", {"box": "1,2,3"}, "write it as xmin,ymin,xmax,ymax in px"),
        ("/api/detect", {"box": ["1,1,9,9"] * 101}, "101 boxes: at most 100"),
        ("/api/explain", {}, "box: Field required"),
        ("/api/explain", {"box": "1,1,9,9;2,2,9,9"}, "one face is explained at a time, not 2"),
        ("/api/explain", {"box": "0,0,61,40"}, "reaches outside"),
        ("/api/explain", {"box": BOX, "class_name": "hat"}, "class_name 'hat': hand knows dark, light"),
    ],
)
def test_parameters_that_cannot_be_used(
    client: TestClient, photograph: bytes, path: str, params: dict[str, Any], says: str
) -> None:
    refused(client, path, 422, says, params=params, content=photograph, headers=PNG)


def test_bodies_of_another_type(client: TestClient, photograph: bytes) -> None:
    refused(client, "/api/detect", 415, "body of type application/json", json={"file": "x" * 1000})
    refused(client, "/api/detect", 415, "body of type text/html", content=b"<p>", headers={"content-type": "text/html"})
    refused(client, "/api/detect", 415, "body of type none", content=photograph)
    refused(client, "/api/detect", 422, "file: the form has no file", files={"photo": ("a.png", photograph)})
    refused(client, "/api/detect", 422, "file: the form has no file", data={"file": "text"},
            files={"other": ("a.png", photograph)})  # fmt: skip
    broken = {"content-type": "multipart/form-data; boundary=x"}
    refused(client, "/api/detect", 400, "", content=b"no form at all", headers=broken)
    many = [("file", ("a.png", photograph))] * 3
    refused(client, "/api/detect", 400, "Too many files", files=many)


def test_bodies_that_are_too_large_are_refused_before_they_are_read(client: TestClient) -> None:
    """Announced or not, of whatever type, and while they still come."""
    huge = MAX_BYTES + ENVELOPE + 1
    refused(client, "/api/detect", 413, "at most 0.25 MB a file", content=bytes(huge), headers=PNG)
    refused(client, "/api/detect", 413, "at most 0.25 MB", content=b"[" * huge,
            headers={"content-type": "application/json"})  # fmt: skip
    taken = []

    def endless() -> Iterator[bytes]:
        while len(taken) < 10_000:
            taken.append(1)
            yield bytes(16 * 1024)

    refused(client, "/api/detect", 413, "at most 0.25 MB", content=endless(), headers=PNG)


def test_addresses_that_there_are_none_of(client: TestClient) -> None:
    found = client.get("/api/detect")
    assert (found.status_code, found.headers["allow"]) == (405, "POST")
    assert found.json() == {"detail": "/api/detect takes POST, not GET"}
    assert client.get("/api/../../etc/passwd").status_code == 404
    found = client.post("/api/wish")
    assert found.status_code == 404 and "there are /api/health, " in found.json()["detail"]
    for page in ("/docs", "/redoc"):  # they would load scripts from another host
        assert client.get(page).status_code == 404


def test_more_than_can_wait_are_told_to_come_again(arms: list[Arm], photograph: bytes) -> None:
    full = Service(arms, max_bytes=MAX_BYTES, waiting=0)
    with TestClient(make_api(full, min_score=0.3)) as client:
        with full.turn():
            found = client.post("/api/detect", content=photograph, headers=PNG)
        assert (found.status_code, found.headers["retry-after"]) == (503, "5")
        described(client, "/api/detect", 503, found.json())
        assert client.post("/api/detect", content=photograph, headers=PNG).status_code == 200


def test_callers_at_one_time_are_all_answered(client: TestClient, photograph: bytes) -> None:
    answers: list[Any] = []

    def ask() -> None:
        answers.append(client.post("/api/detect?min_score=0", content=photograph, headers=PNG).json())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 4 and all(answer == answers[0] for answer in answers)


def test_a_failure_is_one_line_and_the_server_lives(
    client: TestClient, service: Service, photograph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret path")

    with monkeypatch.context() as patch:
        patch.setattr(service, "look", fails)
        found = client.post("/api/detect", content=photograph, headers=PNG)
    assert (found.status_code, found.json()) == (500, {"detail": "the server failed at this request; it goes on"})
    described(client, "/api/detect", 500, found.json())
    assert client.post("/api/detect", content=photograph, headers=PNG).status_code == 200


def test_the_description_names_every_address_body_and_failure(client: TestClient) -> None:
    found = client.get("/openapi.json").json()
    assert found["openapi"].startswith("3.")
    jsonschema.Draft202012Validator.check_schema({"$defs": found["components"]["schemas"]})
    assert {path: list(item) for path, item in found["paths"].items()} == {
        "/api/health": ["get"], "/api/models": ["get"], "/api/detect": ["post"], "/api/explain": ["post"],
    }  # fmt: skip
    for path in ("/api/detect", "/api/explain"):
        operation = found["paths"][path]["post"]
        assert set(operation["responses"]) == {"200", "400", "413", "415", "422", "500", "503"}
        assert set(operation["requestBody"]["content"]) == {
            "multipart/form-data", "image/png", "image/jpeg", "application/octet-stream",
        }  # fmt: skip
        for status, answer in operation["responses"].items():
            name = answer["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
            assert (name == "Problem") == (status != "200") and name in found["components"]["schemas"]


def test_answers_tell_browsers_to_stay_on_this_host(client: TestClient) -> None:
    for path in ("/api/health", "/openapi.json", "/nowhere"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == POLICY and headers["x-content-type-options"] == "nosniff"
    assert "http" not in POLICY and "*" not in POLICY
