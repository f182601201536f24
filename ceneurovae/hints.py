"""The types that signatures share; shapes and units are in the docstrings."""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy.typing as npt

# A NumPy array of any shape and type.
Array: TypeAlias = npt.NDArray[Any]
# A tensor of the backend that Keras runs on, or a NumPy array.
Tensor: TypeAlias = Any
# Sizes of axes, `None` where one is not fixed.
Shape: TypeAlias = tuple[Any, ...]
# What `fit` takes: a `tf.data.Dataset`, an array, a pair `(x, mask)`, or an iterable of batches.
Data: TypeAlias = Any
# Arguments, settings and results of JSON types, by name.
JSON: TypeAlias = dict[str, Any]
PathLike: TypeAlias = str | os.PathLike[str]
# Files, folders and patterns, one or several.
Paths: TypeAlias = PathLike | Sequence[PathLike]
