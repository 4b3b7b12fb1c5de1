"""Codes of the area: audit."""

from collections.abc import Mapping

from awe_core.errors.codes.code import Code

AUDIT: Mapping[str, Code] = {
    "audit.not_canonical": Code(
        7,
        "record {seq} of {where} is not a record in its one form: expected {expected}, found {found}",
        next="compare it with a sink's copy: awe audit sinks",
    ),
    "audit.gap": Code(
        7,
        "records of {where} are missing or out of order at {seq}: expected {expected}, found {found}",
        next="look there first; the newest good checkpoint bounds what is proved",
    ),
    "audit.link": Code(
        7,
        "record {seq} of {where} does not hang on the one before: expected {expected}, found {found}",
        next="look there first; the newest good checkpoint bounds what is proved",
    ),
    "audit.hash": Code(
        7,
        "the stored hash of record {seq} of {where} is not that of its bytes: expected {expected}, found {found}",
        next="look there first; the newest good checkpoint bounds what is proved",
    ),
    "audit.column": Code(
        7,
        "the index of record {seq} of {where} differs from the record: expected {expected}, found {found}",
        next="awe doctor --rebuild, once the lines verify",
    ),
    "audit.log_id": Code(
        7,
        "record or note {seq} of {where} belongs to another log: expected {expected}, found {found}",
        next="verify the right file",
    ),
    "audit.root": Code(
        7,
        "the first {seq} records of {where} do not have the signed root: expected {expected}, found {found}",
        next="keep the folder as evidence; restore it, or awe audit accept-loss",
    ),
    "audit.truncated": Code(
        7,
        "{where} ends at record {seq}: expected {expected}, found {found}",
        next="keep the folder as evidence; restore it, or awe audit accept-loss",
    ),
    "audit.forked": Code(
        7,
        "{where} has two histories at record {seq}: expected {expected}, found {found}",
        next="keep the folder as evidence; restore it, or awe audit accept-loss",
    ),
    "audit.signature": Code(
        7,
        "the signature over {seq} records of {where} is wrong: expected {expected}, found {found}",
        next="ask the sender for the file again, over another way",
    ),
    "audit.note": Code(
        7,
        "{where} is malformed at {seq}: expected {expected}, found {found}",
        next="ask the sender for the file again, over another way",
    ),
    "audit.untrusted_key": Code(
        9,
        "{where} is not signed by a pinned key at {seq}: expected {expected}, found {found}",
        next="compare the fingerprint with the operator, then pin it: awe audit key",
    ),
    "audit.keys_missing": Code(
        9,
        "the payload keys of log {log} are not in {folder}: {reason}",
        next="restore that folder from its backup",
        state="Nothing was opened; without the keys no run can go on.",
    ),
    "audit.keys_shared": Code(
        9,
        "{file} can be read by others",
        next="chmod 600 {file}",
        state="Nothing was opened.",
    ),
    "audit.payload": Code(
        7,
        "a payload of record {seq} of {where} is not what the record commits to: expected {expected}, found {found}",
        next="restore the payloads; the record itself stays proved",
    ),
    "audit.payload_missing": Code(
        7,
        "a payload of record {seq} of {where} is gone: expected {expected}, found {found}",
        next="restore the payloads; the record itself stays proved",
    ),
}
