"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import ceneurovae

MODULES = [
    module.name
    for module in pkgutil.walk_packages(ceneurovae.__path__, "ceneurovae.")
    if not module.name.endswith("__main__")
]


@pytest.mark.once
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name.startswith("ceneurovae.ray_"):
        pytest.importorskip("ray", reason="no Ray: pip install '.[ray]'")
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.once
def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [name for name in MODULES if not name.startswith("ceneurovae.ray_")]
    tests = [t for name in modules for t in finder.find(importlib.import_module(name))]
    assert sum(bool(test.examples) for test in tests) >= 8
