"""Files that appear whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ceneurovae.hints import PathLike

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def refuse_folder(path: PathLike) -> None:
    """Raises an `IsADirectoryError` if a file is to be written where there is a folder."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"'{path}' is a folder, expected the name of a file to write.")


@contextmanager
def whole_file(path: PathLike, parents: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, put in its place when the block ends without an error.

    Args:
        path: The file.
        parents: Whether to make the folders that it is to be in.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with whole_file(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'

    Raises:
        OSError: if there is no room for the file; the message names it.
    """
    path = Path(path)
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        kept = "The one that was there is intact" if path.exists() else "Nothing was left behind"
        raise OSError(
            error.errno, f"There is no room to write '{path}' ({os.strerror(error.errno)}). {kept}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_remains(folder: PathLike) -> None:
    """Removes the temporary files of processes that were killed; none may be at work there."""
    for file in Path(folder).glob(".[0-9]*-*"):
        file.unlink()
