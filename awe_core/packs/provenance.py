"""Where a wheel came from, by the attestations of its index (PEP 740), verified offline.

The verification is that of `pypi_attestations` (extra ``provenance``, imported on first use), with
the root of trust it carries.  What comes out informs people and never approves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from awe_core import canonical
from awe_core.errors import PackError
from awe_core.records import Evidence

if TYPE_CHECKING:
    from pathlib import Path


def verify_provenance(file: Path, wheel: Path) -> Evidence:
    """Verify that a publisher vouches for these very bytes of *wheel*.

    :param file: the provenance object of an index; all its attestations must hold
    :raises PackError: ``pack.provenance``, ``pack.provenance_unavailable``
    """
    try:
        import pypi_attestations as pep740  # noqa: PLC0415 - an extra
    except ImportError:
        raise PackError("pack.provenance_unavailable", file=str(file)) from None
    publishers, about = set(), {"file": str(file), "wheel": wheel.name}
    try:
        data, subject = file.read_bytes(), pep740.Distribution.from_file(wheel)
        for bundle in pep740.Provenance.model_validate_json(data).attestation_bundles:
            for one in bundle.attestations:
                one.verify(bundle.publisher, subject, offline=True)
                publishers.add(_claimed(bundle.publisher))
    except Exception as error:  # foreign code: also raises what TUF and ASN.1 have
        why = str(error).partition("\n")[0] or repr(error)
        raise PackError("pack.provenance", **about, why=why) from error
    if not publishers:
        raise PackError("pack.provenance", **about, why="it holds no attestation")
    named = ", ".join(sorted(publishers)).encode("ascii", "backslashreplace").decode()
    return Evidence("pep740", canonical.sha256_hex(data), named[:512])


def _claimed(publisher: Any) -> str:  # noqa: ANN401 - one of theirs
    """Name a publisher by what the certificate was compared with: not by optional fields."""
    fields = type(publisher).model_fields
    who = (str(getattr(publisher, name)) for name in fields if fields[name].is_required())
    return f"{publisher.kind.lower()}:{'@'.join(who)}"
