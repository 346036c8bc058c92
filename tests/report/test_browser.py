"""The report in a browser: quiet, whole, readable on any screen, in the dark, on paper and without its script."""

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maskbench.report.build import build_report
from maskbench.report.content import collect_report
from maskbench.report.grids import grid
from maskbench.report.questions import Block, Part, Question
from maskbench.report.scatter import Sheet, make_scatter
from tests.report.study_on_disk import ARMS, CLASSES, line_drawing, write_pictures, write_study

SCRAMBLED = {
    "name": ["layer10", "layer9", "b", "–", "a"],
    "plain": ["1,234", "−0.5", "–", "12", "3e-05"],
    "share": ["9.5%", "100.0%", "", "10.1%", "0.2%"],
    "span": ["0.811 (0.732 to 0.868)", "−0.100 to +0.167", "–", "+0.2 ± 0.1", "< 0.001"],
}
WIDE = {f"a column with a long heading {number}": [0.123456] * 50 for number in range(14)}
#: In the page: (contrast, text) of visible text that is not large, worst first. Backgrounds are opaque or not there.
CONTRAST = """
() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = parse(colour).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if ((parse(colour)[3] ?? 1) > 0) return colour;
    }
    return getComputedStyle(document.documentElement).colorScheme;
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*:not(svg *)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), element.textContent.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}
"""


def scatter():
    stream = BytesIO()
    Image.fromarray(np.full((16, 48, 3), 90, np.uint8)).save(stream, "JPEG")
    rows = [
        {"arm": arm, "face_id": f"face{k}", "x": float(k), "y": float(-k), "correct": k > 0, "label": CLASSES[k],
         "predicted": CLASSES[1], "box_side_px": 20.0}
        for arm in ARMS for k in range(3)
    ]  # fmt: skip
    sheet = Sheet(stream.getvalue(), ("face0", "face1", "face2"), 3, 16)
    return make_scatter(pd.DataFrame(rows), sheet, CLASSES, ARMS, "Who lies near whom.")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    base = tmp_path_factory.mktemp("report")
    run, plots = write_study(base)
    write_pictures(plots, [("eda", line_drawing("one")), ("evaluation", line_drawing("two"))], dpi=150)
    blocks = (
        Block("Scrambled", "", grid(pd.DataFrame(SCRAMBLED))),
        Block("Wide and long", "", grid(pd.DataFrame(WIDE)), folded=True),
        Block("Short", "", grid(pd.DataFrame({"only": ["folded away"]})), folded=True),
    )
    parts = (Part("representations", "What the arms see", ("Told.",), blocks, ("representations",), scatter()),)
    question = Question("question-3", "Question 3: why?", ("Because.",), (), "", parts)
    path = base / "report.html"
    path.write_text(build_report(replace(collect_report(run, plots), questions=(question,))), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_is_quiet_whole_and_readable(open_page, report, width, scheme):
    watched = open_page(report, width=width, color_scheme=scheme)
    page = watched.page
    images = page.evaluate(
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width, i.alt])"
    )
    assert len(images) == 2
    assert all(complete and natural > 0 and shown > 300 and alt for complete, natural, shown, alt in images)
    boxes = page.evaluate("[...document.querySelectorAll('figure > .scroll > svg')].map(s => s.getBBox().width)")
    assert len(boxes) == 1 and boxes[0] > 300
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.querySelectorAll('p, li, h1, h2, h3, summary')].every(e => "
                         f"!e.checkVisibility() || e.getBoundingClientRect().right <= {width})")  # fmt: skip
    names = page.evaluate(
        "[...document.querySelectorAll('tbody th:not(.n)')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(names) > 20 and min(names) > 40  # words stand in lines, not letter by letter
    shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (shown == "rgb(255, 255, 255)") is (scheme == "light")
    worst = page.evaluate(CONTRAST)
    assert len(worst) > 200
    assert worst[0][0] >= 4.5, worst[0]
    assert page.locator("nav.side").is_visible() is (width == 1280)
    assert watched.errors == []
    assert watched.outside == []
    assert len([url for url in watched.requests if url.startswith("file:")]) == 1


def column(page, name):
    place = list(SCRAMBLED).index(name) + 1
    return page.locator(f"{SCRAMBLED_TABLE} tbody tr :nth-child({place})").all_inner_texts()


SCRAMBLED_TABLE = ".table:has(.caption:has-text('Scrambled')) table"


def test_tables_sort_by_number_and_by_keyboard(open_page, report):
    watched = open_page(report)
    page = watched.page
    ascending = {
        "plain": ["−0.5", "3e-05", "12", "1,234", "–"],
        "share": ["0.2%", "9.5%", "10.1%", "100.0%", ""],
        "span": ["−0.100 to +0.167", "< 0.001", "+0.2 ± 0.1", "0.811 (0.732 to 0.868)", "–"],
        "name": ["a", "b", "layer9", "layer10", "–"],
    }
    for name, expected in ascending.items():
        head = page.locator(f"{SCRAMBLED_TABLE} thead th", has_text=name)
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert column(page, name) == expected
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") == "descending"
        assert column(page, name) == [*expected[3::-1], expected[4]]  # what is missing stays last
    assert page.locator(f"{SCRAMBLED_TABLE} [aria-sort=descending]").count() == 1
    head.locator("button").click()
    assert column(page, "plain") == SCRAMBLED["plain"]
    assert watched.errors == []


def test_everything_is_there_without_the_script(open_page, report):
    watched = open_page(report, width=390, java_script_enabled=False)
    page = watched.page
    assert page.locator("button").count() == 0
    assert column(page, "span") == SCRAMBLED["span"]
    assert not page.get_by_text("folded away").is_visible()
    page.locator("summary", has_text="Short").click()
    assert page.get_by_text("folded away").is_visible()
    link = page.locator("details.contents a", has_text="How to reproduce")
    assert not link.is_visible()
    page.locator("details.contents summary").click()
    link.click()
    assert page.url.endswith("#reproduce")
    assert watched.errors == []


def test_on_paper_nothing_sticks_scrolls_or_is_cut(open_page, report):
    page = open_page(report, width=690, color_scheme="dark").page
    page.emulate_media(media="print")
    assert not page.locator("nav.side").is_visible()
    assert not page.locator("details.contents").is_visible()
    assert not page.locator("button.copy").first.is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('figcaption b')).color") == "rgb(0, 0, 0)"
    assert page.get_by_text("folded away").bounding_box()["height"] > 0
    assert page.locator("details.long table").bounding_box()["height"] == 0  # long tables stay in the file
    assert page.evaluate("[...document.querySelectorAll('table, figure, pre')].every(e => "
                         "e.getBoundingClientRect().right <= 691)")  # fmt: skip
    assert page.evaluate("[...document.querySelectorAll('figure')].every(e => "
                         "getComputedStyle(e).breakInside === 'avoid')")  # fmt: skip


def test_a_point_shows_its_face(open_page, report):
    page = open_page(report).page
    point = page.locator(".scatter .point").first
    assert not point.locator(".face").is_visible()
    point.locator("circle").hover()
    assert point.locator(".face").is_visible()


def test_code_can_be_copied(open_page, report):
    page = open_page(report).page
    button = page.locator("#again button.copy")
    button.click()
    page.wait_for_function("document.querySelector('#again button.copy').textContent !== 'Copy'")
    assert button.inner_text() in {"Copied", "Selected"}
    assert json.dumps(page.locator("#again pre").inner_text()).count("maskbench run") == 1
