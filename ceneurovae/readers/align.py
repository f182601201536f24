"""Which channels several recordings are read with, so that all have the same."""

import warnings
from collections.abc import Collection, Sequence

from ceneurovae.readers.source import Source

ALIGN = ("error", "union", "intersection")


def align_channels(
    sources: Sequence[Source], requests: Sequence[str] | None, align: str
) -> tuple[tuple[str, ...], set[str]]:
    """The channels of each recording, in one order for all.

    Args:
        sources: `Source`s.
        requests: Names of channels or blocks, short names or patterns; `None` for the default of
            the layout.
        align: `"error"` where recordings have different channels, `"union"` for those that any
            has, `"intersection"` for those that all have; `"fill"` for just those in `requests`,
            whether or not a recording has them.

    Returns:
        The channels, and those of them that were asked for by name, not by a pattern.

    Raises:
        ValueError: if a request matches nothing, or names differ and `align` is `"error"`.
    """
    if align == "fill":
        return tuple(requests or ()), set(requests or ())
    chosen: list[dict[str, None]] = [{} for _ in sources]
    order: dict[str, None] = {}
    named: set[str] = set()
    asked = [list(source.requests(requests)) for source in sources]
    for request in dict.fromkeys(name for names in asked for name in names):
        matches = [source.matching(request) for source in sources]
        empty = [source for source, match in zip(sources, matches, strict=True) if not match]
        if empty and (align == "error" or len(empty) == len(sources)):
            raise ValueError(empty[0].unknown(request) + _hint(sources, empty))
        for names, match in zip(chosen, matches, strict=True):
            names |= dict.fromkeys(match)
            order |= dict.fromkeys(match)
        if not any(source.is_pattern(request) for source in sources):
            named |= {name for match in matches for name in match}
    common = [name for name in order if all(name in names for names in chosen)]
    if align == "error" and len(common) < len(order):
        raise ValueError(_difference(sources, chosen, order, common))
    if not common and align != "union":
        raise ValueError("The recordings have no channel in common.")
    channels = tuple(order) if align == "union" else tuple(common)
    _warn_of_cautions(sources, channels)
    return channels, named


def _hint(sources: Sequence[Source], empty: Sequence[Source]) -> str:
    if len(empty) == len(sources):
        return ""
    return (
        f" {len(sources) - len(empty)} of {len(sources)} recordings have it: align='union' "
        "(--align) reads it as NaN where it is missing, 'intersection' leaves it out."
    )


def _difference(
    sources: Sequence[Source],
    chosen: Sequence[Collection[str]],
    order: Collection[str],
    common: Collection[str],
) -> str:
    lacking = next(name for name in order if name not in common)
    without = next(s for s, names in zip(sources, chosen, strict=True) if lacking not in names)
    having = next(s for s, names in zip(sources, chosen, strict=True) if lacking in names)
    return (
        f"Recordings '{having.name}' and '{without.name}' have different channels: '{lacking}' is "
        f"only in the first. All {len(sources)} have {len(common)} in common, of {len(order)}. "
        "align='intersection' (--align) takes the former, align='union' all, with NaN where a "
        "recording lacks one."
    )


def _warn_of_cautions(sources: Sequence[Source], channels: Sequence[str]) -> None:
    wanted = set(channels)
    chosen = [
        (source, block)
        for source in sources
        for block in source.blocks
        if wanted & set(block.channels)
    ]
    cautions = [s.cautions[block.name] for s, block in chosen if block.name in s.cautions]
    if len(sources) > 1:
        cautions += [
            f"The columns of {block.name} are numbered by recording: number 0 of one need not be "
            "number 0 of another. A model of several recordings takes them for the same."
            for source, block in chosen
            if block.name in source.unmatched
        ]
    for caution in dict.fromkeys(cautions):
        warnings.warn(caution, stacklevel=5)
