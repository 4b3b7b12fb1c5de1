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
        7,
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
    "audit.torn": Code(
        7,
        "{where} breaks off at record {seq}: expected {expected}, found {found}",
        next="export it again; the whole records before are counted",
    ),
    "audit.proof": Code(
        7,
        "the proof of record {seq} of {where} does not lead to a signed root: expected {expected}, found {found}",
        next="ask the sender for the file again, over another way",
    ),
    "audit.retired_key": Code(
        7,
        "the note over {seq} records of {where} is signed by a retired key: expected {expected}, found {found}",
        next="ask the sender for the file again, over another way",
    ),
    "audit.run_gap": Code(
        7,
        "a run is not complete at record {seq} of {where}: expected {expected}, found {found}",
        next="export the run anew",
    ),
    "audit.run_open": Code(
        7,
        "{where} ends before a run does, at {seq}: expected {expected}, found {found}",
        next="export the run anew once it is closed",
    ),
    "audit.transition": Code(
        7,
        "the facts of record {seq} of {where} cannot follow each other: expected {expected}, found {found}",
        next="report it; the run is not evidence of what it claims",
    ),
    "audit.pin": Code(
        2,
        "line {line} of the pins is no key: {reason}",
        next="write a verifier key, or PREFIX/* and a key: awe audit key",
    ),
    "audit.unreadable": Code(
        9,
        "{path} cannot be read: {reason}",
        next="name an exported file (.jsonl or .awelog) or a home",
    ),
    "audit.nothing_signed": Code(
        9,
        "no checkpoint covers a record of the journal in {home}",
        next="export through the process that owns the home",
        state="Nothing was written.",
    ),
    "audit.no_records": Code(
        8,
        "{what} holds no signed record; {size} are signed",
        next="awe audit show",
        state="Nothing was written.",
    ),
    "audit.file_exists": Code(
        8,
        "{file} is there already",
        next="choose another name; exports are never overwritten",
        state="Nothing was overwritten.",
    ),
    "audit.sink_unavailable": Code(
        9,
        "required sink {sink} holds {acked} of {size} records: {reason}",
        next="repair it, then look: awe audit sinks",
        state="Nothing acts; runs wait.",
    ),
    "audit.sink_forked": Code(
        7,
        "sink {sink} does not hold this log at record {seq}: expected {expected}, found {found}",
        next="keep both copies and tell security",
        state="Nothing more is sent to it.",
    ),
    "sink.not_acknowledging": Code(
        2,
        "sink {sink} cannot be required: it does not acknowledge",
        next="remove required: true from it in awe.yaml",
    ),
    "sink.name_taken": Code(
        2,
        "two sinks are called {sink}",
        next="give one of them another name in awe.yaml",
    ),
    "sink.unknown": Code(
        9,
        "nothing installed offers the audit sink {sink}",
        state="The runtime was not opened; nothing acts.",
        next="correct audit: sinks: in awe.yaml, or install and activate the plugin",
    ),
}
