"""Report, Markdown and cards are prints of the same content, appear together, and hold the tables' numbers."""

import base64
import html
import re
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from maskbench.report.build import build_comparison, build_document, write_reports
from maskbench.report.content import Evaluation, Headline, collect_report
from maskbench.report.datasheet import datasheet
from maskbench.report.document import Illustration, Table, Text, all_items
from maskbench.report.grids import Grid, grid
from maskbench.report.markdown import escaped, markdown_grid, render_markdown
from maskbench.report.model_card import model_card
from maskbench.report.pictures import embedded, read_pictures
from maskbench.report.questions import Block, Part, Question
from maskbench.report.sections import save_sections
from tests.report.study_on_disk import (
    ARMS,
    evaluation_tables,
    file_hash,
    line_drawing,
    rows_where,
    write_pictures,
    write_study,
)

MARKDOWN = MarkdownIt("commonmark").enable("table")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    run, plots = write_study(tmp_path_factory.mktemp("study"))
    write_pictures(plots, [("eda", line_drawing("one")), ("evaluation", line_drawing("two"))])
    context = collect_report(run, plots)
    return run, context, write_reports(context, run, plots)


def plain(markdown):
    """What a reader of the rendered Markdown sees."""
    rendered = re.sub(r"</?(code|strong|em)>", "", MARKDOWN.render(markdown))
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", rendered)).split())


def test_the_files_appear_together(study):
    run, _, written = study
    assert [path.name for path in written] == ["report.html", "report.md", "model_card.md", "datasheet.md"]
    assert all(path.parent == run and path.stat().st_size > 1000 for path in written)
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_links_of_the_markdown_resolve(study):
    run, context, _ = study
    source = (run / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", source)
    assert len(links) == len(context.pictures) == 2
    assert all((run / unquote(link)).is_file() for link in links)


def test_page_and_markdown_say_the_same(study):
    run, context, _ = study
    document = build_document(context)
    words = plain((run / "report.md").read_text(encoding="utf-8"))
    page = " ".join(html.unescape((run / "report.html").read_text(encoding="utf-8")).split())
    tables = 0
    for item in all_items(document.sections):
        if isinstance(item, Text):
            assert " ".join(item.words.replace("`", "").split()) in words
        elif isinstance(item, Illustration):
            assert f"Figure {item.number}: {item.picture.title}. {item.picture.caption} {item.basis}" in words
            assert f"Figure {item.number}: {item.picture.title}." in page
        elif isinstance(item, Table):
            tables += 1
            assert f"Table {item.number}: {item.caption}." in words
            assert f"Table {item.number}" in page
    tokens = MARKDOWN.parse((run / "report.md").read_text(encoding="utf-8"))
    assert sum(token.type == "table_open" for token in tokens) == tables
    headings = [f"{section.number} {section.title}" for section in document.sections]
    told = [after.content for token, after in pairwise(tokens)
            if token.type == "heading_open" and token.tag == "h2"]  # fmt: skip
    assert told == ["Abstract", *headings]


def test_the_model_card_has_every_arm_with_its_numbers(study):
    _, context, _ = study
    words = plain(render_markdown(model_card(context)))
    for arm in ARMS:
        row = rows_where(context.evaluation.intervals, arm=arm, metric="f1_macro").iloc[0]
        assert f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})" in words
        assert file_hash(f"train/{arm}/seed0/best.safetensors") in words
    for heading in ("Model details", "Intended use", "Out-of-scope use", "Factors", "Metrics", "Training data",
                    "Evaluation data", "Ethical considerations", "Caveats and recommendations"):  # fmt: skip
        assert heading in words
    assert "ab" * 32 in words
    assert "21,286,211" in words
    assert "alpha 2,212" in words  # training faces
    assert "One training seed (0)" in words
    assert "show nobody" in words


def test_the_datasheet_has_the_numbers_of_the_audit_and_says_that_the_sample_is_drawn(study):
    _, context, _ = study
    words = plain(render_markdown(datasheet(context)))
    for name, counts in context.audit.summary["classes"].items():
        assert f"{name} {counts['faces']:,} {counts['photographs']}" in words
    assert "853 photographs with 4,000 annotated faces" in words
    assert "PNG RGBA, 8 bit 853" in words
    assert "box clipped: 14 (warning); clipped to the photograph" in words
    assert "random numbers" in words
    assert "Unknown" not in words


def from_source(context, source):
    return replace(context, config={**context.config, "data": {**context.config["data"], "source": source}})


