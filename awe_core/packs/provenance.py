"""Where a wheel came from, by the attestations of its index (PEP 740), verified offline.

The verification is `pypi_attestations`'s (extra ``provenance``, imported on first use), with the
root of trust it carries: nothing is fetched.  What comes out informs people and never approves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from cryptography.x509 import SubjectAlternativeName, load_der_x509_certificate

from awe_core import canonical
from awe_core.errors import PackError
from awe_core.records import Evidence

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.x509 import Certificate
    from pypi_attestations import Attestation, Publisher

_ISSUER = "1.3.6.1.4.1.57264.1.8"  # Fulcio's number for who vouched for the identity
_MOST_BYTES = 4 * 1024 * 1024


@attrs.frozen
class _Anybody:
    """A policy that takes whoever the certificate names: a bare attestation claims nobody."""

    def verify(self, cert: Certificate) -> None:
        """Agree."""


def verify_provenance(file: Path, wheel: Path) -> Evidence:
    """Verify that a publisher vouches for these very bytes of *wheel*.

    :param file: the provenance object of an index, all attestations of which must hold, or a bare
        attestation; then the publisher is whom its certificate names
    :raises PackError: ``pack.provenance``, ``pack.provenance_unavailable``
    """
    try:
        import pypi_attestations as pep740  # noqa: PLC0415 - an extra
    except ImportError:
        raise PackError("pack.provenance_unavailable", file=str(file)) from None
    claims: list[tuple[Publisher | None, Attestation]]
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES)
        if b'"attestation_bundles"' in data:
            bundles = pep740.Provenance.model_validate_json(data).attestation_bundles
            claims = [(bundle.publisher, one) for bundle in bundles for one in bundle.attestations]
        else:
            claims = [(None, pep740.Attestation.model_validate_json(data))]
        subject = pep740.Distribution.from_file(wheel)
    except (OSError, ValueError) as error:
        raise _refusal(file, wheel, "it cannot be read", error) from error
    if not claims:
        raise _refusal(file, wheel, "it holds no attestation")
    publishers = set()
    for publisher, one in claims:
        try:
            one.verify(publisher or _Anybody(), subject, offline=True)
            publishers.add(_named(publisher) if publisher else _certified(one))
        except Exception as error:  # foreign code: also raises what TUF and ASN.1 have
            why = (
                "does not name this wheel"
                if "subject does not match" in str(error)
                else "does not hold"
            )
            raise _refusal(file, wheel, f"an attestation {why}", error) from error
    return Evidence("pep740", canonical.sha256_hex(data), ", ".join(sorted(publishers)))


def _named(publisher: Publisher) -> str:
    """Name who published, by what the certificate was compared with: not by optional fields."""
    fields = type(publisher).model_fields
    who = (str(getattr(publisher, name)) for name in fields if fields[name].is_required())
    return f"{publisher.kind.lower()}:{'@'.join(who)}"


def _certified(attestation: Attestation) -> str:
    certificate = load_der_x509_certificate(attestation.verification_material.certificate)
    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    issuer = attestation.certificate_claims[_ISSUER]
    return f"{' '.join(str(name.value) for name in names)} by {issuer}"


def _refusal(file: Path, wheel: Path, why: str, error: Exception | None = None) -> PackError:
    details = str(error).splitlines()[:5] if error else ()
    named = {"file": str(file), "wheel": wheel.name}
    return PackError("pack.provenance", **named, why=why, details=details)
