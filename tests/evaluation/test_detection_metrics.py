"""Average precision and recall: by hand, and against three evaluators that are not ours."""

import contextlib
import io

import numpy as np
import pandas as pd
import pytest

from maskbench.evaluation.detection_boxes import Detected
from maskbench.evaluation.detection_coco import coco_metrics
from maskbench.evaluation.detection_curves import best_score_threshold
from maskbench.evaluation.detection_faces import found_faces_table
from maskbench.evaluation.detection_matching import BANDS, COCO_IOUS, match
from maskbench.evaluation.detection_weighted import METRICS, WeightedDetection, metric_names
from maskbench.schemas.detection import ALL_CLASSES, ANY_FACE
from tests.evaluation.detections import CLASSES, SYSTEM, detected, detections_table, faces_table, random_rows


def unit(found: Detected) -> np.ndarray:
    return WeightedDetection(found).measure(np.ones((1, len(found.image_ids))))[0]


def value(found: Detected, metric: str, class_name: str = ALL_CLASSES, band: str = "all") -> float:
    return float(unit(found)[metric_names(found.classes).index((metric, class_name, band))])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("whole", [True, False])
def test_own_figures_are_those_of_faster_coco_eval(seed, whole):
    faces, boxes, names = random_rows(seed, whole=whole)
    for most in (300, 7):
        found = detected(faces, boxes, images=names, max_detections=most)
        reference = coco_metrics(found)
        assert list(reference[["metric", "class_name", "band"]].itertuples(index=False, name=None)) == metric_names(
            CLASSES
        )
        np.testing.assert_allclose(unit(found), reference["value"], atol=1e-9, rtol=0)
        assert reference["value"].notna().mean() > 0.8


@pytest.mark.parametrize("seed", range(10))
def test_equal_scores_boxes_and_overlaps_are_decided_as_coco_does(seed):
    rng = np.random.default_rng(seed)

    def box():
        corner = rng.integers(0, 4 + 6 * seed, 2)
        return (*corner, *(corner + rng.integers(1, 3 + 14 * seed, 2)))

    names = [f"p{number}" for number in range(6)]
    faces = [(name, str(rng.choice(CLASSES)), box()) for name in names for _ in range(rng.integers(0, 25))]
    boxes = [
        (n, str(rng.choice(CLASSES)), rng.integers(4) / 3, box()) for n in names for _ in range(rng.integers(0, 40))
    ]
    found = detected(faces, boxes, images=names, max_detections=(3, 20, 300)[seed % 3])
    np.testing.assert_allclose(unit(found), coco_metrics(found)["value"], atol=1e-9, rtol=0)


def coco_sets(found: Detected, each_class: bool):
    from pycocotools.coco import COCO

    def annotated(boxes, images, classes, scores=None):
        rows = []
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            row = {"id": i + 1, "image_id": int(images[i]) + 1, "iscrowd": 0, "area": (x1 - x0) * (y1 - y0)}
            row |= {"category_id": int(classes[i] * each_class) + 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            rows.append(row if scores is None else row | {"score": scores[i]})
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1} for i in range(len(found.image_ids))],
            "categories": [{"id": i + 1} for i in range(len(found.classes) if each_class else 1)],
            "annotations": rows,
        }
        coco.createIndex()
        return coco

    return (
        annotated(found.face_boxes, found.face_images, found.face_classes),
        annotated(found.boxes, found.box_images, found.box_classes, found.scores),
    )


