"""First commands for files that were inspected, tried on their shapes: `train`, then `evaluate`."""

import glob
import math
import shlex
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ceneurovae.diagnosis import SHORTEST_WINDOW
from ceneurovae.hints import JSON, PathLike
from ceneurovae.import_data import DEFAULT_SEQ_LEN
from ceneurovae.labels import WIDEST
from ceneurovae.readers.options import ReadOptions
from ceneurovae.readers.stored import StoredValues
from ceneurovae.recording import Recording, window_fields
from ceneurovae.resample import HALF_LENGTH, LARGEST_FACTOR
from ceneurovae.run_folder import is_run
from ceneurovae.splits import split_datasets

LATENT_DIM = 8
# As `ceneurovae train` has them by default.
FRACTIONS: JSON = {"valid_fraction": 0.12, "test_fraction": 0.2}
# More windows than this in an epoch are near copies of each other: take every so many.
MOST_WINDOWS = 50_000
# Channels that are listed by name; of more, a pattern is given.
MOST_LISTED = 24
IN_MEMORY = 1_000_000
# Labels to decode that are suggested, and windows that it takes where the file holds windows.
MOST_LABELS, LEAST_TRIALS = 8, 30
NULL_REFITS = 3


class Suggestion(NamedTuple):
    """Lines for a shell: one that trains, and one that says what the run has learned, if any."""

    train: str
    evaluate: str | None


def suggest_commands(
    paths: Sequence[PathLike], inspected: Sequence[JSON], seq_len: int | None = None
) -> Suggestion | None:
    """Commands that train on files as they are, and check what was learned.

    The channels are those of the layout, else `behavior`, `neural`, or the first table that all
    recordings have; the windows are short enough for training, validation and test. Then labels
    are decoded that stand beside these channels, or there is a null control if there are none.

    Args:
        paths: Files, folders or patterns to give to the command.
        inspected: What `inspect_file` says of each file that they stand for.
        seq_len: Length of the windows, in samples; by default one that fits.

    Returns:
        `Suggestion`, or `None` where no command can be vouched for, as where the axes of a file
        seem swapped.
    """
    pairs = [(file, recording) for file in inspected for recording in file["recordings"]]
    if not pairs or any(w["code"] == "transposed-axes" for _, r in pairs for w in r["warnings"]):
        return None
    if any(file["reading"] != inspected[0]["reading"] for file in inspected):
        return None
    for request, blocks in _choices(pairs):
        arguments = _arguments(request, blocks, [r for _, r in pairs], seq_len)
        if arguments is not None:
            files = [f"./{path}" if str(path).startswith("-") else str(path) for path in paths]
            arguments += _flags(inspected[0]["reading"])
            out = _free_folder(paths)
            arguments += ["--latent-dim", LATENT_DIM, "--out", out]
            checks = _checks(pairs, blocks)
            return Suggestion(
                _line("train", *files, *arguments),
                _line("evaluate", out, *checks) if checks else None,
            )
    return None


def _line(*words: Any) -> str:
    return shlex.join(map(str, ["ceneurovae", *words]))


def _checks(pairs: Sequence[tuple[JSON, JSON]], chosen: Sequence[Sequence[JSON]]) -> list[Any]:
    """Arguments of `ceneurovae evaluate` for a run on the chosen blocks of each recording."""
    labels = _labels([recording for _, recording in pairs])
    # Where windows are sorted, neighbours are alike, and R2 among them says nothing.
    if not any(w["code"] == "sorted-labels" for _, r in pairs for w in r["warnings"]):
        labels += _behaviour(pairs, chosen)
    trials = sum(own[0]["shape"][0] for own in chosen if own[0]["window_len"])
    if labels and not 0 < trials < LEAST_TRIALS:
        return ["--decode", *labels[:MOST_LABELS]]
    channels = {channel["name"] for own in chosen for block in own for channel in block["channels"]}
    return ["--null", NULL_REFITS] if len(channels) > 1 else []


