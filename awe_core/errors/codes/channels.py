"""Codes of the area: channels."""

from collections.abc import Mapping

from awe_core.errors.codes.code import Code

CHANNELS: Mapping[str, Code] = {
    "cli.usage": Code(2, "{what}", next="{command} --help"),
    "cli.fault": Code(
        1,
        "this is a fault in AWE itself: {kind}",
        next="report it with the file {file}; --debug shows the traceback",
    ),
    "cli.argument": Code(
        2,
        "the argument {word} cannot be read: {why}",
        next="write K=V, K:=JSON or K=@FILE, or give them all with --input FILE",
        state="Nothing was submitted.",
    ),
    "cli.argument_type": Code(
        2,
        "the value of {key} is not {expected}",
        next="write it as {expected}, or give exact JSON: {key}:=JSON",
        state="Nothing was submitted.",
    ),
    "cli.sensitive": Code(
        2,
        "the value of {key} is sensitive, and every process can see a command line",
        next="give the arguments on stdin: --input -",
        state="Nothing was submitted.",
    ),
    "cli.file": Code(
        9,
        "{file} cannot be used: {why}",
        next="awe doctor disk",
        state="What was done before that is on the record.",
    ),
    "cli.input": Code(
        2,
        "the input {file} cannot be taken: {why}",
        next="name one file with an object, or - for stdin, and no further arguments",
        state="Nothing was submitted.",
    ),
    "cli.digest_needed": Code(
        2,
        "there is no terminal to ask at, so the yes has to name what it is said to",
        next="{look}    then add: --digest D",
        state="Nothing was decided.",
    ),
    "cli.digest_differs": Code(
        8,
        "the digest {given} names something else than what waits now",
        next="{look}    (shows what it is now)",
        state="Nothing was decided.",
    ),
    "cli.declined": Code(
        3,
        "that was not confirmed",
        next="{look}    (shows it again)",
        state="Nothing was decided.",
    ),
    "cli.detached": Code(
        9,
        "no process owns the home, so nobody would drive the run",
        next="leave --detach out, or start an owner first",
        state="Nothing was submitted.",
    ),
    "cli.exists": Code(
        8,
        "{file} is there already",
        next="awe status    (says what it is), or begin in another folder",
        state="Nothing was written.",
    ),
    "run.still_running": Code(
        9,
        "run {run} has not ended within {seconds} s",
        next="awe runs watch {run}",
        state="The run was left alone.",
    ),
    "access.refused": Code(
        3,
        "{by} asked for {asked}, which nothing offers here",
        state="Nothing was done.",
        next="awe facades list    (the operator reads why: awe audit show --kind access.refused)",
    ),
    "facade.fixed": Code(
        2,
        "facade {facade} sets {inputs} itself; callers cannot",
        state="Nothing was done.",
        next="call it without {inputs}: awe facades show {facade}",
    ),
    "sdk.sync_in_loop": Code(
        2,
        "a waiting call was made inside a running event loop",
        state="Nothing was done.",
        next="use the async twin: async with Runtime.open(...) and await",
    ),
    "sdk.forked": Code(
        2,
        "this runtime was opened before the process forked",
        state="Nothing was done.",
        next="open the runtime in the child",
    ),
    "wiring.no_step": Code(
        2,
        "this context belongs to no step, so it has no {name}",
        next="use it to start a workflow; handlers get a context of their own",
    ),
    "wiring.mismatch": Code(
        2,
        "{one} and {other} belong to different journals or workspaces",
        next="build both on the same journal and workspace; Runtime.open does",
    ),
    "cli.demo": Code(
        7,
        "the demo's claim does not hold: {claim}",
        state="The demo stopped there.",
        next="run it again with --keep DIR and look; then: awe doctor",
    ),
}
