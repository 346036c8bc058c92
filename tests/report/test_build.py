"""The report is one well-formed file that needs nothing else, escapes what is the user's, and keeps to the files."""

import json
import math
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from matplotlib.figure import Figure

from maskbench.report.build import build_report
from maskbench.report.content import collect_report
from maskbench.report.content_results import limitations, number, results_table, verdict_sentences
from maskbench.report.drawing import Drawing
from maskbench.report.grids import text
from maskbench.schemas import TableError
from tests.report.study_on_disk import (
    ARMS,
    CLASSES,
    evaluation_tables,
    file_hash,
    rows_where,
    write_pictures,
    write_study,
)

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Elements, texts and references of a page; fails on tags that do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            if tag == "p":
                assert "p" not in self.open
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def picture(name="one", title="A title", caption="A caption."):
    figure = Figure(figsize=(1, 1))
    return Drawing(figure, name, title, caption)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    run, plots = write_study(tmp_path_factory.mktemp("study"))
    write_pictures(plots, [("eda", picture("one")), ("evaluation", picture("two")), ("elsewhere", picture("three"))])
    return run, plots


@pytest.fixture
def copied(study, tmp_path):
    for name, folder in zip(("run", "plots"), study, strict=True):
        shutil.copytree(folder, tmp_path / name)
    return tmp_path / "run", tmp_path / "plots"


def difference(value, low, high, seed=0):
    return pd.DataFrame(
        {"arm": ["y"], "baseline": ["x"], "seed": [seed], "split": ["test"], "metric": ["f1_macro"],
         "class_name": [""], "value": [value], "low": [low], "high": [high], "confidence": [0.95],
         "resamples": [1000], "incomplete": [0], "images": [128], "faces": [612]}
    )  # fmt: skip


def sections_of(source):
    """Text of the page's sections by id, those below them included; the contents lists left out."""
    found, marks = {}, [(m.start(), m.group(1)) for m in re.finditer(r'<section id="([^"]+)"', source)]
    for start, name in marks:
        depth, place = 0, start
        while depth or place == start:
            tag = re.compile(r"</?section").search(source, place)
            depth += -1 if tag.group().startswith("</") else 1
            place = tag.end()
        found[name] = Page(source[start:place] + ">").text
    return found


def test_the_page_is_whole_and_needs_nothing_else(study):
    source = build_report(collect_report(*study))
    page = Page(source)
    assert page.tags.count("img") == 3
    assert page.tags.count("script") == 1
    assert all(reference.startswith(("#", "data:image/")) for reference in page.references)
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert not re.search(r"https?://|url\(|@import|<link|<script[^>]", source)
    assert "default-src 'none'" in source
    assert "prefers-color-scheme: dark" in source
    assert "@media print" in source
    assert 'name="viewport"' in source


def test_the_abstract_has_what_was_asked_the_data_the_answer_and_the_main_limitation(study):
    context = collect_report(*study)
    source = build_report(context)
    found = sections_of(source)
    differences = rows_where(context.evaluation.differences, metric="f1_macro").iloc[0]
    for expected in (
        "How do manual-random (manual, random start) and torchvision-pretrained", "853 photographs with 4,000",
        f"{differences['value']:.3f} higher", "drawn by a program", "test faces in",
    ):  # fmt: skip
        assert expected in found["abstract"]
    order = [source.index(f'id="{name}"') for name in ("abstract", "data", "models", "protocol", "results",
             "question-2", "question-3", "discussion", "limitations", "reproduce")]  # fmt: skip
    assert order == sorted(order)
    words = Page(source).text
    assert words.index("Notice: the ImageNet weights cannot be had") < words.index("How do manual-random")


def test_headline_figures_are_those_of_the_tables(study):
    context = collect_report(*study)
    words = sections_of(build_report(context))["evaluation"]
    for arm in ARMS:
        row = rows_where(context.evaluation.intervals, arm=arm, metric="f1", class_name="gamma").iloc[0]
        assert f"{row['value']:.3f} {row['low']:.3f} to {row['high']:.3f}" in words


def test_every_part_of_the_run_is_in_it(study):
    found = sections_of(build_report(collect_report(*study)))
    for section, expected in (
        ("run", "maskbench run --data sample --name study"), ("again", "git checkout 0123456789abcdef0123456789abcdef"),
        ("again", "--config config.yaml --name study-again"), ("configuration", "batch_size: 32"),
        ("versions", "torch 2.11.0"), ("hashes", "ab" * 32), ("hashes", "0a" * 32),
        ("hashes", file_hash("split/split.parquet")), ("hashes", file_hash(f"train/{ARMS[1]}/seed0/best.safetensors")),
        ("audit", "All 15 findings"), ("audit", "14 warning"), ("description", "Class balance (3 rows)"),
        ("description", "heatmaps (1,600 rows)"), ("split", "2,212"), ("split", "grouped by photograph" ),
        ("split", "No photograph, and no group of near-duplicates, sits on two sides."), ("models", "layer4.2.conv2"),
        ("models", "The implementations have the same layers"), ("models", "41.2%"), ("models", "216"),
        ("protocol", "Arms of equal seed saw the same faces in the same order."), ("protocol", "64 px square"),
        ("training", "best validation macro-F1"), ("limitations", "One training seed (0)"),
        ("further", "A title"),
    ):  # fmt: skip
        assert expected.lower() in found[section].lower(), (section, expected)


