"""Operations of TensorFlow that ONNX lacks, or that tf2onnx converts so that NaN gets through.

Cholesky factors and linear systems are written out in matrix products by halves: a positive
definite matrix `[[A, B'], [B, D]]` has the factor `[[L, 0], [M, N]]`, where `L` is that of `A`,
`M = B L^-T`, and `N` that of `D - M M'` (Golub & Van Loan, "Matrix computations", section 4.2). The
number of nodes grows with the size of the matrix, which is fixed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def converters() -> dict[str, tuple[Callable[..., None], list[Any]]]:
    """For tf2onnx: TensorFlow operation -> function that replaces it."""
    return {
        "Cholesky": (_cholesky, []),
        "MatrixTriangularSolve": (_triangular_solve, []),
        "MatrixSolve": (_solve, []),
        "Erfc": (_complementary_error, []),
        "SelectV2": (_select, []),
        "ZerosLike": (_zeros_like, []),
    }


def _cholesky(graph: Any, node: Any, name: str, _: Any) -> None:
    matrices = _Matrices(graph, node.input[0])
    _replace(graph, node, matrices.factor(node.input[0])[0])


def _triangular_solve(graph: Any, node: Any, name: str, _: Any) -> None:
    """`lower` says which half counts; `adjoint`, that the transposed system is meant."""
    matrix, right = node.input
    matrices = _Matrices(graph, matrix)
    lower, adjoint = bool(node.get_attr_int("lower")), bool(node.get_attr_int("adjoint"))
    inverse = matrices.inverse(matrix if lower else matrices.transposed(matrix))
    if lower == adjoint:
        inverse = matrices.transposed(inverse)
    _replace(graph, node, matrices.product(inverse, right))


def _solve(graph: Any, node: Any, name: str, _: Any) -> None:
    """The matrices of this package's systems are symmetric and positive definite."""
    matrix, right = node.input
    matrices = _Matrices(graph, matrix)
    inverse = matrices.factor(matrix)[1]
    half = matrices.product(inverse, right)
    _replace(graph, node, matrices.product(matrices.transposed(inverse), half))


def _complementary_error(graph: Any, node: Any, name: str, _: Any) -> None:
    """Of the exact GELU; what is lost where it is small is below the rounding of 1."""
    one = graph.make_const(name + "_one", np.ones((), "float32")).output[0]
    error = graph.make_node("Erf", node.input).output[0]
    _replace(graph, node, graph.make_node("Sub", [one, error]).output[0])


def _select(graph: Any, node: Any, name: str, _: Any) -> None:
    """tf2onnx multiplies by 0 what is not chosen, which leaves NaN."""
    _replace(graph, node, graph.make_node("Where", node.input).output[0])


def _zeros_like(graph: Any, node: Any, name: str, _: Any) -> None:
    """tf2onnx multiplies by 0, which leaves NaN."""
    import tf2onnx

    kind = tf2onnx.utils.map_onnx_to_numpy_type(graph.get_dtype(node.input[0]))
    zero = graph.make_const(name + "_zero", np.zeros(1, kind)).output[0]
    shape = graph.make_node("Shape", [node.input[0]]).output[0]
    _replace(graph, node, graph.make_node("Expand", [zero, shape]).output[0])


def _replace(graph: Any, node: Any, output: str) -> None:
    graph.copy_shape(node.output[0], output)
    graph.copy_dtype(node.output[0], output)
    graph.replace_all_inputs(node.output[0], output)
    graph.remove_node(node.name)


class _Matrices:
    """Nodes for matrices `(..., n, n)`, added to a graph of tf2onnx; each method names its output.

    Args:
        graph: The graph.
        matrix: Name of a matrix, for rank and size.
    """

    def __init__(self, graph: Any, matrix: str) -> None:
        self.graph = graph
        shape, self.dtype = graph.get_shape(matrix), graph.get_dtype(matrix)
        self.rank, self.size = len(shape), shape[-1]

    def _node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        # tf2onnx would work out the shape of each, which takes longer than all else.
        node = self.graph.make_node(
            kind, list(inputs), attr=attributes, dtypes=[self.dtype], infer_shape_dtype=False
        )
        return node.output[0]

    def product(self, left: str, right: str) -> str:
        return self._node("MatMul", left, right)

    def transposed(self, matrix: str) -> str:
        axes = list(range(self.rank))
        return self._node("Transpose", matrix, perm=[*axes[:-2], axes[-1], axes[-2]])

    def _part(self, matrix: str, rows: tuple[int, int], columns: tuple[int, int]) -> str:
        bounds = ([rows[0], columns[0]], [rows[1], columns[1]], [-2, -1])
        constants = self.graph.make_consts(bounds)
        return self._node("Slice", matrix, *(constant.output[0] for constant in constants))

    def _joined(self, first: str, below: str, last: str, above: str) -> str:
        """`[[first, 0], [below, last]]`, where `above` has the shape of that 0."""
        zero = self._node("Sub", above, above)
        rows = (self._node("Concat", *row, axis=-1) for row in ((first, zero), (below, last)))
        return self._node("Concat", *rows, axis=-2)

    def factor(self, matrix: str, size: int | None = None) -> tuple[str, str]:
        """Lower factor of a positive definite matrix, and its inverse."""
        size = self.size if size is None else size
        if size == 1:
            root = self._node("Sqrt", matrix)
            return root, self._node("Reciprocal", root)
        half = size // 2
        above = self._part(matrix, (0, half), (half, size))
        first, first_inverse = self.factor(self._part(matrix, (0, half), (0, half)), half)
        below = self.product(
            self._part(matrix, (half, size), (0, half)), self.transposed(first_inverse)
        )
        left = self._node(
            "Sub",
            self._part(matrix, (half, size), (half, size)),
            self.product(below, self.transposed(below)),
        )
        last, last_inverse = self.factor(left, size - half)
        below_inverse = self._below(first_inverse, below, last_inverse)
        return (
            self._joined(first, below, last, above),
            self._joined(first_inverse, below_inverse, last_inverse, above),
        )

    def _below(self, first_inverse: str, below: str, last_inverse: str) -> str:
        """The lower left part of the inverse of a lower triangular matrix."""
        return self._node("Neg", self.product(self.product(last_inverse, below), first_inverse))

    def inverse(self, matrix: str, size: int | None = None) -> str:
        """Inverse of a lower triangular matrix."""
        size = self.size if size is None else size
        if size == 1:
            return self._node("Reciprocal", matrix)
        half = size // 2
        first = self.inverse(self._part(matrix, (0, half), (0, half)), half)
        last = self.inverse(self._part(matrix, (half, size), (half, size)), size - half)
        below = self._below(first, self._part(matrix, (half, size), (0, half)), last)
        return self._joined(first, below, last, self._part(matrix, (0, half), (half, size)))
