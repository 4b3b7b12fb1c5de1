"""Codes of the handshake: who was refused, why, and who can say yes."""

from collections.abc import Mapping

from awe_core.errors.codes.code import Code

HANDSHAKE: Mapping[str, Code] = {
    "handshake.denied": Code(
        3,
        "{by} said no to {capability} in step {step}",
        state="The step did not run.",
        next="read the reason with: awe runs show {run}",
    ),
    "handshake.expired": Code(
        3,
        "request {request} has expired",
        state="Nothing was done.",
        next="submit the call again; the question is then asked anew",
    ),
    "handshake.pending": Code(
        6,
        "request {request} waits for a person",
        state="Nothing has been done.",
        next="awe approvals show {request}    then: awe approve {request}",
    ),
    "handshake.stale": Code(
        8,
        "the answer to {request} names another call than the one that waits now",
        state="The request stays open; nothing was decided.",
        next="awe approvals show {request}    (shows the current call and its digest)",
    ),
    "handshake.drift": Code(
        3,
        "step {step} changed three times while it waited for approval",
        state="The step did not run.",
        next="awe runs show {run}    (names what changed), then submit anew",
    ),
    "handshake.used": Code(
        8,
        "the approval of {request} has been used",
        state="Nothing was done a second time.",
        next="submit the call anew; it is asked anew",
    ),
    "handshake.unknown": Code(
        8,
        "no open request is named {request}",
        next="awe approvals list",
    ),
    "handshake.scope": Code(
        2,
        "{request} asks about one call, once; {scope} is not offered",
        state="The request stays open; nothing was decided.",
        next="awe approve {request}    (approves this call, once)",
    ),
    "handshake.not_eligible": Code(
        3,
        "{by} cannot answer {request}: {why}",
        state="The request stays open.",
        next="awe approvals show {request}    (names who can)",
    ),
    "handshake.assurance": Code(
        3,
        "an answer of assurance {given} is too weak for {request}; it needs {needed}",
        state="The request stays open.",
        next="awe approve {request} --sign    (answers with a person's key)",
    ),
    "handshake.policy_missing": Code(
        9,
        "policy {policy} cannot take part: {why}",
        state="Every call is denied until this is mended.",
        next="correct confirm: in awe.yaml, or install and activate the plugin;"
        " then: awe doctor policies",
    ),
    "handshake.policy_settings": Code(
        2,
        "the settings of policy {policy} cannot be used: {what}",
        state="Every call is denied until this is mended.",
        next="correct confirm: in awe.yaml; then: awe config check",
    ),
    "handshake.stopped": Code(
        3,
        "{capability} is stopped by {by}: {reason} (order {stop})",
        state="Nothing of it ran; undo stays possible.",
        next="awe stop --list; who gave it lifts it: awe stop --release {stop}",
    ),
}
