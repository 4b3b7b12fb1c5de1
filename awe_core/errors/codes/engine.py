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
    "journal.record": Code(
        7,
        "record {rseq} of run {run} is no {kind} as AWE writes it: {reason}",
        state="The run was left as it is.",
        next="awe audit verify    (tells whether the log was altered)",
    ),
    "journal.event": Code(
        1,
        "an event of kind {kind} was refused before it was recorded: {reason}",
        next="report this with the report file",
        state="Nothing was recorded.",
    ),
    "step.stopped": Code(
        5,
        "step {step} did not finish: its run stopped before",
        next="awe runs show {run}    (names what failed)",
    ),
    "step.interrupted": Code(
        5,
        "step {step} was cut off when the engine ended, and could not go on",
        state="What it did is in the log.",
        next="awe runs show {run}",
    ),
    "run.cancelled": Code(
        4, "run {run} was cancelled", next="awe runs show {run}    (names who asked, and why)"
    ),
    "run.expired": Code(
        4,
        "run {run} was open longer than its workflow allows",
        next="awe runs show {run}    then raise expires: of the workflow",
    ),
    "run.illegal_state": Code(
        8,
        "run {run} is {state}, so it cannot {action}",
        state="Nothing was changed.",
        next="legal now: {legal}",
    ),
    "run.unknown_step": Code(
        8, "run {run} has no step {step} so far", next="awe runs show {run}    (names its steps)"
    ),
    "decider.illegal_event": Code(
        1,
        "record {rseq} of run {run} cannot follow: {kind}: {why}",
        state="The run is frozen; other runs go on.",
        next="awe audit verify {run}    then report it with this record's number",
    ),
    "engine.closing": Code(
        9,
        "this engine is closing and takes no new run",
        state="Nothing was done.",
        next="submit again when it is back: awe status",
    ),
    "engine.control_frame": Code(
        9,
        "a message on the control socket is no well-formed frame: {why}",
        state="The connection was closed.",
        next="use an awe of the same version on both sides: awe version",
    ),
    "engine.defect": Code(
        1,
        "run {run} cannot go on because of a defect: {why}",
        state="Its records are whole; other runs go on.",
        next="awe audit verify {run}    and report the message",
    ),
    "engine.no_owner": Code(
        9,
        "nobody answers for the home {home}: {why}",
        state="Nothing was done.",
        next="try again; the next process that opens it takes over: awe status",
    ),
    "engine.observer": Code(
        3,
        "an observer only reads and cannot {method}",
        state="Nothing was done.",
        next="open the runtime without observer=True",
    ),
    "engine.owner_gone": Code(
        9,
        "the process that owns the home ended before it answered {method}",
        state="What it had recorded is durable.",
        next="awe status    then ask again",
    ),
    "engine.owner_refused": Code(
        3,
        "the owner of the home refused ({code}): {message}",
        next="use an awe of the same version on both sides: awe version",
    ),
    "run.ambiguous": Code(
        8,
        "several runs begin with {run}",
        next="awe runs list    and give more of the id",
    ),
    "run.idempotency_conflict": Code(
        8,
        "this idempotency key already names run {run}, which was asked something else",
        state="Nothing was started.",
        next="use a new key, or attach to the run: awe runs show {run}",
    ),
    "run.not_completed": Code(
        5,
        "run {run} ended {ended}",
        next="awe runs show {run}",
    ),
    "run.request": Code(
        2,
        "{verb} cannot be asked for: {why}",
        state="Nothing was done.",
        next="awe runs --help",
    ),
    "run.unknown": Code(
        8,
        "no run is named {run}",
        next="awe runs list",
    ),
    "run.version_gone": Code(
        8,
        "run {run} needs {workflow} {version}, which is not here any more",
        state="The run stays as it is.",
        next="install and activate that version again: awe packs list",
    ),
}