def test_figures_and_tables_are_numbered_through_and_say_what_they_rest_on(study):
    source = build_report(collect_report(*study))
    found = sections_of(source)
    assert "Figure 1: A title. A caption. Rests on 4,000 faces in 853 photographs" in found["description"]
    assert "Figure 2: A title. A caption. Rests on" in found["results"]
    assert "one run of each arm (seed 0)." in found["results"]
    assert "Figure 3: A title. A caption." in found["further"]
    numbers = [int(number) for number in re.findall(r'id="table-(\d+)"', source)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 10
    assert re.search(r'<span class="no">1\.3</span> Split', source)


def test_names_are_escaped_everywhere(tmp_path):
    nasty = "<script>alert(1)</script>"
    run, plots = write_study(tmp_path, (nasty, "b & c", "d\"'>"), (0.6, 0.3, 0.1))
    run_json = json.loads((run / "run.json").read_text())
    run_json["commands"] = [f"maskbench run --data '{nasty}'"]
    (run / "run.json").write_text(json.dumps(run_json))
    write_pictures(plots, [("eda", picture(title=f'"{nasty}', caption=nasty))])
    source = build_report(collect_report(run, plots))
    assert source.count("<script") == 1
    assert "&lt;script&gt;" in source
    page = Page(source)
    assert f"F1 {nasty}" in page.text
    assert page.tags.count("script") == 1


@pytest.mark.parametrize("stage", ["audit", "eda", "split", "train", "evaluate"])
def test_a_stage_that_was_not_run_is_said_so(copied, stage):
    run, plots = copied
    shutil.rmtree(run / stage)
    words = Page(build_report(collect_report(run, plots))).text
    assert f"Not run: the {stage} stage" in words


def test_a_run_of_which_nothing_ran_has_a_report(copied):
    run, plots = copied
    for stage in ("audit", "eda", "split", "train", "evaluate"):
        shutil.rmtree(run / stage)
    shutil.rmtree(plots)
    found = sections_of(build_report(collect_report(run, plots)))
    for section in ("audit", "description", "split", "models", "protocol", "evaluation", "classes", "training",
                    "calibration", "question-1", "question-2", "question-3"):  # fmt: skip
        assert found[section].count("Not run") == 1, section


@pytest.mark.parametrize(
    "file",
    ["evaluate/metrics.parquet", "train/manual-random/seed0/fit.json", "audit/audit.json", "split/proportions.csv",
     "train/layers.parquet", "audit/classes.json"],
)  # fmt: skip
def test_missing_files_of_a_stage_that_ran_are_named(copied, file):
    run, plots = copied
    (run / file).unlink()
    with pytest.raises(FileNotFoundError, match=file.rsplit("/", maxsplit=1)[-1]):
        collect_report(run, plots)


@pytest.mark.parametrize("file", ["evaluate/intervals.parquet", "eda/class_balance.parquet"])
def test_broken_tables_are_named(copied, file):
    run, plots = copied
    (run / file).write_bytes(b"not a table")
    with pytest.raises(TableError, match=file.rsplit("/", maxsplit=1)[-1]):
        collect_report(run, plots)


def test_broken_json_and_listed_pictures_that_are_missing_are_named(copied):
    run, plots = copied
    (plots / "two.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"two\.png"):
        collect_report(run, plots)
    (run / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json"):
        collect_report(run, plots)


def test_pictures_outside_the_folder_are_refused(copied):
    run, plots = copied
    listing = json.loads((plots / "figures.json").read_text())
    listing[0]["name"] = "../run/x"
    (plots / "figures.json").write_text(json.dumps(listing))
    with pytest.raises(ValueError, match="not the name of a file"):
        collect_report(run, plots)


@pytest.mark.parametrize(
    ("value", "low", "high", "says"),
    [
        (0.05, 0.01, 0.09, "The macro-F1 of y is 0.050 higher than that of x on these test photographs"),
        (-0.05, -0.09, -0.01, "The macro-F1 of y is 0.050 lower than that of x on these test photographs"),
        (0.05, -0.01, 0.09, "No difference shown: the macro-F1 of y is 0.050 higher than that of x"),
        (0.05, 0.0, 0.09, "No difference shown"),
        (math.nan, math.nan, math.nan, "Nothing can be said"),
    ],
)
def test_the_sentence_follows_from_the_interval(value, low, high, says):
    (sentence,) = verdict_sentences(difference(value, low, high))
    assert says in sentence
    assert "128 test photographs" in sentence


def test_each_seed_has_its_sentence():
    both = pd.concat([difference(0.1, 0.05, 0.2), difference(0.1, -0.05, 0.2, seed=4)])
    first, second = verdict_sentences(both)
    assert first.startswith("Seed 0: The macro-F1 of y is")
    assert second.startswith("Seed 4: No difference shown")


def test_limitations_name_what_is_weak(study):
    context = collect_report(*study)
    part = context.evaluation
    weights = {run.arm: run.weights for run in context.training.runs}
    found = " ".join(limitations(context.classes, context.config, part.metrics, part.intervals, weights))
    faces = int(rows_where(part.metrics, metric="support", class_name="gamma")["value"].iloc[0])
    assert f"gamma has {faces} test faces: each of them moves its recall by {100 / faces:.1f}" in found
    assert "One training seed (0)" in found
    assert "not from ImageNet weights" in found
    assert "differ in implementation and in initial weights at once" in found
    assert "drawn by a program" in found
    assert "split at random" not in found
    assert "Only" not in found
    few = limitations(context.classes, context.config, part.metrics, part.intervals.assign(images=9), weights)
    assert "Only 9 test photographs: intervals from so few tend to be too narrow." in few


def test_the_terminal_table_holds_the_same_numbers():
    tables = evaluation_tables(faces=120, resamples=20)
    found = results_table(tables["metrics"], tables["intervals"], CLASSES)
    assert list(found.columns) == ["metric", "faces", *ARMS]
    row = rows_where(tables["intervals"], arm=ARMS[1], metric="f1_macro").iloc[0]
    expected = f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    assert found.set_index("metric").loc["Macro-F1", ARMS[1]] == expected


def test_missing_numbers_are_dashes(study):
    context = collect_report(*study)
    metrics, intervals = context.evaluation.metrics.copy(), context.evaluation.intervals.copy()
    gone = (intervals["class_name"] == "gamma") & (intervals["metric"] == "f1")
    intervals.loc[gone, ["value", "low", "high"]] = math.nan
    metrics.loc[(metrics["class_name"] == "gamma") & (metrics["metric"] == "f1"), ["value", "reason"]] = (
        math.nan, "no face of this class, and never predicted",
    )  # fmt: skip
    table = results_table(metrics, intervals, CLASSES).set_index("metric")
    assert list(table.loc["F1 gamma", list(ARMS)]) == ["–", "–"]
    words = Page(build_report(replace(context, evaluation=replace(
        context.evaluation, metrics=metrics, intervals=intervals)))).text  # fmt: skip
    assert re.search(r"F1 gamma \d+ – –", words)
    assert "f1 of gamma: no face of this class, and never predicted" in words
    assert "nan" not in words.lower().split()


def test_arms_trained_on_other_orders_are_said_so(copied):
    run, plots = copied
    path = run / "train" / ARMS[0] / "seed0" / "fit.json"
    fit = json.loads(path.read_text())
    fit["batches_sha256"][2] = "f" * 64
    path.write_text(json.dumps(fit))
    assert "saw faces in different orders" in Page(build_report(collect_report(run, plots))).text


def test_one_arm_has_a_report_without_differences(study):
    context = collect_report(*study)
    part = context.evaluation
    alone = replace(
        context,
        evaluation=replace(
            part, metrics=rows_where(part.metrics, arm=ARMS[0]), intervals=rows_where(part.intervals, arm=ARMS[0]),
            differences=part.differences.iloc[:0],
        ),
    )  # fmt: skip
    words = Page(build_report(alone)).text
    assert "The macro-F1 of" not in words
    assert "Macro-F1" in words


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (math.nan, "–"), (0.000012345, "1.234e-05"), (-0.5, "−0.5"), (123456.7, "123,457"),
     (1234, "1,234"), (True, "yes"), ("x", "x"), (0.0, "0")],
)  # fmt: skip
def test_cells_as_text(value, shown):
    assert text(value) == shown


@pytest.mark.parametrize(
    ("value", "signed", "shown"),
    [(0.25, True, "+0.250"), (-0.25, True, "−0.250"), (0.0, True, "0.000"), (-0.0001, True, "0.000"),
     (-0.0001, False, "0.000"), (math.nan, True, "–"), (None, False, "–")],
)  # fmt: skip
def test_numbers_as_text(value, signed, shown):
    assert number(value, signed=signed) == shown
