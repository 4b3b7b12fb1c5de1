"""Keys that sign: files of ours, and keys that never leave their device or service.

A key is named by a URI: ``file:PATH`` or a bare path is a key file, another scheme is a device's.
What the signed bytes mean is `trust`'s and the journal's affair.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from awe_core.errors import TrustError
from awe_core.signing.devices import open_device
from awe_core.signing.files import KeyFile as KeyFile
from awe_core.signing.files import generate as generate
from awe_core.signing.files import load as load
from awe_core.signing.files import log_key as log_key
from awe_core.signing.files import person_key_file as person_key_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.trust import Signer


def open_key(uri: str, *, passphrase: Callable[[str], str | None] | None) -> Signer:
    """Open the key that *uri* names.

    :param passphrase: asked for a secret, by what to call it, only where there is one
    :raises TrustError: ``signer.unavailable``, ``signer.permissions``, ``signer.refused``
    """
    scheme, colon, path = uri.partition(":")
    if colon and scheme != "file" and "/" not in scheme:
        return open_device(uri, passphrase=passphrase)
    file = Path(path if colon and scheme == "file" else uri)
    try:
        return load(file, passphrase=None)
    except TrustError as error:
        if passphrase is None or error.attributes.get("why") != "it has a passphrase":
            raise
        words = passphrase(f"passphrase of {file}")
        if not words:
            raise
    return load(file, passphrase=words)
