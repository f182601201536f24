"""Every public name is documented, and the reference that is made of it builds without warnings."""

import ast
import importlib.util
import inspect
import re
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

import ceneurovae
from ceneurovae import model, readers, report

SCRIPT = Path(__file__).parent.parent / ".ci" / "reference"
HOMES = (ceneurovae, model, readers, report)
PUBLIC = {f"{home.__name__}.{name}": (home, name) for home in HOMES for name in home.__all__}


def documented(docstring):
    """The arguments that a docstring explains, `a, b: As for ...` among them."""
    part = re.search(r"^ *Args:\n(.*?)(\n\n *[A-Z]|\Z)", docstring, re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^ +((?:\**\w+(?:, *\s*)?)+):", part[1], re.MULTILINE) if part else ()
    return {name.strip(" *\n") for line in lines for name in line.split(",")}


def parameters(function):
    """The arguments that a caller may give, without those that are handed on to Keras."""
    found = inspect.signature(function).parameters
    return set(found) - {"self", "cls", "kwargs", "args"}


def own_methods(of_class):
    """Public methods that the package adds to what Keras and Python have, properties among them."""
    bases = [base for base in of_class.__mro__ if not base.__module__.startswith("ceneurovae")]
    for name, value in vars(of_class).items():
        value = getattr(value, "__func__", value)
        new = not any(hasattr(base, name) for base in bases)
        if not name.startswith("_") and new and (callable(value) or isinstance(value, property)):
            yield name, value


@pytest.mark.once
@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_and_their_arguments_are_documented(name):
    home, attribute = PUBLIC[name]
    found = getattr(home, attribute)
    text = inspect.getdoc(found)
    assert text
    assert not parameters(found) - documented(text)
    for method, function in own_methods(found) if inspect.isclass(found) else ():
        text = inspect.getdoc(function)
        assert text, method
        if not isinstance(function, property):
            missing = parameters(function) - documented(text)
            assert not missing, (method, missing)


@pytest.mark.once
def test_type_checkers_see_the_public_names():
    tree = ast.parse(Path(ceneurovae.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (f"ceneurovae.{home}", name) for home, names in ceneurovae._HOMES.items() for name in names
    }
    assert {(node.module, alias.asname) for node in block.body for alias in node.names} == seen


@pytest.mark.once
def test_the_reference_is_built_without_a_warning(tmp_path):
    pytest.importorskip("pdoc", reason="pdoc is not installed")
    loader = SourceFileLoader("reference", str(SCRIPT))
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader("reference", loader))
    loader.exec_module(script)
    script.main(tmp_path / "reference")
    page = (tmp_path / "reference" / "ceneurovae.html").read_text()
    assert all(f'id="{name}"' in page for name in ceneurovae.__all__)
