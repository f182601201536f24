"""What is in a file and what is wrong with it, as plain numbers; needs no Keras."""

import dataclasses

import numpy as np

from ceneurovae import diagnosis
from ceneurovae.diagnosis import Finding
from ceneurovae.import_data import DEFAULT_SEQ_LEN
from ceneurovae.readers import ReadOptions, open_sources
from ceneurovae.readers.memory import check_claim
from ceneurovae.suggestion import suggest_commands

# Bytes, as float64, up to which a block is read whole; of a larger one that many, in pieces.
READ_AT_MOST = 1 << 26
PIECES = 64
# Layouts whose reader can swap the axes.
CAN_TRANSPOSE = ("arrays", "groups", "recordings", "lfads", "npy")


def inspect_file(path, options=None, seq_len=None):
    """Lists the recordings of a file, what is missing, and what to mend before training.

    Blocks larger than 64 MiB are not read whole but in evenly spaced pieces.

    Args:
        path: File.
        options: `ReadOptions`.
        seq_len: Length of the windows that the recordings must be long enough for, in samples; by
            default that of the windows in the file, or 100.

    Returns:
        Dictionary of JSON types: `path`; `layout`; `reading`, the options that are not as by
        default; `short_names` of sets of blocks; `suggestion`, a command that trains on the file,
        or `None`; `evaluation`, one that then says what was learned, or `None`; and `recordings`,
        each with `name`, `rate_hz`, `interruptions` (their number), `breaks` (their samples; empty
        for windows), `labels` (each with `name`, number of `values`, how many are `distinct`, and
        the `first`), `default` (names of the blocks that are read where none is chosen, or `None`),
        `warnings` (each with `code`, `message`, `block` and `channels`) and `blocks` of channels. A
        block has `name`, `shape`, `samples`, `window_len`, `rate_hz`, `duration_s`, the share of it
        that was `sampled`, and `channels`; of these `name` and `missing`, the share of NaN.

    Raises:
        FileNotFoundError, ValueError: if the file cannot be read, or claims to hold much more than
            it could.
    """
    options = options or ReadOptions()
    with open_sources(path, options) as (layout, sources):
        for source in sources:
            for block in source.blocks:
                check_claim(block.table, block.name, path)
        report = {
            "path": str(path),
            "layout": layout,
            "reading": {
                field.name: getattr(options, field.name)
                for field in dataclasses.fields(options)
                if getattr(options, field.name) != field.default
            },
            "short_names": {n: list(b) for s in sources for n, b in s.short_names.items() if b},
            "recordings": [
                _recording(source, seq_len, layout in CAN_TRANSPOSE) for source in sources
            ],
        }
    train, evaluate = _suggestion(path, report, options, seq_len) or (None, None)
    return report | {"suggestion": train, "evaluation": evaluate}


def _suggestion(path, report, options, seq_len):
    """Commands for a file; where its axes are swapped, for what it is with them put right."""
    codes = {warning["code"] for r in report["recordings"] for warning in r["warnings"]}
    if "transposed-axes" in codes and report["layout"] in CAN_TRANSPOSE and not options.transpose:
        try:
            other_way = dataclasses.replace(options, transpose=True)
            swapped = inspect_file(path, other_way, seq_len)
            return swapped["suggestion"], swapped["evaluation"]
        except ValueError:
            return None
    return suggest_commands([path], [report], seq_len)


def _recording(source, seq_len, can_transpose):
    """One recording, as in the result of `inspect_file`."""
    blocks, found, digests = [], [], {}
    for block in source.blocks:
        values, share = _sampled(block)
        blocks.append(_described(block, source, values, share))
        if block.name in source.labels:
            continue
        findings = diagnosis.diagnose_values(
            values, block.channels, block.window_len, share == 1, can_transpose
        )
        found += [(block.name, _of_a_part(finding, share)) for finding in findings]
        if block.name in source.cautions:
            caution = Finding("leakage", source.cautions[block.name], block.channels)
            found.append((block.name, caution))
        digests |= diagnosis.channel_digests(values, block.channels)
    swapped = any(finding.code == "transposed-axes" for _, finding in found)
    found += _about_recording(source, seq_len, {} if swapped else digests, swapped)
    return {
        "name": source.name,
        "rate_hz": source.rate_hz,
        "interruptions": len(source.breaks),
        "breaks": [int(sample) for sample in source.breaks],
        "labels": [_label(name, value) for name, value in source.labels.items()],
        "default": None if source.default is None else list(source.default),
        "blocks": blocks,
        "warnings": [
            {"block": block, **dataclasses.asdict(finding), "channels": list(finding.channels)}
            for block, finding in dict.fromkeys(found)
        ],
    }


