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


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [t for name in MODULES for t in finder.find(importlib.import_module(name))]
    assert sum(bool(test.examples) for test in tests) >= 8