@pytest.mark.parametrize("each_class", [True, False])
def test_own_figures_are_those_of_pycocotools(each_class):
    from pycocotools.cocoeval import COCOeval

    faces, boxes, names = random_rows(11)
    found = detected(faces, boxes, images=names, max_detections=100)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(*coco_sets(found, each_class), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    name = ALL_CLASSES if each_class else ANY_FACE
    rows = [("ap", "all"), ("ap50", "all"), ("ap75", "all")]
    rows += [("ap", f"coco_{size}") for size in ("small", "medium", "large")]
    own = [value(found, metric, name, band) for metric, band in rows]
    np.testing.assert_allclose(own, evaluation.stats[:6], atol=1e-9, rtol=0)
    recalls = [("ar_max", "all"), *(("ar_max", f"coco_{size}") for size in ("small", "medium", "large"))]
    own = [value(found, metric, name, band) for metric, band in recalls]
    np.testing.assert_allclose(own, evaluation.stats[8:], atol=1e-9, rtol=0)


def test_own_figures_are_those_of_torchmetrics():
    torch = pytest.importorskip("torch")
    from torchmetrics.detection import MeanAveragePrecision

    faces, boxes, names = random_rows(5)  # whole numbers: torchmetrics keeps boxes in single precision
    found = detected(faces, boxes, images=names, max_detections=100)
    metric = MeanAveragePrecision(
        iou_thresholds=COCO_IOUS.tolist(), max_detection_thresholds=[1, 10, 100], class_metrics=True,
        rec_thresholds=np.linspace(0, 1, 101).tolist(), backend="faster_coco_eval",
    )  # fmt: skip

    def sides(boxes, images, classes, number):
        here = images == number
        return {"boxes": torch.tensor(boxes[here]), "labels": torch.tensor(classes[here])}

    for number in range(len(names)):
        scores = {"scores": torch.tensor(found.scores[found.box_images == number])}
        predicted = sides(found.boxes, found.box_images, found.box_classes, number) | scores
        metric.update([predicted], [sides(found.face_boxes, found.face_images, found.face_classes, number)])
    result = metric.compute()
    pairs = {"map": "ap", "map_50": "ap50", "map_75": "ap75", "mar_100": "ar_max"}
    for theirs, ours in pairs.items():  # they return single precision
        assert float(result[theirs]) == pytest.approx(value(found, ours), abs=1e-6)
    for size in ("small", "medium", "large"):
        assert float(result[f"map_{size}"]) == pytest.approx(value(found, "ap", band=f"coco_{size}"), abs=1e-6)
    for number, name in enumerate(CLASSES):
        assert float(result["map_per_class"][number]) == pytest.approx(value(found, "ap", name), abs=1e-6)


def test_a_ranking_by_hand():
    # Three faces; found in order: right, wrong, right; the third face never.
    # Recall 1/3 at precision 1: reaches 0.00 … 0.33, 34 of the 101 recalls.
    # Recall 2/3 at precision 2/3: reaches 0.34 … 0.66, 33 more. AP50 = (34 · 1 + 33 · 2/3) / 101 = 56/101.
    square = (0.0, 0.0, 10.0, 10.0)
    faces = [("a", "masked", square), ("b", "masked", square), ("c", "masked", square)]
    boxes = [("a", "masked", 0.9, square), ("a", "masked", 0.8, (50, 50, 60, 60)), ("b", "masked", 0.7, square)]
    found = detected(faces, boxes)
    assert value(found, "ap50", "masked") == pytest.approx(56 / 101)
    assert value(found, "ap50") == pytest.approx(56 / 101)  # the other classes have no faces: not a mean with zeros
    assert value(found, "ar_max", "masked") == pytest.approx(2 / 3)
    assert np.isnan(value(found, "ap50", "bare"))
    assert value(found, "ap50", "masked", "tiny") == pytest.approx(56 / 101)
    assert np.isnan(value(found, "ap50", "masked", "large"))


def test_iou_thresholds_by_hand():
    # The box covers 7 of the face's 10 columns and nothing else: IoU 0.7, right at 0.50 … 0.70, 5 of 10 thresholds.
    found = detected([("a", "bare", (0, 0, 10, 10))], [("a", "bare", 0.5, (0, 0, 7, 10))])
    assert value(found, "ap50", "bare") == value(found, "ar50", "bare") == 1
    assert value(found, "ap75", "bare") == value(found, "ar75", "bare") == 0
    assert value(found, "ap", "bare") == pytest.approx(0.5)
    assert value(found, "ar_max", "bare") == pytest.approx(0.5)


def test_classes_matter_but_not_for_any_face():
    found = detected([("a", "bare", (0, 0, 10, 10))], [("a", "masked", 0.5, (0, 0, 10, 10))])
    assert value(found, "ap", "bare") == 0
    assert np.isnan(value(found, "ap", "masked"))
    assert value(found, "ap", ALL_CLASSES) == 0
    assert value(found, "ap", ANY_FACE) == 1


def test_further_classes_of_a_place_count_for_their_class_only():
    box = (0, 0, 10, 10)
    faces = [("a", "bare", box)]
    alone = detected(faces, [("a", "masked", 0.9, box)])
    both = detected(faces, [("a", "masked", 0.9, box), ("a", "bare", 0.2, box, False)])
    assert value(alone, "ap50", "bare") == 0 and value(both, "ap50", "bare") == 1
    assert value(alone, "ap50", ANY_FACE) == value(both, "ap50", ANY_FACE) == 1
    np.testing.assert_allclose(unit(both), coco_metrics(both)["value"], atol=1e-9, rtol=0)
    assert both.answered().box_classes.tolist() == [0]
    assert best_score_threshold(both).reason == "no box is right at any score"  # a user is told the answer alone
    assert not found_faces_table(both, 0.1)["named"].any()


def test_a_box_takes_the_free_face_on_which_it_lies_best():
    # The first box lies on both faces (IoU 9/11 with the left, 1 with the right): it takes the right one, and the
    # second, which lies best on the right one too (IoU 0.9), has to take the left (IoU 8/11: ≥ 0.5, not ≥ 0.75).
    faces = [("a", "bare", (0, 0, 10, 10)), ("a", "bare", (1, 0, 11, 10))]
    boxes = [("a", "bare", 0.9, (1, 0, 11, 10)), ("a", "bare", 0.8, (2, 0, 11, 10))]
    found = match(detected(faces, boxes), CLASSES.index("bare"), [0.5, 0.75])
    assert found.found[0].tolist() == [[1, 0], [1, -1]]


def test_faces_outside_a_band_are_neither_right_nor_wrong():
    # In the band of large faces the small face is ignored, so is the box on it, and so is a stray small box; the stray
    # large box is wrong. Ranking there: wrong (0.9), right (0.5): AP = precision 1/2 everywhere.
    large, small = (0.0, 0.0, 100.0, 100.0), (200.0, 200.0, 210.0, 210.0)
    faces = [("a", "bare", large), ("a", "bare", small)]
    boxes = [
        ("a", "bare", 0.95, small), ("a", "bare", 0.92, (300, 300, 310, 310)),
        ("a", "bare", 0.9, (400, 400, 500, 500)), ("a", "bare", 0.5, large),
    ]  # fmt: skip
    found = detected(faces, boxes)
    assert value(found, "ap50", "bare", "large") == pytest.approx(1 / 2)
    assert value(found, "ap50", "bare", "tiny") == pytest.approx(1)


def test_bands_part_all_sizes_and_coco_shares_its_borders():
    areas = [15.9**2, 16.0**2, 32.0**2, 96.0**2]
    own = [
        [low <= area <= high for low, high in (BANDS[b] for b in ("tiny", "small", "medium", "large"))]
        for area in areas
    ]
    assert own == np.eye(4, dtype=bool).tolist()
    coco = [BANDS[f"coco_{size}"] for size in ("small", "medium", "large")]
    assert [sum(low <= area <= high for low, high in coco) for area in areas] == [1, 1, 2, 2]


def test_weights_are_repeated_photographs():
    faces, boxes, names = random_rows(3, images=9, levels=10**6)  # hardly any equal scores: order does not matter
    found = detected(faces, boxes, images=names)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=6).astype(float)
    measured = WeightedDetection(found).measure(weights)
    present = WeightedDetection(found).faces > 0
    for row, weight in zip(measured, weights, strict=True):
        copies = [(f"{name}.{copy}", name) for name, n in zip(names, weight, strict=True) for copy in range(int(n))]
        repeated = detected(
            [(copy, *face[1:]) for copy, name in copies for face in faces if face[0] == name],
            [(copy, *box[1:]) for copy, name in copies for box in boxes if box[0] == name],
            images=[copy for copy, _ in copies],
        )
        expected = coco_metrics(repeated)
        lacking = present & (WeightedDetection(repeated).faces == 0)  # (C, B): a class of the study was not drawn
        lacking[0] |= lacking[1:-1].any(axis=0)  # the mean over classes says nothing then
        expected.loc[np.repeat(lacking.ravel(), len(METRICS)), "value"] = np.nan
        np.testing.assert_allclose(row, expected["value"], atol=1e-9, rtol=0)


