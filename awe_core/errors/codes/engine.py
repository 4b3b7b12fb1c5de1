"""Codes of the area: engine."""

from collections.abc import Mapping

from awe_core.errors.codes.code import Code

ENGINE: Mapping[str, Code] = {
    "step.timeout": Code(
        5,
        "step {step} took longer than its {limit} s",
        state="Its effects are taken back as the workflow says.",
        next="awe runs show {run}    then raise timeout: of the step or the contract",
    ),
    "step.handler_raised": Code(
        5,
        "step {step} failed: its handler raised {what}",
        state="Its effects are taken back as the workflow says.",
        next="awe runs show {run}    and report it to the pack's publisher",
    ),
    "step.capability_failed": Code(
        5,
        "{own_code}: {message}",
        state="The step failed; its effects are taken back as the workflow says.",
        next="the contract of the capability documents {own_code}: awe capabilities list",
    ),
    "engine.locked": Code(
        9,
        "the home {home} is owned by process {pid} on {host} since {since}",
        next="use the door that process serves, or stop it: awe status",
        state="Nothing was opened.",
    ),
    "engine.network_fs": Code(
        9,
        "the home {home} lies on a {kind} file system, which cannot be locked reliably",
        next="put home: on a local disk",
        state="Nothing was opened.",
    ),
    "engine.forked": Code(
        9,
        "process {pid} owns the home {home}, and this is a forked child of it",
        next="open the runtime in the child, or hand the work to the parent",
        state="Nothing was written.",
    ),
    "journal.unwritable": Code(
        9,
        "the journal in {path} cannot be written: {reason}",
        next="awe doctor",
        state="Nothing acted since; what was queued is dropped and its runs are replayed.",
    ),
    "journal.full": Code(
        9,
        "the disk that holds the journal in {path} is full",
        next="free {free_mib} MiB there; it resumes by itself",
        state="Nothing acted since, and nothing will until there is room.",
    ),
    "journal.newer": Code(
        9,
        "{path} has schema {found}, and this awe-core knows {known} at most",
        next="pip install --upgrade awe-core",
        state="Nothing was opened.",
    ),
    "journal.foreign": Code(
        9,
        "{path} is a database, but not a journal of AWE",
        next="point home: at a folder of its own",
        state="Nothing was opened.",
    ),
    "journal.schema": Code(
        7,
        "the tables, indexes or triggers of {path} are not those of a journal",
        next="keep the folder as evidence; awe audit verify, then restore",
        state="Nothing was opened.",
    ),
    "journal.pragma": Code(
        9,
        "SQLite did not take {pragma}: expected {expected}, found {found}",
        next="put home: on a local disk, or use another build of SQLite: awe doctor",
        state="Nothing was opened.",
    ),
    "journal.unreadable": Code(
        9,
        "the journal {path} cannot be read: {reason}",
        next="awe doctor",
    ),
    "journal.missing": Code(
        8,
        "there is no journal in {home}",
        next="awe init, or name the right folder: --home DIR",
    ),
    "journal.event": Code(
        1,
        "an event of kind {kind} was refused before it was recorded: {reason}",
        next="report this with the report file",
        state="Nothing was recorded.",
    ),
}
