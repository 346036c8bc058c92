"""The audit keeps what the planned stages would decode the photographs again for."""

from dataclasses import replace
from pathlib import Path

import pytest

from maskbench import schemas, study
from maskbench.config import make_config
from maskbench.data import crops, photographs
from maskbench.data.interventions import INTERVENTIONS, context_margin
from maskbench.rundir import RunDir
from maskbench.stages import describe
from maskbench.stages.context import Context, dataset_state, face_crops
from maskbench.stages.detect_jobs import study_photographs
from maskbench.storage import content_key


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    config = make_config(
        "smoke", {"data": {"source": "sample", "sample": {"images": 60}}, "interventions": {"run": ["blur"]}}
    )
    found = Context(config, RunDir.named("r", tmp_path), lambda line: None, lambda title: None)
    dataset_state(found)  # draws the sample, where the tests' cache does not hold it yet
    return found


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (crops, photographs):
        monkeypatch.setattr(module, "decode_rgb", lambda *_: pytest.fail("decoded again"))


def test_after_the_audit_nothing_of_a_whole_study_decodes_again(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "cache"
    monkeypatch.setattr("maskbench.stages.context.faces_cache", lambda: root / "faces")
    monkeypatch.setattr("maskbench.stages.context.photographs_cache", lambda: root / "photographs")
    monkeypatch.setattr("maskbench.stages.detect_jobs.photographs_cache", lambda: root / "photographs")
    refuse(monkeypatch)
    planned = replace(context, planned=frozenset(study.stages_of("all")))
    describe.audit(planned)
    images, faces = (
        planned.table("audit", name, schema) for name, schema in (("images", schemas.IMAGES), ("faces", schemas.FACES))
    )
    assert len(face_crops(planned, images, faces)) == len(faces)
    wide = context_margin(planned.config.faces.margin, [INTERVENTIONS["blur"]])
    assert wide > planned.config.faces.margin and len(face_crops(planned, images, faces, wide)) == len(faces)
    assert len(study_photographs(planned)) == faces["image_id"].nunique()


def test_the_audit_alone_keeps_the_faces_only(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskbench.stages.context.faces_cache", lambda: tmp_path / "faces")
    monkeypatch.setattr("maskbench.stages.context.photographs_cache", lambda: tmp_path / "photographs")
    describe.audit(context)
    assert len(list((tmp_path / "faces").glob("*.bin"))) == 1 and not (tmp_path / "photographs").exists()


def test_the_state_of_a_dataset_is_the_key_of_its_files(context: Context, tmp_path: Path) -> None:
    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    for name in ("images/b.png", "images/é.png", "annotations/a.xml"):
        (tmp_path / name).write_text(name)
    (tmp_path / "images" / "a.png").symlink_to(tmp_path / "nowhere")
    here = replace(context, config=context.config.model_copy(
        update={"data": context.config.data.model_copy(update={"source": str(tmp_path)})}
    ))  # fmt: skip
    facts = [[str(tmp_path.resolve()), 0, 0]]
    facts += [
        [path.relative_to(tmp_path).as_posix(), path.stat().st_size, path.stat().st_mtime_ns]
        for folder in ("images", "annotations")
        for path in sorted((tmp_path / folder).iterdir())
        if path.is_file()
    ]
    assert len(facts) == 4 and dataset_state(here) == content_key(facts)
