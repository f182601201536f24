"""Whether a run kept its test data apart, counted again from its files; needs no Keras."""

import numpy as np

from ceneurovae.hints import JSON, Array, PathLike
from ceneurovae.import_data import reread_splits
from ceneurovae.run_folder import RunFolder
from ceneurovae.splits import Splits
from ceneurovae.windows import Windows

ODD = np.uint64(0x9E3779B97F4A7C15)  # 2 ** 64 over the golden ratio, to spread bits


def verify_run(path: PathLike) -> JSON:
    """Reads the files of a run again and counts what its splits share.

    Args:
        path: Run folder.

    Returns:
        Dictionary of JSON types: `path`; `train`, `valid` and `test`, each with `windows`,
        `samples` and `recordings` (names); `shared_samples`, that are in windows of two splits;
        `crossing_windows`, that cross an interruption; and `repeated_windows`, those for
        validation and test whose values, not all alike, are also somewhere in the training data,
        as where a recording was given twice under two names (`None` where the data is larger than
        memory).

    Raises:
        FileNotFoundError, ValueError: if the run or its files are not what they were.
    """
    splits = reread_splits(RunFolder(path).manifest)
    report: JSON = {"path": str(path)}
    for name, windows in splits._asdict().items():
        spans = [windows.covered(index) for index in range(len(windows.recordings))]
        report[name] = {
            "windows": len(windows),
            "samples": int(sum(np.diff(span, axis=1).sum() for span in spans)),
            "recordings": [
                recording.name
                for recording, span in zip(windows.recordings, spans, strict=True)
                if len(span)
            ],
        }
    return report | {
        "shared_samples": sum(splits.shared_samples()),
        "crossing_windows": sum(map(_crossing, splits)),
        "repeated_windows": _repeated(splits),
    }


def leak_in(report: JSON) -> str | None:
    """What is wrong with the splits of `verify_run`, as a sentence, or `None`."""
    if report["shared_samples"]:
        return f"{report['shared_samples']} samples are in windows of two splits"
    if report["crossing_windows"]:
        return f"{report['crossing_windows']} windows cross an interruption"
    if report["repeated_windows"]:
        return (
            f"{report['repeated_windows']} windows for validation and test hold the same values "
            "as the training data: a recording may have been given twice"
        )
    return None


def _crossing(windows: Windows) -> int:
    """Number of windows that begin in one stretch and end in another."""
    recording, start = windows.locate()
    crossing = 0
    for index in np.unique(recording):
        breaks = np.asarray(windows.recordings[index].breaks)
        first = start[recording == index]
        last = first + windows.seq_len - 1
        crossing += int(
            (
                np.searchsorted(breaks, first, "right") != np.searchsorted(breaks, last, "right")
            ).sum()
        )
    return crossing


def _repeated(splits: Splits) -> int | None:
    """Number of windows of `valid` and `test` with the values of a stretch of training data."""
    if not splits.train.in_memory:
        return None
    seen = [
        window_hashes(recording.values[first:last], splits.train.seq_len)
        for index, recording in enumerate(splits.train.recordings)
        for first, last in splits.train.covered(index)
    ]
    seen = np.unique(np.concatenate([hashes[varied] for hashes, varied in seen]))
    count = 0
    for windows in (splits.valid, splits.test):
        recording, start = windows.locate()
        for index in np.unique(recording):
            hashes, varied = window_hashes(windows.recordings[index].values, windows.seq_len)
            chosen = start[recording == index]
            chosen = chosen[varied[chosen]]
            count += int(np.isin(hashes[chosen], seen).sum())
    return count


def window_hashes(values: Array, seq_len: int) -> tuple[Array, Array]:
    """A number for every window of `values` `(T, C)`, and whether its samples are not all alike.

    A polynomial of the samples' own hashes modulo 2 ** 64, from running sums (Karp & Rabin,
    "Efficient randomized pattern-matching algorithms", 1987): two windows with the same number
    hold the same values, but for an accident of one in 2 ** 64.

    Returns:
        Two arrays `(T - seq_len + 1,)`: uint64 and bool.
    """
    bits = np.where(np.isnan(values), np.float32(np.nan), values).view("uint32").astype("uint64")
    with np.errstate(over="ignore"):
        weights = ODD ** np.arange(1, values.shape[1] + 1, dtype="uint64")
        sample = _mixed((_mixed(bits) * weights).sum(axis=1, dtype="uint64"))
        powers = np.cumprod(np.full(len(values), ODD, dtype="uint64"))
        inverse = np.uint64(pow(int(ODD), -1, 1 << 64))
        unshift = np.cumprod(np.full(len(values), inverse, dtype="uint64"))
        total = np.concatenate([np.zeros(1, "uint64"), np.cumsum(sample * powers)])
        hashes = (total[seq_len:] - total[:-seq_len]) * unshift[: len(values) - seq_len + 1]
    changes = np.concatenate([[0], np.cumsum(sample[1:] != sample[:-1])])
    varied = changes[seq_len - 1 :] > changes[: len(values) - seq_len + 1]
    return hashes, varied


def _mixed(numbers: Array) -> Array:
    """Numbers with their bits spread, so that sums of them say more (xorshift and multiply)."""
    numbers = (numbers ^ (numbers >> np.uint64(29))) * ODD
    return numbers ^ (numbers >> np.uint64(32))