def test_what_is_not_known_of_a_dataset_is_said_to_be_unknown(study):
    _, context, _ = study
    words = plain(render_markdown(datasheet(from_source(context, "/somewhere/own-faces"))))
    assert words.count("Unknown: the dataset is the user's") == 7
    assert "own-faces" in words and "/somewhere" not in words
    assert "CC0" not in words


@pytest.mark.parametrize(
    ("source", "photographs", "known"),
    [("kaggle", 10, True), ("/data/face-mask-detection", 853, True), ("/data/face-mask-detection", 852, False)],
)
def test_the_public_dataset_is_known_and_a_copy_of_it_is_recognised(study, source, photographs, known):
    _, context, _ = study
    summary = {**context.audit.summary, "photographs": photographs}
    asked = replace(from_source(context, source), audit=replace(context.audit, summary=summary))
    words = plain(render_markdown(datasheet(asked)))
    assert ("CC0" in words and "andrewmvd" in words) is known
    assert ("Unknown" in words) is not known
    assert ("Taken for the public dataset" in words) is (known and source != "kaggle")


def test_a_comparison_looks_like_a_report(study):
    block = Block("Numbers", "", grid(pd.DataFrame({"arm": ["a"], "value": [0.25]})))
    parts = (Part("arms", "The arms", ("Told.",), (block,), ("comparison",)),)
    question = Question("question-1", "Question 1: which?", ("a, by (nan to nan).",), (), "", parts)
    page = build_comparison("both", ["results/a"], [question], [])
    for expected in ("A comparison of arms: both", "a, by (– to –).", "Told.", "Table 1: Numbers.", "results/a"):
        assert expected in page


def test_figures_over_several_runs_are_means_and_no_longer_of_one_seed(study):
    _, context, _ = study
    tables = evaluation_tables(faces=150, resamples=20, seeds=(0, 1))
    first = tables["intervals"][tables["intervals"]["seed"] == 0]
    gap = tables["differences"][tables["differences"]["seed"] == 0]
    headline = Headline(first.assign(faces=77, value=0.625), gap, 2, "test photographs and runs")
    several = replace(
        context,
        config={**context.config, "seeds": {"count": 2, "first": 0, "vary": "init"}},
        evaluation=Evaluation(tables["metrics"], tables["intervals"], tables["differences"], headline),
    )
    source = render_markdown(build_document(several))
    assert "One training seed" not in source
    assert "Means over 2 runs of each arm." in source
    assert "| Macro-F1 | 77 | 0.625 (" in source
    assert "2 runs of each arm (seeds 0 to 1), which differ in initial weights and order." in source


def test_a_figure_that_moves_to_another_section_stays(tmp_path):
    save_sections(tmp_path, {"old": [line_drawing("one"), line_drawing("two"), line_drawing("gone")]}, dpi=50)
    save_sections(tmp_path, {"new": [line_drawing("two")]}, dpi=50)
    save_sections(tmp_path, {"old": [line_drawing("one")]}, dpi=50)
    assert {path.name for path in tmp_path.glob("*.png")} == {"one.png", "two.png"}
    assert [(picture.name, picture.section) for picture in read_pictures(tmp_path)] == [("two", "new"), ("one", "old")]


@pytest.mark.parametrize(
    "words", ["a*b*c", "_a_ with_mask", "[x](y)", "<b> & co", "# no heading", "1. no list", "| ~~x~~"]
)
def test_markdown_shows_text_as_it_is(words):
    assert plain(escaped(words)) == words


def test_markdown_tables_hold_any_cell():
    table = Grid(("name", "n"), (("a | b", "−0.5"), ("`c`", "–")), (False, True), 2)
    assert plain(markdown_grid(table)) == "name n a | b −0.5 c –"


def test_pictures_get_smaller_and_keep_their_pixels():
    flat = np.full((300, 400, 3), 255, np.uint8)
    flat[100:102] = (0, 114, 178)
    noise = (
        np.random.default_rng(0).normal(128, 50, (75, 100, 3)).clip(0, 255).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    )
    for pixels, kind, worst in ((flat, "png", 0), (noise, "webp", 12)):
        stream = BytesIO()
        Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
        found = embedded(stream.getvalue())
        assert found.address.startswith(f"data:image/{kind};base64,")
        assert (found.width, found.height) == (400, 300)
        assert len(found.address) < len(stream.getvalue()) / 2
        shown = Image.open(BytesIO(base64.b64decode(found.address.partition(",")[2]))).convert("RGB")
        assert np.abs(np.asarray(shown).astype(int) - pixels).mean() <= worst
