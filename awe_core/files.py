"""What file effects answer: the broker gives these values, contexts hand them to handlers.

Values alone; how a file is reached stands in `workspace`, what a call may reach in `effects`.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class FileResult:
    """What a write left behind."""

    path: str  #: relative to the workspace
    digest: str  #: lower-case hex SHA-256 of the whole file
    size: int  #: bytes
    created: bool


@attrs.frozen
class FileEntry:
    """One name in a directory."""

    path: str  #: relative to the workspace
    type: str  #: file, directory, symlink, other
    size: int  #: bytes
    mode: int
    mtime_us: int
