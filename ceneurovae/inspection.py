"""What is in a file, as plain numbers; needs neither TensorFlow nor Keras."""

import numpy as np

from ceneurovae.readers import open_sources


def inspect_file(path):
    """Lists the recordings of an HDF5 file and how much of each channel is missing.

    Args:
        path: HDF5 file.

    Returns:
        Dictionary of JSON types: `path`, `layout`, and `recordings`, each with `name`,
        `rate_hz` and `interruptions`, and its `blocks` of channels, each with `name`, `shape`,
        `duration_s` and `channels`; of these `name` and `missing`, the share of NaN.

    Raises:
        FileNotFoundError, ValueError: if the file cannot be read.
    """
    with open_sources(path) as (layout, sources):
        return {
            "path": str(path),
            "layout": layout,
            "recordings": [
                {
                    "name": source.name,
                    "rate_hz": source.rate_hz,
                    "interruptions": len(source.breaks),
                    "blocks": [_describe(block, source) for block in source.blocks],
                }
                for source in sources
            ],
        }


def _describe(block, source):
    values = block.read(0, block.samples)
    missing = np.isnan(values).mean(axis=0)
    samples = block.samples
    return {
        "name": block.name,
        "shape": list(block.table.shape),
        "duration_s": None if source.rate_hz is None else samples / source.rate_hz,
        "channels": [
            {"name": name, "missing": float(share)}
            for name, share in zip(block.channels, missing, strict=True)
        ],
    }
