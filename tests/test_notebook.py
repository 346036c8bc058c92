"""The notebook: its two files say the same, it holds no logic of its own, and it runs from start to end."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

import maskbench
from maskbench.handles import StageResult
from maskbench.storage import write_json

FOLDER = Path(__file__).parents[1] / "notebooks"
PAIR = FOLDER / "face_mask_study.py", FOLDER / "face_mask_study.ipynb"
#: As small as all sections allow; laid over the cell of parameters, as papermill does.
PARAMETERS = """
PRESET, DATA, WEIGHTS = "smoke", "sample", "bundled"
SETTINGS = {
    "data.sample": {
        "images": 24, "class_shares": {"with_mask": 0.6, "without_mask": 0.25, "mask_weared_incorrect": 0.15}
    },
    "train.epochs": 1, "eda.bootstrap": 20, "interventions.run": ["darken"], "report.dpi": 50,
    "explain.methods": ["grad_cam"], "explain.faithfulness_faces": 4, "explain.gallery": 6, "explain.feature_faces": 1,
}
"""
#: What this small study shows; each section has several of both.
FIGURES, TABLES = 60, 25
#: Figures that need more faces, or mistakes in more photographs, than it has.
NOT_DRAWN = {"cka*", "mistake-*", "suspected-labels*"}


@pytest.fixture(scope="module")
def text() -> NotebookNode:
    return jupytext.read(PAIR[0])


def test_both_files_say_the_same(text: NotebookNode) -> None:
    paired = nbformat.read(PAIR[1], as_version=4)
    nbformat.validate(paired)
    assert [(cell.cell_type, cell.source, cell.metadata) for cell in paired.cells] == [
        (cell.cell_type, cell.source, cell.metadata) for cell in text.cells
    ], "run: jupytext --sync notebooks/face_mask_study.py"
    assert paired.metadata.jupytext.formats == text.metadata.jupytext.formats == "ipynb,py:percent"


def test_outputs_are_not_kept() -> None:
    for cell in nbformat.read(PAIR[1], as_version=4).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_cells_call_the_library_and_hold_no_logic(text: NotebookNode) -> None:
    forbidden = ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.Try, ast.Lambda
    for cell in code_of(text):
        found = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, forbidden)]
        assert not found, f"belongs in the library: {cell.source}"


def test_one_cell_holds_the_parameters(text: NotebookNode) -> None:
    assert ["parameters" in cell.metadata.get("tags", []) for cell in code_of(text)].count(True) == 1


@pytest.mark.notebook
def test_it_runs_from_start_to_end(text: NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(Path(maskbench.__file__).parents[1]))
    notebook = with_parameters(text)
    # A cell's error is raised here, with the cell.
    NotebookClient(
        notebook, km=AsyncKernelManager(kernel_spec_manager=ThisInterpreter()), timeout=1800,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()  # fmt: skip

    for cell in code_of(notebook):
        if isinstance(ast.parse(cell.source).body[-1], ast.Expr):
            assert cell.outputs, f"shows nothing: {cell.source}"
    shown = [output.get("data", {}) for cell in code_of(notebook) for output in cell.outputs]
    assert sum("image/png" in data for data in shown) >= FIGURES
    pages = [data.get("text/html", "") for data in shown]
    absent = {name for name in patterns_of(notebook) if any(f"{name}: nothing to draw" in page for page in pages)}
    assert absent <= NOT_DRAWN
    tables = [page for page in pages if "<table" in page]
    assert len(tables) >= TABLES
    assert sum("<td>" not in table for table in tables) <= 1  # a sample without duplicates
    assert max(table.count("<tr") for table in tables) <= 45
    assert (tmp_path / "results" / "face-masks" / "report.html").is_file()


def test_figures_are_shown_by_name_or_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    displayed: list[object] = []
    monkeypatch.setattr("IPython.display.display", lambda *parts: displayed.extend(parts))
    for name in ("roc-a", "roc-b", "loss"):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{name}.png")
    listed = [{"name": name, "title": name, "caption": f"<{name}>"} for name in ("roc-a", "roc-b", "loss")]
    write_json(tmp_path / "some.json", listed)
    result = StageResult("some", tmp_path, tmp_path, ("some",), lambda: True)

    result.show("loss", "roc-*", "none-*")
    captions = [part.data for part in displayed if hasattr(part, "data") and isinstance(part.data, str)]
    assert [text.strip("</pi>").replace("&lt;", "").replace("&gt;", "") for text in captions] == [
        "loss", "roc-a", "roc-b", "none-*: nothing to draw.",
    ]  # fmt: skip
    displayed.clear()
    result.show()
    assert len(displayed) == 6
    with pytest.raises(KeyError, match="no figure 'lose'; there are: roc-a, roc-b, loss"):
        result.show("lose")


class ThisInterpreter(KernelSpecManager):
    """Kernels of the interpreter that runs the tests, whatever else is installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


def code_of(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def patterns_of(notebook: NotebookNode) -> set[str]:
    """Texts with a `*` in code: patterns of figures."""
    trees = [ast.parse(cell.source) for cell in code_of(notebook)]
    texts = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {text for text in texts if isinstance(text, str) and "*" in text}


def with_parameters(notebook: NotebookNode) -> NotebookNode:
    """A copy with `PARAMETERS` after the cell that has them."""
    found = nbformat.from_dict(notebook)
    place = next(i for i, cell in enumerate(found.cells) if "parameters" in cell.metadata.get("tags", []))
    found.cells = [*found.cells[: place + 1], nbformat.v4.new_code_cell(PARAMETERS), *found.cells[place + 1 :]]
    return found
