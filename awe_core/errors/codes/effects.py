"""Codes of the area: effects."""

from collections.abc import Mapping

from awe_core.errors.codes.code import Code

EFFECTS: Mapping[str, Code] = {
    "effect.undeclared": Code(
        3,
        "{kind} on {target} is not among the effects this call was granted",
        state="Nothing was tried.",
        next="call it with what the contract allows, or declare the effect in the contract and"
        " propose the pack anew",
    ),
    "effect.kind_unavailable": Code(
        3,
        "{capability} declares effect kind {kind}, which nothing installed here performs",
        state="The pack's capabilities stay off.",
        next="install and activate the plugin that brings {kind}; then: awe doctor packs",
    ),
    "effect.limit": Code(
        3,
        "{target} is over the declared limit {which} = {limit}",
        state="Nothing was changed by this effect.",
        next="ask for less, or raise {which} in the contract and propose the pack anew",
    ),
    "effect.late": Code(
        3,
        "{kind} on {target} came too late: {why}",
        state="Nothing was tried.",
        next="finish effects before the handler returns or its time is over",
    ),
    "effect.key_reused": Code(
        5,
        "step {step} asked again under key {key}, but not for what it did to {target} before",
        state="The effect was not repeated.",
        next="make the handler ask in the same order each time; awe runs show RUN --doubt",
    ),
    "effect.in_doubt": Code(
        6,
        "nobody can tell whether {kind} of {target} happened before a crash (inspect: {seen})",
        next="look at it yourself, then: awe runs resolve RUN STEP --applied | --not-applied",
        state="It was not done again.",
    ),
    "effect.deadlock": Code(
        5,
        "step {step} waits for {target}, which waits for {step}: {cycle}",
        state="Nothing was tried.",
        next="order the steps with needs: so that one of them changes {target} first",
    ),
    "effect.env_missing": Code(
        2,
        "setting {name} is declared but not given",
        state="Nothing was done.",
        next="add {name} to this pack's table under config: in awe.yaml",
    ),
    "workspace.escape": Code(
        3,
        "{path} is no path inside the workspace: {rule}",
        next="name a path inside the workspace, relative to its root, that follows the rule",
        state="Nothing was read or written.",
    ),
    "workspace.not_regular": Code(
        3,
        "{path} is not a regular file, but: {kind}",
        next="name a file; directories have calls of their own",
        state="Nothing was read or written.",
    ),
    "workspace.hard_link": Code(
        3,
        "{path} is one of {links} names of the same file, and the others may lie outside",
        next="copy the file so that it has one name; to read such files:"
        " workspace: {{hardlinks: read}} in awe.yaml",
        state="Nothing was read or written.",
    ),
    "workspace.protected": Code(
        3,
        "{path} is protected by {rule}, whatever a contract declares",
        next="change it by hand, outside of AWE",
        state="Nothing was changed.",
    ),
    "workspace.private": Code(
        3,
        "{path} belongs to AWE itself ({rule}) and is read by no effect, whatever a contract says",
        next="keep what handlers shall read outside of AWE's folder",
        state="Nothing was read.",
    ),
    "workspace.busy": Code(
        5,
        "{path} cannot be opened safely: directories on the way keep being renamed",
        next="retry when the other program has finished",
        state="Nothing was read or written.",
    ),
    "workspace.pattern": Code(
        2,
        "{pattern} is no path pattern: {reason}",
        next="write segments with ? * […], and ** only as a whole segment",
    ),
    "workspace.root": Code(
        9,
        "the workspace {path} cannot be opened: {reason}",
        next="name a directory that exists, and that AWE may enter",
        state="Nothing was opened.",
    ),
    "fs.exists": Code(
        5,
        "{path} exists already",
        next="read it again, and retry with another name or mode",
        state="It was left as it is.",
    ),
    "fs.missing": Code(
        5,
        "{path} does not exist",
        next="look again, create it first, or correct the name",
        state="Nothing was changed.",
    ),
    "fs.changed": Code(
        5,
        "{path} was changed by someone else meanwhile",
        next="read it again and retry",
        state="Their version is in place.",
    ),
    "fs.not_empty": Code(
        5,
        "{path} is a directory that is not empty",
        next="delete it with recursive=True, if the contract declares that",
        state="Nothing was deleted.",
    ),
    "fs.failed": Code(
        5,
        "{path}: {reason}",
        next="mend the cause (space, permissions, the other program) and retry",
    ),
    "undo.full": Code(
        3,
        "the undo store holds {used} of {quota} bytes; {needed} more do not fit",
        next="drop undo data of closed runs: awe doctor undo --fix; or raise undo.quota",
        state="Nothing was changed by this effect.",
    ),
    "undo.store": Code(
        9,
        "there is no place for undo data beside the workspace ({store}): {reason}",
        next="put the home on the workspace's file system; awe doctor undo",
        state="No effect on files can be done; reading works.",
    ),
    "undo.discarded": Code(
        8,
        "{path} cannot be taken back: what was kept of it in {slot} is gone",
        next="restore it from elsewhere; awe runs show RUN --residue lists what was there",
        state="Nothing was touched.",
    ),
    "undo.preimage_damaged": Code(
        5,
        "{path} was not restored: its earlier version in the undo store has been altered",
        next="compare by hand; the altered version lies in the undo store as {slot}",
        state="Nothing was touched.",
    ),
    "undo.payload": Code(
        1,
        "the undo record of an effect of kind {strategy} cannot be read: {reason}",
        next="report it with the record: awe audit show",
        state="Nothing was touched.",
    ),
    "undo.failed": Code(
        5,
        "{path} could not be taken back: {reason}",
        next="mend the cause, then: awe runs rollback RUN",
        state="What is there now was left in place.",
    ),
    "undo.name_taken": Code(
        9,
        "two distributions offer an undo strategy named {strategy}",
        state="The runtime was not opened.",
        next="suspend one of them: awe packs suspend NAME --reason T",
    ),
    "undo.outcome": Code(
        1,
        "undo strategy {strategy} answered {found}, which is no outcome",
        state="The effect is treated as not taken back.",
        next="report it to the publisher of the strategy",
    ),
    "undo.strategy_missing": Code(
        5,
        "nothing here offers undo strategy {strategy}",
        state="The effect remains.",
        next="activate the distribution that brings it, then: awe runs rollback RUN",
    ),
}
