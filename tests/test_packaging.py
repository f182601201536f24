"""What is built and handed out: the files of wheel and sdist, versions, bounds and extras."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import PurePosixPath

import pytest
from conftest import ROOT
from lowest_versions import lowest_versions

import ceneurovae

pytestmark = pytest.mark.once

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""
FOLDERS = ("ceneurovae", "tests", "notebooks", ".ci")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"])


def files(folder):
    """Files of the repository under a folder, relative to the repository, but for caches."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}


def build(kind, source, folder):
    """Path of a "wheel" or "sdist" of a source tree, made by its build backend without network."""
    folder.mkdir()
    command = [sys.executable, "-c", BUILD, kind, folder]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """Folder of an unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / "source" / name)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder / "source")
    (folder / "source" / "ceneurovae" / "results.csv").touch()
    (folder / "source" / "tests" / "benchmarks" / "results.json").touch()
    with tarfile.open(build("sdist", folder / "source", folder / "built")) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"ceneurovae-{ceneurovae.__version__}"


@pytest.fixture(scope="module")
def wheel(sdist):
    """A wheel that was built from the source distribution alone, as pip does."""
    source = shutil.copytree(sdist, sdist.parent / "unpacked")
    with zipfile.ZipFile(build("wheel", source, sdist.parent / "wheel")) as archive:
        yield archive


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == files("ceneurovae")
    metadata = set(wheel.namelist()) - found
    assert {PurePosixPath(name).parts[0] for name in metadata} == {
        f"ceneurovae-{ceneurovae.__version__}.dist-info"
    }
    assert {PurePosixPath(name).name for name in metadata} == {
        *("METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt", "top_level.txt")
    }


def test_the_source_distribution_has_what_builds_and_tests_it(sdist):
    found = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    top = {name for name in found if "/" not in name}
    assert top == {
        *("PKG-INFO", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"),
        *("CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", ".pre-commit-config.yaml"),
    }
    notebooks = {name for name in files("notebooks") if ".ipynb_checkpoints" not in name}
    tests = {name for name in files("tests") if name.endswith(".py")} | files("tests/old_runs")
    expected = files("ceneurovae") | tests | notebooks | files(".ci")
    assert {n for n in found - top if not n.startswith("ceneurovae.egg-info/")} == expected


def test_the_version_is_the_same_everywhere(wheel):
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    changed = re.search(r"^## (\d.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    metadata = wheel.read(f"ceneurovae-{ceneurovae.__version__}.dist-info/METADATA").decode()
    built = re.search(r"^Version: (.+)$", metadata, re.MULTILINE)[1]
    assert cited == changed == built == ceneurovae.__version__


def test_every_extra_is_documented_and_every_documented_one_exists():
    readme = (ROOT / "README.md").read_text()
    table = readme.split("\n## Extras\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == EXTRAS


def test_pip_lines_name_extras_that_exist():
    for name in ("README.md", *files("ceneurovae")):
        lines = re.findall(r"(?:ceneurovae|\.)\[([\w,]+)\]'", (ROOT / name).read_text())
        assert {extra for line in lines for extra in line.split(",")} <= EXTRAS, name


def test_every_dependency_has_one_lower_bound():
    lowest = lowest_versions()
    assert {"keras", "tensorflow", "jax", "torch", "pytest"} <= set(lowest)
    assert "ceneurovae" not in lowest


def test_the_workflow_runs_every_python_that_is_declared():
    prefix = "Programming Language :: Python :: "
    declared = [kind.removeprefix(prefix) for kind in PROJECT["classifiers"] if prefix in kind]
    assert PROJECT["requires-python"] == f">={declared[0]}"
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):  # not in a source distribution
        assert f"python: {declared}".replace("'", '"') in path.read_text()
