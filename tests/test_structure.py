"""Which module may import which: the order in which data flows."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import ceneurovae

PACKAGE = Path(ceneurovae.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
NUMPY_ONLY = (
    *("hints", "recording", "readers", "resample", "windows", "short", "splits", "import_data"),
    *("buffers", "shuffling", "config", "simulation", "inspection", "diagnosis", "verification"),
    *("results", "verdict", "comparison"),
    *("labels", "surrogates", "time_folds"),
)
HEAVY = {"keras", "tensorflow", "jax", "torch"}


def imported(path):
    """Top-level packages, and modules of this package, that a file imports at its top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


def packages(path):
    return {name.split(".")[0] for name in imported(path)}


def stage(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports(path):
    if stage(path) in NUMPY_ONLY:
        assert not packages(path) & HEAVY
        assert not imported(path) & {"ceneurovae.model", "ceneurovae.pipeline"}
    if stage(path) == "model":
        assert not packages(path) & {"tensorflow", "jax", "torch", "h5py"}
        own = {name for name in imported(path) if name.startswith("ceneurovae.")}
        assert all(re.match(r"ceneurovae\.(model|config|hints)", name) for name in own), own
    if stage(path) != "pipeline":
        assert "tensorflow" not in packages(path)
    if stage(path) not in ("cli", "__main__"):
        assert not any(re.match(r"ceneurovae\.cli\b", name) for name in imported(path))
    assert not packages(path) & {"jax", "torch"}


def test_no_import_goes_back():
    """Data flows one way: no module needs, at its top level, one that needs it."""
    names = {
        path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in MODULES
    }
    names = {path: name.removesuffix(".__init__") for path, name in names.items()}
    arrows = {}
    for path, name in names.items():
        needed = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                needed |= (inner & set(names.values())) or {node.module}
        arrows[name] = needed & set(names.values()) - {name}
    assert sum(map(len, arrows.values())) > 300
    graphlib.TopologicalSorter(arrows).prepare()  # raises CycleError


def test_no_model_code_asks_for_the_backend():
    for path in PACKAGE.rglob("model/*.py"):
        assert not re.search(r"\bbackend\(", path.read_text()), path


def test_every_public_name_is_there():
    for name in ceneurovae.__all__:
        assert getattr(ceneurovae, name) is not None
    assert set(ceneurovae.__all__) <= set(dir(ceneurovae))
    # A module that was imported would take the place of what has its name.
    assert not set(ceneurovae.__all__) & {stage(path) for path in MODULES}
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ceneurovae.nothing