def _labels(recordings: Sequence[JSON]) -> list[str]:
    """Labels of recordings or windows of which several have the same value, but not in a row."""
    found = []
    for name in [label["name"] for label in recordings[0]["labels"]]:
        rows = [label for r in recordings for label in r["labels"] if label["name"] == name]
        messages = [w["message"] for r in recordings for w in r["warnings"]]
        in_a_row = any(f"sorted by '{name}'" in message for message in messages)
        distinct = max(len({row["first"] for row in rows}), *(row["distinct"] for row in rows))
        several = 1 < distinct < sum(row["values"] for row in rows)
        if name != "split" and len(rows) == len(recordings) and several and not in_a_row:
            found.append(name)
    return [name for name in found if _can_be_typed(name)]


def _behaviour(pairs: Sequence[tuple[JSON, JSON]], chosen: Sequence[Sequence[JSON]]) -> list[str]:
    """Narrow blocks of all recordings that were sampled with the chosen ones; behaviour first."""
    taken = {block["name"] for own in chosen for block in own}
    names = [block["name"] for block in pairs[0][1]["blocks"] if block["name"] not in taken]
    behaviour = pairs[0][0]["short_names"].get("behavior", ())
    found = []
    for name in sorted(names, key=lambda name: name not in behaviour):
        blocks = [_blocks(recording, [name]) for _, recording in pairs]
        alike = all(
            own and _sampling(own[0], recording) == _sampling(main[0], recording)
            for own, main, (_, recording) in zip(blocks, chosen, pairs, strict=True)
        )
        if not alike or any(label["name"] == name for label in pairs[0][1]["labels"]):
            continue
        channels = [channel["name"] for channel in blocks[0][0]["channels"]]
        good = [channel for channel in channels if channel not in _without_a_course(pairs)]
        if len(channels) <= WIDEST:
            found += [name] if good == channels else good
    return [name for name in found if _can_be_typed(name)]


def _sampling(block: JSON, recording: JSON) -> tuple[Any, ...]:
    return block["samples"], block["window_len"], block["rate_hz"] or recording["rate_hz"]


def _without_a_course(pairs: Sequence[tuple[JSON, JSON]]) -> set[str]:
    """Names of channels that are constant, infinite or missing throughout in a recording."""
    bad = ("constant-channel", "infinite", "all-missing")
    warned = [w for _, recording in pairs for w in recording["warnings"] if w["code"] in bad]
    return {channel for warning in warned for channel in warning["channels"]}


def _can_be_typed(name: str) -> bool:
    """Whether a name can be given to `--decode`, which splits at commas and knows options."""
    return "," not in name and not name.startswith("-")


def _choices(pairs: Sequence[tuple[JSON, JSON]]) -> Iterator[tuple[str | None, list[list[JSON]]]]:
    """What `--channels` may be, best first, and the blocks of each recording that it means.

    `None` stands for the default of the layout.
    """
    if all(recording["default"] is not None for _, recording in pairs):
        yield None, [_blocks(recording, recording["default"]) for _, recording in pairs]
        return
    common = set.intersection(*(set(file["short_names"]) for file, _ in pairs))
    for name in sorted(common, key=lambda name: (name != "behavior", name != "neural", name)):
        yield name, [_blocks(recording, file["short_names"][name]) for file, recording in pairs]
    cautioned = {w["block"] for _, r in pairs for w in r["warnings"] if w["code"] == "leakage"}
    for block in sorted(pairs[0][1]["blocks"], key=lambda block: -len(block["shape"])):
        found = [_blocks(recording, [block["name"]]) for _, recording in pairs]
        if all(found) and block["name"] not in cautioned:
            yield block["name"], found


def _blocks(recording: JSON, names: Collection[str]) -> list[JSON]:
    return [block for block in recording["blocks"] if block["name"] in names]


