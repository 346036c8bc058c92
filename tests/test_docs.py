"""The site and the README: built without a warning, complete, true to the code, and without anything from elsewhere."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandera.pandas as pa
import pytest
import typer
import yaml

from maskbench import schemas
from maskbench.cli import app
from maskbench.config import Config, make_config, merge, parse_setting
from maskbench.config.pretraining import make_pretraining

ROOT = Path(__file__).parents[1]
#: What a browser fetches by itself.
_FETCHED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src")}
_ELSEWHERE = re.compile(r"^(https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as CI builds it: a warning is an error."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config = load_config("mkdocs.yml", site_dir=str(folder), strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
    return folder


class Page(HTMLParser):
    """What a page fetches, its ids, labels of its formulas and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.formulas: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.fetched += [value for name, value in values.items() if (tag, name) in _FETCHED]
        self.ids.add(values.get("id", ""))
        if tag == "svg" and values.get("class") == "formula":
            self.formulas.append(values["aria-label"])

    def handle_data(self, data: str) -> None:
        self.text += data


def commands() -> dict[str, Any]:
    found: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return found


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for path in pages:
        fetched = Page(path).fetched
        assert len(fetched) > 3  # style sheets and scripts of its own
        assert not [link for link in fetched if _ELSEWHERE.match(link)], path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_code_that_pages_include_is_there(site: Path) -> None:
    """A line that a formatter has taken apart is shown as it stands, and nothing warns."""
    page, code = (site / "extending.html").read_text(), (ROOT / "tests" / "test_extending.py").read_text()
    regions = re.findall(r"# --8<-- \[start:\w+\]\n(.*?)# --8<-- \[end", code, re.DOTALL)
    names = [re.findall(r"(?:def|class) (\w+)", region) for region in regions]
    assert len(regions) == 4 and all(name in page for region in names for name in region)
    left = [path for path in site.rglob("*.html") if re.search(r"--8\s*&lt;", path.read_text())]
    assert left == []


def test_every_command_and_option_is_on_the_page_of_commands(site: Path) -> None:
    page = Page(site / "commands.html")
    for name, command in commands().items():
        assert f"maskbench-{name}" in page.ids
        assert {option for one in command.params for option in one.opts if option.startswith("-")} <= set(
            re.findall(r"(?<!\S)--?[a-z0-9-]+", page.text)
        )


def test_every_table_and_field_is_on_its_page(site: Path) -> None:
    tables, fields = Page(site / "formats" / "tables.html"), Page(site / "formats" / "config.html")
    modules = [
        importlib.import_module(f"{schemas.__name__}.{one.name}") for one in pkgutil.iter_modules(schemas.__path__)
    ]
    found = {one.name for module in modules for one in vars(module).values() if isinstance(one, pa.DataFrameSchema)}
    assert len(found) > 90
    assert found <= tables.ids
    for name, description in described(Config):
        assert description, f"{name} has no description"
        assert f"{name}" in fields.text


def described(section: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names of all fields with their descriptions."""
    for name, field in section.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from described(field.annotation, f"{prefix}{name}.")
        elif name != "arms":
            yield prefix + name, field.description or ""


def test_files_of_tables_are_those_that_the_code_writes(site: Path) -> None:
    shown = set(re.findall(r"(?:[a-z-]+/)(?:\w+/)*(\w+)", " ".join(_files(site / "formats" / "tables.html"))))
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    written = set(re.findall(r"[\"/](\w+)(?:\.parquet)?\"", source)) | set(
        re.findall(r"\b(\w+): pd\.DataFrame", source)
    )
    missing = shown - written
    assert len(shown) > 60
    assert not missing


def _files(path: Path) -> list[str]:
    """The line below the heading of each table: its files."""
    return re.findall(r"</h3>\s*<p>(.*?)</p>", path.read_text(encoding="utf-8"))


def test_formulas_are_pictures_with_their_source_as_words(site: Path) -> None:
    for path in sorted((site / "method").glob("*.html")):
        text, asked = path.read_text(encoding="utf-8"), (ROOT / "docs/method" / f"{path.stem}.md").read_text()
        without_code = re.sub(r"`[^`]*`", "", asked)
        wanted = len(re.findall(r"\$\$.+?\$\$|\$[^$]+\$", without_code))
        assert len(Page(path).formulas) == wanted, path
        assert "arithmatex" not in text
    drawn = re.findall(r'<svg class="formula".*?<path d="(.*?)"/>', text := (site / "method/metrics.html").read_text())
    assert len(drawn) == text.count('class="formula" role="img"') > 20
    assert all(outline.startswith("M") and outline.count("Z") >= 1 for outline in drawn)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_commands_that_are_shown_exist_with_their_options_and_settings(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^ {4}(?:\.venv/bin/)?maskbench .*$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)[1:]
        assert words[0] in commands(), line
        known = {option for one in commands()[words[0]].params for option in (*one.opts, *one.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, line
        layers = [parse_setting(word) for flag, word in pairwise(words) if flag == "--set"]
        if words[0] == "pretrain":
            make_pretraining(functools.reduce(merge, layers, {}))
        elif words[0] != "sample":
            make_config("quick", *layers)


def test_configurations_that_are_shown_are_valid() -> None:
    shown = [
        part
        for path in pages()
        for part in re.findall(
            r"(?:^ {4}# \w+\.yaml\n)((?:^ {4}.*\n)+)", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert len(shown) >= 3
    for part in shown:
        make_config("quick", merge({}, yaml.safe_load(part)))


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
            assert (ROOT / link).exists(), link
    assert (ROOT / "docs/figures/report.png").stat().st_size < 300_000


def test_numbers_of_the_readme_are_those_of_the_results() -> None:
    """Rows of its tables stand in docs/results.md, number by number."""
    readme, results = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md"))
    rows = [line for line in readme.splitlines() if line.startswith("|") and re.search(r"\d\.\d{2}", line)]
    assert len(rows) == 6
    for cell in (cell.strip(" *") for row in rows for cell in row.strip("|").split("|")[1:]):
        assert cell in results.replace("*", ""), cell


def test_citation_credits_those_it_rests_on() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "title", "message", "authors", "version"} <= set(found)
    told = yaml.safe_dump(found["references"])
    for name in ("He", "Sun", "andrewmvd", "SandhyaKrishnan02", "TorchVision", "PyTorch"):
        assert name in told
