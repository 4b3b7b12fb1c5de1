"""Who may let what run, judged from bytes: root chain, manifest, statements, verdict.

`judge` takes the files of a store and says which records are in force; it knows neither clock nor
disk.  The rules are those of The Update Framework (TUF specification 1.0.33) where it has them:
thresholds by distinct owners, roots in steps of one, no falling back, no rollback.  Its code is
not: TUF has no custom roles and no exclusion of the proposer.

=============  =================================================================================
`keys`         schemes, key ids, weak points; the `Signer` protocol
`dsse`         envelopes: parse, name the signers, seal
`roots`        the chain from the pin; what a root may say
`manifests`    the current one, its past, order and time
`statements`   one person's signed decision, and whether they may
`approvals`    N of M by policy, separation of duties
`standing`     one entry of the manifest held against what people signed
`neighbours`   what entries are to each other
`allowance`    what a record may do at a moment
`judgement`    all of it in order
=============  =================================================================================

Rules: bytes are hashed and verified before they are parsed; a bad root or manifest raises
`TrustError` and nothing of the store is used; a bad entry is a refusal of that entry alone.
"""

from awe_core.trust.approvals import assign, missing, needs, title
from awe_core.trust.dsse import Envelope, pae, payload_type, seal, signers
from awe_core.trust.dsse import parse as parse_envelope
from awe_core.trust.judgement import (
    at_time,
    check_documents,
    facade_file,
    judge,
    pack_file,
)
from awe_core.trust.keys import ECDSA_P256, ED25519, Signer, check_key, holds, keyid_of
from awe_core.trust.manifests import DAY_S, SKEW_S, manifest_file, newest
from awe_core.trust.reading import parse as parse_document
from awe_core.trust.roots import Chain, check_root, people, root_file, walk
from awe_core.trust.statements import DECIDERS, Signed, as_stop, is_stop, statement_file
from awe_core.trust.statements import read as read_statement
from awe_core.trust.verdict import (
    Absent,
    FacadeVerdict,
    Mark,
    PackVerdict,
    Phase,
    Stop,
    StoreBytes,
    Verdict,
)

__all__ = [
    "DAY_S",
    "DECIDERS",
    "ECDSA_P256",
    "ED25519",
    "SKEW_S",
    "Absent",
    "Chain",
    "Envelope",
    "FacadeVerdict",
    "Mark",
    "PackVerdict",
    "Phase",
    "Signed",
    "Signer",
    "Stop",
    "StoreBytes",
    "Verdict",
    "as_stop",
    "assign",
    "at_time",
    "check_documents",
    "check_key",
    "check_root",
    "facade_file",
    "holds",
    "is_stop",
    "judge",
    "keyid_of",
    "manifest_file",
    "missing",
    "needs",
    "newest",
    "pack_file",
    "pae",
    "parse_document",
    "parse_envelope",
    "payload_type",
    "people",
    "read_statement",
    "root_file",
    "seal",
    "signers",
    "statement_file",
    "title",
    "walk",
]