def _arguments(
    request: str | None,
    blocks: Sequence[Sequence[JSON]],
    recordings: Sequence[JSON],
    seq_len: int | None,
) -> list[Any] | None:
    """Arguments for channels, alignment, rate and splits, or `None` if a choice does not work."""
    if any(len({(b["samples"], b["window_len"]) for b in own}) != 1 for own in blocks):
        return None
    rates = [_rate(own) for own in blocks]
    if False in rates:
        return None
    bad = _unusable(blocks, recordings)
    chosen = [{c["name"] for b in own for c in b["channels"]} - bad for own in blocks]
    common = set.intersection(*chosen)
    requests = _requests(request, blocks, bad, recordings)
    if not all(chosen) or requests is None or any("," in name for name in requests):
        return None
    arguments = ["--channels", ",".join(requests)] if requests else []
    if any(names != common for names in chosen):
        arguments += ["--align", "intersection" if common else "union"]
    known = [rate for rate in rates if rate]
    resample_hz = None
    if known and max(known) > 1.01 * min(known):
        if len(known) < len(rates):
            return None
        resample_hz = f"{min(known):.6g}"
        arguments += ["--resample-hz", resample_hz]
    outlines = [
        _outline(recording, own[0], rate, resample_hz)
        for recording, own, rate in zip(recordings, blocks, rates, strict=True)
    ]
    splitting = _splitting(outlines, seq_len)
    return None if splitting is None else arguments + splitting


def _rate(blocks: Sequence[JSON]) -> float | None:
    """The rate that blocks have in common, `None` if unknown, `False` if they differ."""
    rates = [block["rate_hz"] for block in blocks if block["rate_hz"]]
    if rates and max(rates) > 1.01 * min(rates):
        return False
    return rates[0] if rates else None


def _unusable(blocks: Sequence[Sequence[JSON]], recordings: Sequence[JSON]) -> set[str]:
    """Names of channels that are missing in all recordings, or infinite in one."""
    channels = [c for own in blocks for block in own for c in block["channels"]]
    seen = {c["name"] for c in channels if c["missing"] < 1}
    infinite = {
        channel
        for recording in recordings
        for warning in recording["warnings"]
        if warning["code"] == "infinite"
        for channel in warning["channels"]
    }
    return {c["name"] for c in channels} - (seen - infinite)


def _requests(
    request: str | None, blocks: Sequence[Sequence[JSON]], bad: set[str], recordings: Sequence[JSON]
) -> list[str] | None:
    """Names for `--channels`; none where the default will do, `None` if no names say it."""
    bad_here = bad & {c["name"] for own in blocks for block in own for c in block["channels"]}
    if not bad_here:
        return [] if request is None else [request]
    names: dict[str, dict[str, int]] = {}
    for own in blocks:
        for block in own:
            names.setdefault(block["name"], {}).update((c["name"], 0) for c in block["channels"])
    infinite = any(w["code"] == "infinite" for r in recordings for w in r["warnings"])
    if request is not None and request not in names and not infinite:
        return [request]  # the reader leaves out what is missing throughout
    found = []
    for block, channels in names.items():
        good = [channel for channel in channels if channel not in bad]
        if len(good) == len(channels):
            found.append(block)
        elif len(good) <= MOST_LISTED or infinite:
            found += good
        else:
            found.append(f"{glob.escape(block)}/*")
    return found or None


