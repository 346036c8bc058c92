"""Likeness of representations against an independent formula; probes and separation where the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from maskbench.comparison.representations import (
    RunFeatures,
    cka_table,
    embedding_tables,
    linear_cka,
    probe_table,
    representation_sentences,
    scatter_ratio,
    separation_table,
)
from maskbench.schemas import validate
from maskbench.schemas.representations import REPRESENTATION_TABLES


def unbiased_hsic(one: np.ndarray, other: np.ndarray) -> float:
    """The U-statistic over all quadruples of different faces (Song et al. 2012, eq. 4), summed one by one."""
    kernels, n = (one @ one.T, other @ other.T), len(one)
    pairs = triples = quadruples = 0.0
    for i in range(n):
        for j in range(n):
            if j == i:
                continue
            pairs += kernels[0][i, j] * kernels[1][i, j]
            for q in range(n):
                if q in (i, j):
                    continue
                triples += kernels[0][i, j] * kernels[1][i, q]
                for r in range(n):
                    if r not in (i, j, q):
                        quadruples += kernels[0][i, j] * kernels[1][q, r]
    count = n * (n - 1)
    return pairs / count + quadruples / (count * (n - 2) * (n - 3)) - 2 * triples / (count * (n - 2))


def test_cka_is_the_u_statistic_over_all_quadruples() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(9, 4))
    other = one[:, :2] @ rng.normal(size=(2, 3)) + 0.5 * rng.normal(size=(9, 3))
    expected = unbiased_hsic(one, other) / np.sqrt(unbiased_hsic(one, one) * unbiased_hsic(other, other))
    assert linear_cka(one, other) == pytest.approx(expected)


def test_cka_knows_rotation_and_scale_from_difference() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, 8)) * np.arange(1, 9)
    turned, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    assert linear_cka(features, features) == pytest.approx(1)
    assert linear_cka(features, 7 * features @ turned + 3) == pytest.approx(1)
    # as many channels as faces: the plain index would be about 0.5
    noise = [linear_cka(rng.normal(size=(60, 60)), rng.normal(size=(60, 60))) for _ in range(20)]
    assert abs(np.mean(noise)) < 0.05
    assert np.isnan(linear_cka(np.ones((10, 3)), features[:10]))


def run(arm: str, seed: int, noise: float = 0.3, faces: range = range(60)) -> RunFeatures:
    """Depth `late` tells the classes apart, `early` is noise."""
    rng = np.random.default_rng(seed + len(arm))
    labels = np.array(["bare", "masked"], dtype=object)[np.arange(200) % 2]
    known = (labels == "masked")[:, None] * 2.0
    late = np.hstack([known, 2 - known]) + noise * rng.normal(size=(200, 2))
    early = rng.normal(size=(200, 3))
    test = list(faces)
    table = pd.DataFrame(
        {"face_id": [f"f{k}" for k in test], "image_id": [f"i{k // 3}" for k in test], "label": labels[test],
         "predicted": "masked", "correct": labels[test] == "masked", "box_side_px": 20.0}
    )  # fmt: skip
    train = slice(100, 200)
    return RunFeatures(
        arm, seed, {"early": early[train], "late": late[train]}, labels[train],
        {"early": early[test], "late": late[test]}, table,
    )  # fmt: skip


def test_arms_of_a_run_and_runs_of_an_arm_are_compared_and_nothing_else() -> None:
    table = validate(cka_table([run("a", 0), run("bb", 0), run("a", 1), run("bb", 1)]), REPRESENTATION_TABLES["cka"])
    kinds = table.drop_duplicates(["kind", "arm_a", "seed_a", "arm_b", "seed_b"])
    assert kinds["kind"].value_counts().to_dict() == {"arms": 2, "seeds": 2}
    seeds = table[table["kind"] == "seeds"]
    assert (seeds["layer_a"] == seeds["layer_b"]).all()
    late = table[(table["kind"] == "arms") & (table["layer_a"] == "late") & (table["layer_b"] == "late")]
    early = table[(table["kind"] == "arms") & (table["layer_a"] == "early") & (table["layer_b"] == "early")]
    assert late["cka"].min() > 0.9
    assert early["cka"].abs().max() < 0.2


def test_only_faces_that_both_were_tested_on_are_compared() -> None:
    shared = cka_table([run("a", 0, faces=range(60)), run("a", 1, faces=range(30, 90))])
    assert set(shared["faces"]) == {30}
    assert shared["cka"].notna().all()
    few = cka_table([run("a", 0, faces=range(60)), run("a", 1, faces=range(50, 90))])
    assert few["cka"].isna().all()
    assert set(few["reason"]) == {"10 test faces in common: fewer than 20"}


def test_probes_find_what_is_there_and_nothing_in_noise() -> None:
    found = validate(probe_table(run("a", 0), neighbours=3, resamples=100), REPRESENTATION_TABLES["probes"])
    table = found.set_index(["depth", "probe", "metric"])
    assert table.loc[("late", "linear", "accuracy"), "value"] == 1
    assert table.loc[("late", "neighbours", "f1_macro"), "value"] > 0.9
    assert abs(table.loc[("early", "linear", "accuracy"), "value"] - 0.5) < 0.2
    inside = found[found["value"] < 1]
    assert ((inside["low"] < inside["value"]) & (inside["value"] < inside["high"])).all()


def test_probes_measure_as_scikit_learn_does() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    data = run("a", 0, noise=2.0)
    table = probe_table(data, neighbours=3, resamples=20).set_index(["depth", "probe", "metric"])["value"]
    model = KNeighborsClassifier(3, metric="cosine").fit(data.train["late"], data.train_labels.astype(str))
    predicted, labels = model.predict(data.test["late"]), data.faces["label"].astype(str)
    assert table["late", "neighbours", "accuracy"] == accuracy_score(labels, predicted)
    assert table["late", "neighbours", "f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_one_class_gives_a_reason_and_no_number() -> None:
    data = run("a", 0)
    alone = RunFeatures("a", 0, data.train, np.full(100, "bare", dtype=object), data.test, data.faces)
    assert probe_table(alone, neighbours=3, resamples=5)["value"].isna().all()
    same = RunFeatures("a", 0, data.train, data.train_labels, data.test, data.faces.assign(label="bare"))
    table = separation_table(same)
    assert table["silhouette"].isna().all()
    assert (table["reason"] != "").all()


def test_scatter_worked_out_by_hand() -> None:
    # classes at 0 ± 1 and 10 ± 1: means 0 and 10, the mean of all 5; between 4 · 25, within 4 · 1
    features, labels = np.array([[-1.0], [1], [9], [11]]), np.array(["a", "a", "b", "b"])
    assert scatter_ratio(features, labels) == 25
    assert np.isnan(scatter_ratio(np.ones((4, 1)), labels))
    table = validate(separation_table(run("a", 0)), REPRESENTATION_TABLES["separation"]).set_index("depth")
    assert table.loc["late", "scatter_ratio"] > 5 > table.loc["early", "scatter_ratio"]
    assert table.loc["late", "silhouette"] > table.loc["early", "silhouette"]


def test_embeddings_are_repeatable_and_the_variance_is_numpys() -> None:
    data = run("a", 0)
    one, other = (embedding_tables(data, "early", perplexity=30, seed=4) for _ in range(2))
    for name, table in one.items():
        validate(table, REPRESENTATION_TABLES[name])
        pd.testing.assert_frame_equal(table, other[name])
    centred = data.test["early"] - data.test["early"].mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    assert one["explained_variance"]["ratio"].tolist() == pytest.approx(list(values / values.sum()))
    points = one["embedding"]
    assert set(points["method"]) == {"pca", "tsne"}
    assert points.loc[points["method"] == "tsne", "perplexity"].unique() == pytest.approx([59 / 3])  # 60 faces
    pca = points[points["method"] == "pca"]
    assert np.var(pca["x"], ddof=0) * 60 == pytest.approx(values[0])


def test_the_sentences_name_every_depth_with_its_numbers() -> None:
    runs = [run("a", 0), run("bb", 0)]
    probes = pd.concat([probe_table(one, neighbours=3, resamples=5) for one in runs])
    likeness, known = representation_sentences(cka_table(runs), probes, ["a", "bb"], ["early", "late"])
    assert "a and bb" in likeness
    assert "late 0.9" in likeness or "late 1.0" in likeness
    assert "a early" in known
    assert "late 1.00" in known
