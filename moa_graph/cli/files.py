"""Write a file whole or not at all, for its owner alone to read."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes, *, force: bool) -> None:
    """Write a file of mode 0600; raise FileExistsError unless told to replace one, OSError if it fails."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "no ordinary file", str(path))
    if path.is_symlink():
        path = path.resolve()
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if force:
            Path(name).replace(path)
        else:
            _name_new(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _name_new(name: str, path: Path) -> None:
    try:
        os.link(name, path)  # unlike a renaming, it never replaces a file
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        Path(name).replace(path)