def test_large_tables_are_measured_in_blocks(monkeypatch):
    found = detected(*random_rows(2)[:2])
    weights = np.random.default_rng(1).integers(0, 3, (7, len(found.image_ids))).astype(float)
    whole = WeightedDetection(found).measure(weights)
    monkeypatch.setattr("maskbench.evaluation.detection_weighted._CHUNK", 1)
    np.testing.assert_allclose(WeightedDetection(found).measure(weights), whole, atol=1e-14)


@pytest.mark.parametrize("faces", [[], [("a", "bare", (0, 0, 9, 9))]])
@pytest.mark.parametrize("boxes", [[], [("a", "bare", 0.4, (0, 0, 9, 9)), ("b", "bare", 0.4, (0, 0, 9, 9))]])
def test_no_faces_and_no_boxes(faces, boxes):
    found = detected(faces, boxes, images=["a", "b"])
    np.testing.assert_allclose(unit(found), coco_metrics(found)["value"], atol=1e-9)
    if not faces:
        assert np.isnan(unit(found)).all()
    else:
        assert value(found, "ap", "bare") == (1 if boxes else 0)


def test_what_is_refused():
    faces, boxes = faces_table([("a", "bare", (0, 0, 9, 9))]), detections_table([("a", "bare", 0.4, (0, 0, 9, 9))])
    with pytest.raises(ValueError, match="'a' is named twice"):
        Detected.of(boxes, faces, ["a", "a"], CLASSES, SYSTEM)
    with pytest.raises(ValueError, match="'bare' is not among the classes masked"):
        Detected.of(boxes, faces, ["a"], ("masked",), SYSTEM)
    with pytest.raises(ValueError, match="'background'"):
        Detected.of(boxes, faces, ["a"], (*CLASSES, "background"), SYSTEM)
    with pytest.raises(ValueError, match="at least 1"):
        Detected.of(boxes, faces, ["a"], CLASSES, SYSTEM, max_detections=0)
    with pytest.raises(ValueError, match="inside out"):
        Detected.of(boxes.assign(xmax=-1.0), faces, ["a"], CLASSES, SYSTEM)
    assert pd.Series(Detected.of(boxes, faces, ["b"], CLASSES, SYSTEM).scores).empty
