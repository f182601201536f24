"""The notebooks as they are committed; continuous integration runs them."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
MOST_BYTES = 400_000

pytestmark = pytest.mark.once


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_committed_with_outputs_that_read_well(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    printed = "".join("".join(output.get("text", "")) for output in outputs)
    assert "\x1b" not in printed and "/tmp/" not in printed
    assert "".join(code[0]["source"]).startswith("recording = None")
    assert path.stat().st_size < MOST_BYTES


def test_readme_lists_all_notebooks() -> None:
    readme = (FOLDER.parent / "README.md").read_text()
    names = [path.name for path in FOLDER.iterdir() if path.is_file()]
    assert [name for name in names if f"notebooks/{name}" not in readme] == []
