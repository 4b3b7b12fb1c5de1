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
        "{path} leaves the workspace ({rule})",
        next="name a path inside the workspace, relative to its root",
        state="Nothing was read or written.",
    ),
}