def _sampled(block):
    """Samples `(n, C)` of a block, all or evenly spaced pieces, and which share of it they are."""
    most = max(1, READ_AT_MOST // (8 * len(block.channels)))
    if block.samples <= most:
        return block.read(0, block.samples), 1.0
    window = block.window_len or 1
    rows = max(1, most // PIECES // window) * window
    count = max(1, min(PIECES, most // rows))
    starts = np.linspace(0, block.samples - rows, count).astype("int64") // window * window
    values = np.concatenate([block.read(start, start + rows) for start in starts.tolist()])
    return values, len(values) / block.samples


def _described(block, source, values, share):
    """One block, as in the result of `inspect_file`."""
    rate = block.rate_hz or source.rate_hz
    missing = np.isnan(values).mean(axis=0)
    return {
        "name": block.name,
        "shape": list(block.table.shape),
        "samples": block.samples,
        "window_len": block.window_len,
        "rate_hz": rate,
        "duration_s": None if rate is None else block.samples / rate,
        "sampled": share,
        "channels": [
            {"name": name, "missing": float(part)}
            for name, part in zip(block.channels, missing, strict=True)
        ],
    }


def _of_a_part(finding, share):
    """A finding that says so where it is about a part of the samples."""
    if share == 1:
        return finding
    note = f" (Of the {share:.2g} of the samples that were looked at.)"
    return dataclasses.replace(finding, message=finding.message + note)


def _about_recording(source, seq_len, digests, swapped):
    """Findings about a recording as a whole, each with the name of a block or `None`."""
    found = [(None, finding) for finding in _duplicates(source, digests)]
    for name, values in source.labels.items():
        if np.ndim(values):
            found.append((None, diagnosis.sorted_labels(name, np.asarray(values))))
    times = {}
    for block in source.blocks:
        table = block.timestamps if block.timestamps is not None else source.timestamps
        if table is not None and not block.window_len and not swapped:
            times.setdefault((id(table), block.samples, block.rate_hz), (table, block))
    for table, block in times.values():
        values = np.asarray(table[: READ_AT_MOST // 8], dtype="float64")
        samples = len(values) if len(table) == block.samples else block.samples
        rate = block.rate_hz or source.rate_hz
        findings = diagnosis.diagnose_timestamps(values, samples, rate, source.breaks)
        found += [(block.name if block.timestamps is not None else None, f) for f in findings]
    longest = _main_block(source)
    if longest.window_len is None and not swapped:
        found.append((None, diagnosis.interruption(longest.samples, source.breaks)))
    if not swapped:
        found.append((None, _too_short(source, longest, seq_len)))
    return [(block, finding) for block, finding in found if finding]


def _duplicates(source, digests):
    """Channels with the same values among those that would be read together."""
    together = [(block.name,) for block in source.blocks]
    together += [source.default or (), *source.short_names.values()]
    seen = set()
    for names in sorted(together, key=len, reverse=True):
        channels = [c for b in source.blocks if b.name in names for c in b.channels]
        chosen = {c: digests[c] for c in channels if c in digests}
        finding = diagnosis.duplicated_channels(chosen)
        if finding and not set(finding.channels) <= seen:
            seen |= set(finding.channels)
            yield finding


def _main_block(source):
    """The longest of the blocks that are read by default, or of those with the most axes."""
    blocks = [block for block in source.blocks if block.name in (source.default or ())]
    axes = max(block.table.ndim for block in source.blocks)
    blocks = blocks or [block for block in source.blocks if block.table.ndim == axes]
    return max(blocks, key=lambda block: block.samples)


def _too_short(source, block, seq_len):
    window_len, samples = block.window_len, block.samples
    seq_len = seq_len or window_len or DEFAULT_SEQ_LEN
    edges = [0, samples] if window_len else [0, *source.breaks, samples]
    longest = window_len or int(np.diff(edges).max())
    by_time = "split" not in source.labels
    return diagnosis.too_short(samples, longest, seq_len, window_len, by_time)


def _label(name, value):
    values = np.ravel(value)
    first = values[0].item() if len(values) else None
    distinct = len(np.unique(values))
    return {"name": name, "values": len(values), "distinct": distinct, "first": first}
