"""What only fixed patterns have: a span, a choice. What each kind hides is in test_hiding.py."""

import numpy as np
import pytest

from ceneurovae.model.hidden_patterns import KINDS, hide_pattern

SHAPE = (200, 40, 3)
GROUPS = ("neural", "behavior", "pupil")


@pytest.mark.parametrize("kind", KINDS)
def test_a_pattern_is_a_function_of_its_arguments(kind):
    first, again, other = (hide_pattern(SHAPE, kind, groups=GROUPS, seed=s) for s in (0, 0, 1))
    assert first.shape == SHAPE and first.dtype == bool
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(np.unique(first, axis=0)) > 2


def test_spans_of_a_fixed_length():
    hidden = hide_pattern(SHAPE, "spans", span=15)
    assert (hidden.sum(axis=1) == 15).all()
    edges = np.diff(hidden.astype(int), axis=1)
    assert ((edges != 0).sum(axis=1) <= 2).all()
    start = np.argmax(hidden, axis=1)
    assert ((start[:, 0] != start[:, 1]).mean() > 0.5) and start.min() == 0 and start.max() == 25


def test_an_end_of_a_fixed_length():
    hidden = hide_pattern(SHAPE, "end", span=15)
    assert hidden[:, 25:].all() and not hidden[:, :25].any()


@pytest.mark.parametrize(
    ("kind", "which", "expected"),
    [
        ("channels", 0, [True, False, False]),
        ("channels", np.int64(2), [False, False, True]),
        ("channels", (0, 2), [True, False, True]),
        ("groups", "behavior", [False, True, False]),
        ("groups", ("behavior", "pupil"), [False, True, True]),
    ],
)
def test_a_choice(kind, which, expected):
    hidden = hide_pattern(SHAPE, kind, groups=GROUPS, which=which)
    np.testing.assert_array_equal(hidden, np.broadcast_to(expected, SHAPE))


def test_unknown_kind():
    with pytest.raises(ValueError, match="kind is 'rows', expected one of entries, spans"):
        hide_pattern(SHAPE, "rows")


@pytest.mark.parametrize("span", [0, 40, 1.5])
def test_unusable_span(span):
    with pytest.raises(ValueError, match="have 40 samples. Use a whole number of 1 to 39, so"):
        hide_pattern(SHAPE, "spans", span=span)


@pytest.mark.parametrize("which", [3, (), (0, 1, 2), "neural"])
def test_unusable_choice(which):
    with pytest.raises(ValueError, match="expected one or more of 0, 1, 2, but not all, so"):
        hide_pattern(SHAPE, "channels", which=which)


def test_arguments_of_another_kind():
    with pytest.raises(ValueError, match="'entries' has no span. Leave it out, or use one of sp"):
        hide_pattern(SHAPE, "entries", span=3)
    with pytest.raises(ValueError, match="'end' has no which. Leave it out, or use one of chan"):
        hide_pattern(SHAPE, "end", which=0)


@pytest.mark.parametrize(
    ("shape", "kind", "of_what"),
    [((5, 1, 3), "spans", "sample"), ((5, 1, 3), "end", "sample"), ((5, 4, 1), "channels", "ch")],
)
def test_nothing_would_be_left(shape, kind, of_what):
    with pytest.raises(ValueError, match=f"have 1 {of_what}.* Use windows of at least 2 {of_what}"):
        hide_pattern(shape, kind)
