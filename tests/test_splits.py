"""No sample in two splits, no window across an interruption: whatever is asked for."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ceneurovae import split_datasets
from ceneurovae.recording import Recording, as_recordings, window_fields
from ceneurovae.splits import Splits
from ceneurovae.windows import Windows, all_windows


def recording(samples, breaks=(), name="r", channels=("a",)):
    """A recording whose values are the sample numbers."""
    values = np.tile(np.arange(samples)[:, None], (1, len(channels)))
    return Recording(name, values, channels, breaks=breaks)


@st.composite
def recordings(draw):
    """Recordings with interruptions, or out of windows; labelled as a whole or by stretch."""
    made = []
    for index in range(draw(st.integers(1, 4))):
        samples = draw(st.integers(20, 400))
        breaks = draw(st.sets(st.integers(1, max(1, samples - 1)), max_size=4))
        fields = {"breaks": sorted(b for b in breaks if b < samples)}
        if draw(st.booleans()):
            steps = draw(st.integers(5, 40))
            fields = window_fields(samples // steps or 1, steps)
            samples = steps * (samples // steps or 1)
        stretches = len(fields["breaks"]) + 1
        animals = draw(st.lists(st.sampled_from("xyz"), min_size=stretches, max_size=stretches))
        labels = {"animal": np.array(animals) if draw(st.booleans()) else animals[0]}
        values = np.arange(samples)[:, None]
        made.append(Recording(f"r{index}", values, ("a",), labels=labels, **fields))
    return made


@settings(max_examples=120, deadline=None)
@given(
    recordings=recordings(),
    seq_len=st.integers(1, 30),
    stride=st.integers(1, 70),
    valid_fraction=st.floats(0, 0.4),
    test_fraction=st.floats(0, 0.4),
    gap=st.none() | st.integers(0, 50),
    by=st.sampled_from(["time", "recording", "animal"]),
    short=st.sampled_from(["error", "drop", "pad"]),
    seed=st.integers(0, 3),
)
@pytest.mark.filterwarnings("ignore:.*recordings are shorter than")
def test_no_sample_is_in_two_splits(
    recordings, seq_len, stride, valid_fraction, test_fraction, gap, by, short, seed
):
    try:
        splits = split_datasets(
            recordings, seq_len, stride, valid_fraction, test_fraction, gap, by, seed, short
        )
    except ValueError:
        assume(False)
    made = splits.train.recordings
    samples, groups = [set(), set(), set()], [set(), set(), set()]
    for part, windows in enumerate(splits):
        for index, start in zip(windows.recording, windows.start, strict=True):
            inside = range(start, start + seq_len)
            assert not set(made[index].breaks) & set(inside[1:])
            assert 0 <= start <= len(made[index].values) - seq_len
            samples[part] |= {(index, t) for t in inside}
            labels = np.atleast_1d(made[index].labels["animal"])
            stretch = np.searchsorted(made[index].breaks, start, side="right")
            groups[part].add(labels[stretch if len(labels) > 1 else 0])
        covered = {
            (index, t)
            for index in range(len(made))
            for first, last in windows.covered(index)
            for t in range(first, last)
        }
        assert covered == samples[part]
    assert not sum(splits.shared_samples())
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not samples[first] & samples[second]
        if by == "animal":
            assert not groups[first] & groups[second]
        if by == "time":
            least = seq_len if gap is None else gap
            for index in range(len(made)):
                earlier = [t for i, t in samples[first] if i == index]
                later = [t for i, t in samples[second] if i == index]
                if earlier and later:
                    assert min(later) - max(earlier) > least
    again = Splits.from_manifest(splits.manifest(), made)
    for windows, same in zip(splits, again, strict=True):
        np.testing.assert_array_equal(windows.recording, same.recording)
        np.testing.assert_array_equal(windows.start, same.start)


def test_a_leak_would_be_noticed():
    data = [recording(100)]
    train = Windows.from_runs(data, 10, [np.array([[0, 50, 1]])])
    other = Windows.from_runs(data, 10, [np.array([[58, 1, 1]])])
    empty = Windows.from_runs(data, 10, [np.zeros((0, 3))])
    with pytest.raises(RuntimeError, match="1 samples of recording 'r' are in two splits"):
        Splits(train, other, empty).verified()


def test_blocks_are_at_the_end_of_the_time():
    splits = split_datasets([recording(1000)], 50, valid_fraction=0.12, test_fraction=0.2)
    ranges = [(part.start.min(), part.start.max() + 50) for part in splits]
    assert ranges == [(0, 580), (630, 750), (800, 1000)]


def test_whole_recordings_can_be_held_out():
    data = [recording(50, name=f"r{i}") for i in range(10)]
    splits = split_datasets(data, 20, valid_fraction=0.2, test_fraction=0.3, by="recording", seed=0)
    drawn = [set(part.recording) for part in splits]
    assert [len(part) for part in drawn] == [5, 2, 3]
    assert set.union(*drawn) == set(range(10))
    other = split_datasets(data, 20, valid_fraction=0.2, by="recording", seed=1)
    assert set(other.valid.recording) != drawn[1]


def labelled(*animals):
    return [
        Recording(f"r{i}", np.arange(50)[:, None], ("a",), labels={"animal": animal})
        for i, animal in enumerate(animals)
    ]


def test_groups_stay_together():
    data = labelled("a", "b", "a", "c", "d", "b", "a")
    splits = split_datasets(data, 10, valid_fraction=0.25, test_fraction=0.25, by="animal", seed=1)
    homes = [{data[i].labels["animal"] for i in part.recording} for part in splits]
    assert [len(home) for home in homes] == [2, 1, 1]
    assert set.union(*homes) == set("abcd")
    groups = {r.name: r.labels["animal"] for r in data}
    same = split_datasets(data, 10, valid_fraction=0.25, test_fraction=0.25, by=groups, seed=1)
    np.testing.assert_array_equal(same.test.recording, splits.test.recording)
    other = split_datasets(data, 10, valid_fraction=0.25, by="animal", seed=2)
    assert {data[i].labels["animal"] for i in other.valid.recording} != homes[1]


def test_windows_can_be_split_by_their_label():
    labels = {"direction": np.array(list("abcabcabc"))}
    data = Recording.from_windows("w", np.arange(90).reshape(9, 10, 1), ("a",), labels=labels)
    splits = split_datasets(data, 10, valid_fraction=0.3, by="direction")
    assert len(splits.train) == 6 and len(splits.valid) == 3
    assert len(set(splits.valid.start // 10 % 3)) == 1


def test_the_split_of_a_file_is_kept_unless_another_is_asked_for():
    data = [
        Recording(name, np.arange(200)[:, None], ("a",), labels={"split": name})
        for name in ("train", "valid")
    ]
    splits = split_datasets(data, 10, test_fraction=0.2)
    assert set(splits.train.recording) == {0} and set(splits.valid.recording) == {1}
    assert not len(splits.test)
    assert set(split_datasets(data, 10, by="time").train.recording) == {0, 1}
    data[0].labels["split"] = "training"
    with pytest.raises(ValueError, match="names a split 'training', expected one of"):
        split_datasets(data, 10)


def test_errors_about_groups():
    with pytest.raises(ValueError, match="2 groups are too few to draw 1 for validation and 1 for"):
        split_datasets(labelled("a", "b"), 10, test_fraction=0.2, by="animal")
    with pytest.raises(ValueError, match="by has no group for recording 'r1'"):
        split_datasets(labelled("a", "b"), 10, by={"r0": "a"})
    data = Recording("r", np.zeros((50, 1)), ("a",), labels={"day": np.array([1, 2])})
    with pytest.raises(ValueError, match="'r' has 2 labels 'day' for 1 windows"):
        split_datasets(data, 10, by="day")


def test_windows_hold_the_samples_they_say():
    windows = all_windows([recording(10, breaks=[6])], 4, stride=2)
    assert windows.gather()[..., 0].tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [6, 7, 8, 9]]
    assert windows.gather([2])[0, :, 0].tolist() == [6, 7, 8, 9]


def test_windows_in_a_file_stay_whole():
    values = np.arange(20 * 5).reshape(20, 5, 1)
    splits = split_datasets(values, seq_len=5, valid_fraction=0.2, gap=0)
    assert len(splits.train) == 16 and len(splits.valid) == 4
    np.testing.assert_array_equal(splits.valid.gather(), values[16:])


def test_arrays_are_recordings():
    made = as_recordings([np.zeros((30, 2)), np.zeros((3, 10, 2))])
    assert [len(r.values) for r in made] == [30, 30]
    assert list(made[1].breaks) == [10, 20]
    with pytest.raises(ValueError, match=r"shape \(3,\), expected a recording \(T, C\)"):
        as_recordings(np.zeros(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seq_len": 200}, "'r' has 100 samples but the window is 200. Shorten seq_len"),
        ({"seq_len": 60}, "too few for blocks .* windows of 60 and gaps of 60. Shorten seq_len"),
        ({"seq_len": 2.5}, "seq_len is 2.5, expected a whole number of at least 1"),
        ({"stride": 0}, "stride is 0, expected a whole number of at least 1"),
        ({"gap": -1}, "gap is -1, expected a whole number of at least 0"),
        ({"valid_fraction": 1.5}, r"valid_fraction is 1.5, expected a number in \[0, 1\)"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        (
            {"by": "animal"},
            "by is 'animal', but recording 'r' has no such label. Known are time, rec",
        ),
        ({"by": "recording"}, "1 recordings are too few to draw 1 for validation"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_datasets([recording(100)], **{"seq_len": 10, **arguments})


def test_errors_about_recordings():
    with pytest.raises(ValueError, match="There is no recording to split"):
        split_datasets([], 10)
    with pytest.raises(ValueError, match="Several recordings are named 'r'"):
        split_datasets([recording(100), recording(100)], 10)
    with pytest.raises(ValueError, match="'r' and 's' have different channels .*'b' is not in"):
        split_datasets([recording(100), recording(100, name="s", channels=("a", "b"))], 10)
    with pytest.raises(ValueError, match="40 samples without an interruption but the window is 50"):
        split_datasets([recording(80, breaks=[40])], 50)
    with pytest.raises(ValueError, match="No window of 30 samples fits into the valid split"):
        split_datasets([recording(200, breaks=[185])], 30, gap=0)


def test_recordings_are_checked():
    with pytest.raises(ValueError, match="'r', channel 'b' is infinite in 2 samples, the first at"):
        values = np.zeros((10, 2))
        values[[4, 7], 1] = np.inf
        Recording("r", values, ("a", "b"))
    with pytest.raises(ValueError, match="is infinite in 1 samples"):
        Recording("r", np.array([[1e300]]), ("a",))  # too large for float32
    with pytest.raises(ValueError, match=r"breaks \[0\], expected ascending samples between 1"):
        recording(10, breaks=[0])
    with pytest.raises(ValueError, match=r"shape \(10,\), expected \(T, C\) with C = 1"):
        Recording("r", np.zeros(10), ("a",))


def test_joined_windows_are_those_before_the_test_data():
    splits = split_datasets(np.zeros((1000, 2)), seq_len=50, test_fraction=0.2)
    joined = splits.joined()
    # Train ends at 630 and validation begins at 680: the windows of the gap come back.
    np.testing.assert_array_equal(np.sort(joined.start), np.arange(0, 750 - 50 + 1))
    assert len(joined) > len(splits.train) + len(splits.valid)


def test_joined_windows_share_nothing_with_test_data_between_them():
    values = [np.full((100, 1), i, "float32") for i in range(10)]
    splits = split_datasets(values, seq_len=20, test_fraction=0.2, by="recording")
    joined = splits.joined()
    assert len(joined) == len(splits.train) + len(splits.valid)
    assert not set(joined.recording) & set(splits.test.recording)
    windows = np.zeros((30, 20, 1), "float32")  # each window a stretch: no gap between them
    splits = split_datasets(windows, seq_len=20, test_fraction=0.2, gap=0)
    assert len(splits.joined()) == 24  # also the one that the edge of validation cut