def _outline(
    recording: JSON, block: JSON, rate_hz: float | None, resample_hz: str | None
) -> Recording:
    """A recording without its values: as long, and interrupted at the same samples."""
    ratio, reach = Fraction(1), 0
    if resample_hz is not None and rate_hz:
        ratio = Fraction(float(resample_hz) / rate_hz).limit_denominator(LARGEST_FACTOR)
        reach = 0 if ratio == 1 else math.ceil(HALF_LENGTH * max(Fraction(1), ratio))
    fields: JSON = {"labels": {label["name"]: label["first"] for label in recording["labels"]}}
    if block["window_len"]:
        steps = int(-(-block["window_len"] * ratio // 1))
        samples = block["shape"][0] * steps
        fields |= window_fields(block["shape"][0], steps)
    else:
        edges = np.diff([0, *recording["breaks"], block["samples"]])
        lengths = [int(-(-int(length) * ratio // 1)) for length in edges]
        samples = sum(lengths)
        fields["breaks"] = np.cumsum(lengths)[:-1]
    shape = (samples, 1)
    small = samples <= IN_MEMORY
    values = np.zeros(shape, "float32") if small else _unread(recording["name"], shape)
    return Recording(recording["name"], values, ("any",), reach=reach, **fields)


def _unread(name: str, shape: tuple[int, int]) -> StoredValues:
    return StoredValues(Path(), ReadOptions(), name, ("any",), shape)


def _splitting(outlines: Sequence[Recording], seq_len: int | None) -> list[Any] | None:
    """Arguments of the first way to split that works, or `None`."""
    for length, options in _ways(outlines, seq_len):
        window: Any = length or outlines[0].window_len
        try:
            splits = split_datasets(outlines, window, **options, **FRACTIONS)
        except ValueError:
            continue
        found = [] if length is None else ["--seq-len", length]
        for name, value in options.items():
            found += [f"--{name}", value]
        own = all(outline.window_len == window for outline in outlines)
        if len(splits.train) > MOST_WINDOWS and not own:
            stride = min(window, -(-len(splits.train) // MOST_WINDOWS))
            found += ["--stride", stride]
        # Of a file that is split into two: what is left to score it on must not be trained on.
        return found if len(splits.test) else [*found, "--no-refit"]
    return None


def _ways(outlines: Sequence[Recording], seq_len: int | None) -> Iterator[tuple[int | None, JSON]]:
    """Lengths of windows, `None` for that of the file, and options, from best to last resort."""
    if all(outline.window_len for outline in outlines) and seq_len is None:
        steps = {outline.window_len for outline in outlines if outline.window_len}
        own = None if len(steps) == 1 else min(steps)
        yield own, {}
        yield own, {"by": "recording"}
        yield own, {"gap": 0}
        yield max(1, min(steps) // 2), {"gap": 0}
        yield max(1, min(steps) // 8), {}
        return
    shortest = min(len(outline.values) for outline in outlines)
    stretches = sorted(int(np.diff(outline.stretches).max()) for outline in outlines)
    # Half of the time for validation, so that it holds more than one window.
    fitting = min(DEFAULT_SEQ_LEN, int(shortest * FRACTIONS["valid_fraction"] / 2), stretches[0])
    usual = max(SHORTEST_WINDOW, min(DEFAULT_SEQ_LEN, stretches[len(stretches) // 2]))
    lengths = (
        [seq_len]
        if seq_len
        else [n for n in (fitting, shortest // 8, fitting // 2) if n >= SHORTEST_WINDOW]
    )
    for length in lengths:
        yield length, {}
    for length in [seq_len] if seq_len else [usual]:
        if stretches[0] >= length:
            yield length, {"by": "recording"}
        yield length, {"by": "recording", "short": "pad"}
    for length in dict.fromkeys((shortest // 8, shortest // 5, shortest // 16)):
        if length > 1 and not seq_len:
            yield length, {}


def _flags(reading: JSON) -> list[Any]:
    """Options of the reading, as they stand on the command line."""
    flags = []
    for name, value in reading.items():
        flag = "--" + name.replace("_", "-")
        flags += [flag] if value is True else [flag, value]
    return flags


def _free_folder(paths: Sequence[PathLike]) -> Path:
    """A folder for the run, named after the file or the folder of several, that holds no run."""
    path = Path(paths[0])
    if len(paths) > 1 or glob.has_magic(str(path)):
        path = next((p for p in path.parents if not glob.has_magic(str(p))), Path())
    name = path.stem if path.suffix and not path.is_dir() else path.name
    name = name or "run"
    for number in range(1, 1000):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not is_run(folder) and not folder.is_file():
            return folder
    return Path("runs") / name
