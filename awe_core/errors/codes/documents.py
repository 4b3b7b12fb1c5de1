"""Codes of the area: documents."""

from collections.abc import Mapping

from awe_core.errors.codes.code import Code

DOCUMENTS: Mapping[str, Code] = {
    "canonical.domain": Code(
        2,
        "the value at {pointer} has no canonical form: {why}",
        next="change what stands there; fractions and large numbers can be written as strings",
    ),
    "canonical.parse": Code(
        2,
        "these bytes are not strict canonical JSON: {why}",
        next="take the file again from where it was written; no editor may touch it",
    ),
    "canonical.not_canonical": Code(
        2,
        "these {size_bytes} bytes are JSON, but not its one canonical form",
        next="take the file again from where it was written; no editor may touch it",
    ),
    "canonical.too_large": Code(
        2,
        "this takes {size_bytes} bytes and {limit_bytes} is the limit",
        next="move what is large into a file or a payload of its own",
    ),
    "expression.syntax": Code(
        2,
        "{where}: ${{{text}}} is not an expression: {why}",
        next="correct it in the file; the syntax is JMESPath, and $${{ writes a literal ${{",
    ),
    "expression.unknown_root": Code(
        2,
        "{where}: there is no {root} to refer to",
        next="write {nearest}",
    ),
    "expression.limit": Code(
        2,
        "{where}: ${{{text}}} goes beyond {limit}",
        next="split it over several steps",
    ),
    "expression.failed": Code(
        5,
        "{where}: ${{{text}}} failed: {why}",
        next="make the expression fit what it is given: awe workflows check FILE",
    ),
    "contract.schema": Code(
        2,
        "{where}: the schema cannot be used at {pointer}: {why}",
        next="correct the schema; it is JSON Schema 2020-12",
        state="Nothing was loaded from it.",
    ),
    "contract.input": Code(
        2,
        "{where}: the input does not fit its schema at {pointer}: {keyword}",
        next="correct the input; the schema is shown by awe capabilities show ID",
        state="Nothing has happened.",
    ),
    "contract.output": Code(
        5,
        "{where}: the output does not fit its schema at {pointer}: {keyword}",
        next="report it to the publisher of the capability: its handler breaks its contract",
    ),
    "document.too_large": Code(
        2,
        "{where}: {size_bytes} bytes, and {limit_bytes} is the limit for this kind of file",
        next="split the file",
    ),
    "document.encoding": Code(
        2,
        "{where}: the text {why}",
        next="save the file as plain UTF-8, without byte order mark and invisible characters",
    ),
    "document.syntax": Code(2, "{where}: this is not YAML: {why}", next="correct the line"),
    "document.forbidden": Code(
        2, "{where}: {what} is not allowed in files that people approve", next="{instead}"
    ),
    "document.key_not_string": Code(
        2, "{where}: the key {key} is not text", next="put the key in quotes"
    ),
    "document.duplicate_key": Code(
        2, "{where}: the key {key} stands here for the second time", next="see line {first}"
    ),
    "document.number": Code(
        2,
        "{where}: {number} is a number that readers disagree about, or that JSON does not have",
        next="put it in quotes to make it text, or write it as a plain decimal number",
    ),
    "document.too_deep": Code(
        2, "{where}: this nests deeper than {limit}", next="flatten the document"
    ),
    "document.kind": Code(
        2,
        "{where}: this says it is {found}, and {expected} is expected",
        next="begin the file with a line like: awe: {expected}",
    ),
    "document.unknown_key": Code(2, "{where}: {of} has no key {key}", next="{fix}"),
    "document.missing_key": Code(2, "{where}: {of} lacks the key {key}", next="add {key}"),
    "document.value": Code(2, "{where}: the value of {of} does not fit", next="{fix}"),
    "document.schema": Code(
        2,
        "{where}: {of} is not a JSON Schema that can be used: {why}",
        next="correct the schema; it is JSON Schema 2020-12 and stands alone",
    ),
    "document.not_signable": Code(
        2,
        "{where}: this cannot stand in a signed document: {why}",
        next="write fractions and large numbers as text, and keys in plain ASCII",
    ),
    "document.duplicate_entry": Code(
        2,
        "{where}: this {what} is listed for the second time",
        next="see line {first}; leave one of them out",
    ),
    "capability.confirm_never": Code(
        2,
        "{where}: {capability} says confirm: never at risk {risk}, and that needs risk low",
        next="write confirm: policy",
    ),
    "capability.undo_missing": Code(
        2,
        "{where}: {capability} changes something and does not say how it is undone",
        next="add undo: captured, a compensation, or {{none: why}}",
    ),
    "capability.undo_not_captured": Code(
        2,
        "{where}: {capability} says undo: captured, but the undo of {kind} cannot be captured",
        next="name a compensation or a strategy, or write undo: {{none: why}}",
    ),
    "capability.reveal_risk": Code(
        2,
        "{where}: {capability} has a secret revealed to its handler at risk {risk}",
        next="write risk: high, or let the broker put the secret in: leave reveal out",
    ),
    "capability.alias_of_itself": Code(
        2, "{where}: {capability} lists itself among its former ids", next="leave it out"
    ),
    "workflow.step_target": Code(
        2,
        "{where}: step {step} needs exactly one of capability and workflow",
        next="name what the step calls",
    ),
    "workflow.duplicate": Code(
        2, "{where}: a step {step} stands here for the second time", next="see {first}; rename one"
    ),
    "workflow.unknown_need": Code(
        2, "{where}: step {step} needs {need}, which is not another step", next="{fix}"
    ),
    "workflow.cycle": Code(
        2,
        "{workflow}: these steps wait for each other: {cycle}",
        next="take one of the needs or references out",
        state="Nothing of it was run.",
    ),
    "workflow.recursive": Code(
        2,
        "{workflow} calls itself: {cycle}",
        next="take one of the calls out; repeat with foreach instead",
        state="Nothing of it was run.",
    ),
    "workflow.too_large": Code(
        2,
        "{workflow} has {found} {what}, and {most} is the limit",
        next="split it into workflows that run one after the other",
        state="Nothing of it was run.",
    ),
    "workflow.unknown_capability": Code(
        2,
        "{workflow}: step {step} calls {reference}, which no ACTIVE pack offers",
        next="correct the name, or have its pack activated: awe capabilities list",
        state="Nothing of it was run.",
    ),
    "workflow.unknown_workflow": Code(
        2,
        "{workflow} calls the workflow {reference}, which no ACTIVE pack offers",
        next="correct the name, or have its pack activated: awe workflows list",
        state="Nothing of it was run.",
    ),
    "workflow.reference": Code(
        2,
        "{where}: {reference} names nothing that can be there",
        next="correct the name; the workflow and its contracts say what there is",
        state="Nothing of it was run.",
    ),
    "workflow.type": Code(
        2,
        "{where}: {target} cannot take this for {argument}",
        next="give what is expected: awe capabilities show {target}",
        state="Nothing of it was run.",
    ),
    "workflow.confirm_loosened": Code(
        2,
        "{where}: {target} asks to be confirmed always, and the step says confirm: policy",
        next="leave confirm out of the step; a step may only tighten",
        state="Nothing of it was run.",
    ),
    "workflow.timeout_stretched": Code(
        2,
        "{where}: the step allows {found}, and {target} allows {most} for one attempt",
        next="write a shorter timeout or leave it out; a step may only shorten",
        state="Nothing of it was run.",
    ),
    "workflow.maybe_missing": Code(
        2,
        "{where}: {reference} may be missing, and is null then: {why}",
        next="give another value for that case with ||, or accept it with a reason",
    ),
    "workflow.unreachable": Code(
        2, "{where}: step {step} never runs: {why}", next="correct the condition or take it out"
    ),
    "workflow.expiry_too_short": Code(
        2,
        "{where}: the run expires after {expires}, and its steps may take {longest}",
        next="write expires: {longest} or more, or shorten the timeouts",
    ),
    "saga.pivot": Code(
        2,
        "{where}: step {step} cannot be taken back, and {failing} may fail after it",
        next="order {step} last, or give what follows more attempts with retry",
    ),
    "saga.retry_repeats": Code(
        2,
        "{where}: step {step} is tried again and may then do its effect twice",
        next="use a capability that is idempotent or undoable, or leave retry out",
    ),
    "saga.race": Code(
        2,
        "{where}: {step} and {other} may change {resource} at the same time",
        next="put them in order: needs: [{step}]",
    ),
    "saga.undo_coverage": Code(
        2,
        "{where}: {covered} of {changing} steps that change something can be taken back",
        next="see the steps named; a compensation makes more of them undoable",
    ),
    "config.unreadable": Code(
        2,
        "the deployment file {file} cannot be read: {why}",
        next="name another with --config FILE, or make one: awe init",
    ),
    "config.foreign_file": Code(
        3,
        "{file} belongs to user {owner}, so it decides nothing here",
        next="if it is yours to trust, name it: --config FILE",
    ),
    "config.unknown_variable": Code(
        2, "the environment sets {variable}, which is no setting", next="{fix}"
    ),
    "config.unknown_setting": Code(2, "{key} is no setting that a flag can set", next="{fix}"),
    "config.value": Code(
        2,
        "the value given for {key} by {origin} does not fit",
        next="give what is expected; all settings are listed by awe config show",
    ),
    "contract.output_size": Code(
        5,
        "the result of {capability} has {size} bytes, and its contract allows {limit}",
        state="The step failed; its effects are taken back as the workflow says.",
        next="raise limits: output_bytes in the contract, or give less back",
    ),
    "workflow.foreach_no_list": Code(
        5,
        "foreach of step {step} gave {found} and not a list",
        state="The step did not run.",
        next="awe workflows check FILE",
    ),
    "workflow.unknown": Code(
        8,
        "no ACTIVE workflow is named {workflow}",
        next="awe workflows list",
    ),
}
