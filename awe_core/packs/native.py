"""Extension modules: on Linux the very bytes that were hashed are loaded, elsewhere the file.

On Linux the bytes are written into a sealed memory file and loaded from there, so that nothing can
be exchanged between the check and ``dlopen``.  Libraries that a module finds by ``$ORIGIN`` are not
found this way; ``awe packs inspect`` says so.  On other systems the installed file is loaded in
place: checked, not pinned (`IS_PINNED` is False).
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from pathlib import Path

IS_PINNED = sys.platform == "linux"  #: whether native code is loaded from the hashed bytes


def extension_loader(
    name: str, content: bytes, *, path: str
) -> importlib.machinery.ExtensionFileLoader:
    """Give a loader for the extension module *name*.

    :param content: its approved bytes
    :param path: where it is installed
    :raises ImportError: if the installed file changed and only that file can be loaded
    """
    if sys.platform == "linux":
        path = f"/proc/self/fd/{_sealed(name, content)}"
    elif Path(path).read_bytes() != content:
        raise ImportError(name=name, path=path)
    return importlib.machinery.ExtensionFileLoader(name, path)


if sys.platform == "linux":
    import fcntl

    _SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

    def _sealed(name: str, content: bytes) -> int:
        """Put *content* where nobody can change it; the descriptor lives as long as the process."""
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return descriptor
