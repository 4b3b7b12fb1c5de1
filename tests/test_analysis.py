"""The static findings of a workflow."""

from __future__ import annotations

import json
import time
from importlib import resources
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core import documents
from awe_core.analysis import Finding, Level, analyse, analyse_undo, refuse
from awe_core.analysis.flow import follow
from awe_core.analysis.types import kinds, kinds_of_value, of_schema
from awe_core.capability import (
    CapabilityCall,
    CapabilitySpec,
    Confirm,
    EffectDeclaration,
    Risk,
    Undo,
    UndoCaptured,
    UndoCompensate,
    UndoNone,
    UndoNotNeeded,
    UndoStrategyNamed,
)
from awe_core.contract import Schema
from awe_core.errors import AweError, DocumentError, WorkflowError
from awe_core.expressions import Expression
from awe_core.workflow import Concurrency, Need, OnFailure, Retry, StepSpec, WorkflowSpec

TEXT = {"type": "string"}
ERRORS = json.loads(resources.files("awe_core").joinpath("schemas/errors.json").read_text())


def contract(id_: str, undo: Undo | None = None, *, effect: str | None = None, **more):
    """Make a contract; *effect* is ``KIND`` with the path of its input."""
    fields = {"paths": ["${input.path}"], "methods": ["POST"], "idempotency": "none"}
    return CapabilitySpec(
        **{
            "id": id_,
            "version": "1.0.0",
            "summary": "x",
            "risk": Risk.LOW,
            "effects": (EffectDeclaration(effect, fields),) if effect else (),
            "undo": undo or UndoNotNeeded(),
            "input": {"type": "object"},
            "output": {"type": "object"},
            "handler": "m:f",
            **more,
        }
    )


READ = contract(
    "fs.read",
    input={
        "type": "object",
        "required": ["path"],
        "additionalProperties": False,
        "properties": {
            "path": TEXT,
            "lines": {"type": "integer"},
            "mode": {"enum": ["text", "bytes"]},
            "filters": {"type": "array", "items": {"type": "object", "properties": {"on": TEXT}}},
            "start": {"type": "integer", "default": 0},
        },
    },
    output={
        "type": "object",
        "required": ["text", "size"],
        "additionalProperties": False,
        "properties": {
            "text": TEXT,
            "size": {"type": "integer"},
            "owner": TEXT,
            "parts": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"name": TEXT},
                },
            },
        },
    },
)
WRITE = contract("fs.write", UndoCaptured(), effect="fs.write", idempotent=True)
MAIL = contract("mail.send", UndoNone("it is read"), effect="net.http")
CRM = contract("crm.add", UndoCompensate(CapabilityCall("crm.delete")), effect="net.http")
DB = contract("db.put", UndoStrategyNamed("db.restore"), effect="db.write")
ASK = contract("flow.approve", confirm=Confirm.ALWAYS, timeout_us=10_000_000)
RECALL = contract(
    "mail.recall",
    UndoNone("it is final"),
    effect="net.http",
    input={
        "type": "object",
        "required": ["id"],
        "additionalProperties": False,
        "properties": {"id": {"type": "integer"}},
    },
)
GONE = contract("crm.delete", UndoNone("it is gone"), effect="net.http")
FIND = contract("mail.find", output={"type": "object", "required": ["effect"]})
CAPABILITIES = {c.reference: c for c in (READ, WRITE, MAIL, CRM, DB, ASK, RECALL, GONE, FIND)}


def workflow(*steps: StepSpec, **more) -> WorkflowSpec:
    inputs = {
        "type": "object",
        "additionalProperties": False,
        "required": ["source"],
        "properties": {
            "source": TEXT,
            "title": TEXT,
            "files": {"type": "array", "items": TEXT},
            "size": {"type": "integer", "default": 1},
        },
    }
    return WorkflowSpec(
        **{
            "id": "notes",
            "version": "1.0.0",
            "summary": "x",
            "inputs": inputs,
            "steps": steps,
            **more,
        }
    )


def read(id_: str = "read", **more) -> StepSpec:
    return StepSpec(id_, **{"capability": "fs.read@1", "with_": {"path": "a"}, **more})


def write(id_: str, path: str = "${inputs.source}", **more) -> StepSpec:
    return StepSpec(id_, **{"capability": "fs.write@1", "with_": {"path": path}, **more})


def found(spec: WorkflowSpec, *, workflows: tuple[WorkflowSpec, ...] = ()) -> list[Finding]:
    """Analyse *spec* and leave out what only tells."""
    known = {w.reference: w for w in (spec, *workflows)}
    findings = analyse(spec, capabilities=CAPABILITIES, workflows=known)
    return [finding for finding in findings if finding.level is not Level.INFO]


def codes(spec: WorkflowSpec, **more) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.step) for finding in found(spec, **more)]


def coverage(spec: WorkflowSpec, *workflows: WorkflowSpec) -> Finding:
    known = {w.reference: w for w in workflows}
    findings = analyse(spec, capabilities=CAPABILITIES, workflows=known)
    return next(finding for finding in findings if finding.code == "saga.undo_coverage")


# Structure


def test_a_sound_workflow_has_nothing_but_its_coverage() -> None:
    spec = workflow(
        read(with_={"path": "${inputs.source}"}),
        write("publish", with_={"path": "out.md", "text": "${steps.read.output.text}"}),
        outputs={"path": "${steps.publish.output.path}"},
    )

    assert found(spec) == [] or codes(spec) == [("workflow.maybe_missing", None)]
    assert coverage(spec).message == "notes@1: 1 of 1 steps that change something can be taken back"


def test_a_cycle_is_named_whole() -> None:
    spec = workflow(
        read("a", needs=(Need("c"),)),
        read("b", with_={"path": "${steps.a.output.text}"}),
        read("c", needs=(Need("b"),)),
        read("free"),
    )
    (finding,) = found(spec)

    assert (finding.code, finding.level) == ("workflow.cycle", Level.ERROR)
    assert finding.message == "notes@1: these steps wait for each other: a → c → b → a"
    assert finding.error.details == (
        "a: notes@1: step a",
        "c: notes@1: step c",
        "b: notes@1: step b",
    )


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((read("a"), read("a")), [("workflow.duplicate", "a")]),
        ((read("a", needs=(Need("b"),)),), [("workflow.unknown_need", "a")]),
        ((read("a", needs=(Need("a"),)),), [("workflow.unknown_need", "a")]),
        ((read("a", capability="fs.raed@1"),), [("workflow.unknown_capability", "a")]),
        (
            (StepSpec("a", workflow="nots@1"),),
            [("workflow.unknown_workflow", "a")],
        ),
        ((StepSpec("a", workflow="notes@1"),), [("workflow.recursive", None)]),
        ((read(with_={"path": "${inputs.source"}),), [("expression.syntax", "read")]),
        ((read(with_={"path": "${input.source}"}),), [("expression.unknown_root", "read")]),
        ((read(with_={"path": "${item}"}),), [("expression.unknown_root", "read")]),
        ((read(with_={"path": "${steps.raed.output}"}),), [("workflow.reference", "read")]),
    ],
)
def test_what_cannot_be_planned_is_an_error(
    steps: tuple[StepSpec, ...], expected: list[tuple[str, str | None]]
) -> None:
    assert expected == codes(workflow(*steps))


def test_misspelt_names_are_answered_with_the_nearest() -> None:
    (capability,) = found(workflow(read("a", capability="fs.raed@1")))
    (need,) = found(workflow(read("first"), read("a", needs=(Need("frist"),))))
    (called,) = found(
        workflow(StepSpec("a", workflow="other@1")), workflows=(workflow(id="othre"),)
    )
    (reference,) = found(workflow(read("first"), read(with_={"path": "${steps.frist.output}"})))

    assert "did you mean fs.read@1?" in capability.error.details
    assert need.error.hint == "write first"
    assert "did you mean othre@1?" in called.error.details
    assert reference.error.details == ("did you mean steps.first?",)


def test_recursion_through_others_is_named_whole() -> None:
    spec = workflow(StepSpec("a", workflow="inner@1"))
    inner = workflow(StepSpec("b", workflow="notes@1"), id="inner")

    assert found(spec, workflows=(inner,))[0].message == (
        "notes@1 calls itself: notes@1 → inner@1 → notes@1"
    )


def test_a_workflow_missing_below_a_called_one_is_found() -> None:
    inner = workflow(StepSpec("b", workflow="gone@1"), id="inner")

    (finding,) = found(workflow(StepSpec("a", workflow="inner@1")), workflows=(inner,))

    assert (finding.code, finding.step) == ("workflow.unknown_workflow", None)
    assert finding.message.startswith("inner@1 calls the workflow gone@1")


def test_sub_workflows_count_towards_the_size() -> None:
    inner = workflow(*(write(f"w{i}", f"f{i}") for i in range(300)), id="inner")
    spec = workflow(
        *(StepSpec(f"s{i}", workflow="inner@1", with_={"source": "x"}) for i in range(170))
    )

    assert codes(spec, workflows=(inner,)) == [("workflow.too_large", None)]


def test_nesting_has_a_limit() -> None:
    levels = [workflow(read(), id="w0")]
    for level in range(1, 18):
        call = StepSpec("a", workflow=f"w{level - 1}@1", with_={"source": "x"})
        levels.append(workflow(call, id=f"w{level}"))

    assert codes(levels[16], workflows=tuple(levels)) == []
    assert codes(levels[17], workflows=tuple(levels)) == [("workflow.too_large", None)]


def test_a_step_may_not_stretch_a_timeout() -> None:
    ask = StepSpec("ask", capability="flow.approve@1", timeout_us=11_000_000)
    (finding,) = found(workflow(ask))

    assert finding.code == "workflow.timeout_stretched"
    assert finding.message == (
        "notes@1: step ask timeout: the step allows 11s, and flow.approve@1 allows 10s for one "
        "attempt"
    )


YAML = """\
awe: workflow/v1
id: notes
version: 1.0.0
summary: x
steps:
  - id: ask
    capability: flow.approve@1
    confirm: policy
  - id: read
    capability: fs.read@1
    with:
      path: ${steps.ask.output.name}
      lines: many
"""


def test_findings_point_into_the_file_they_came_from() -> None:
    parsed = documents.read("workflow", YAML, file="w.yaml")
    spec = documents.load_workflow(YAML, file="w.yaml")
    findings = analyse(spec, capabilities=CAPABILITIES, workflows={}, parsed=parsed)

    assert [(f.code, f.message.partition(": ")[0]) for f in findings][:1] == [
        ("workflow.confirm_loosened", "w.yaml:8:14")
    ]
    without = YAML.replace("    confirm: policy\n", "")
    parsed = documents.read("workflow", without, file="w.yaml")
    spec = documents.load_workflow(without, file="w.yaml")
    findings = analyse(spec, capabilities=CAPABILITIES, workflows={}, parsed=parsed)
    assert ("workflow.type", "w.yaml:12:14") in [
        (f.code, f.message.partition(": ")[0]) for f in findings
    ]


def test_errors_come_first_and_stop_a_load() -> None:
    spec = workflow(read("a", with_={"path": 3}), write("x", "o"), write("y", "o"))
    findings = found(spec)

    assert [f.level for f in findings] == [Level.ERROR, Level.WARNING]
    with pytest.raises(WorkflowError) as caught:
        refuse(findings)
    assert caught.value.code == "workflow.type"


def test_warnings_stop_a_load_only_under_strict_and_unless_accepted() -> None:
    spec = workflow(write("x", "o"), write("y", "o"))
    accepting = workflow(write("x", "o"), write("y", "o", accept={"saga.race": "same bytes"}))
    by_workflow = workflow(*spec.steps, accept={"saga.race": "same bytes"})

    refuse(found(spec))
    with pytest.raises(WorkflowError, match="same time"):
        refuse(found(spec), strict=True)
    for accepted in (accepting, by_workflow):
        assert [f.accepted for f in found(accepted)] == ["same bytes"]
        refuse(found(accepted), strict=True)


def test_errors_cannot_be_accepted() -> None:
    spec = workflow(read("a", with_={"path": 3}, accept={"workflow.type": "please"}))

    with pytest.raises(AweError):
        refuse(found(spec))


def test_a_finding_has_a_form_for_programs() -> None:
    (finding,) = found(workflow(read(with_={"path": 3})))

    assert finding.as_json() == {
        "code": "workflow.type",
        "level": "error",
        "step": "read",
        "message": "notes@1: step read with.path: fs.read@1 cannot take this for path",
        "details": ["string is expected, found number"],
        "next": "give what is expected: awe capabilities show fs.read@1",
        "accepted": None,
    }


# Types


@pytest.mark.parametrize(
    ("with_", "why"),
    [
        ({}, "it is required and not given"),
        ({"path": "a", "pth": 1}, "did you mean path?"),
        ({"path": "a", "zzz": 1}, "known: filters, lines, mode, path, start"),
        ({"path": ["a"]}, "string is expected, found array"),
        ({"path": None}, "string is expected, found null"),
        ({"path": "a", "lines": "x${inputs.size}"}, "integer is expected, found string"),
        ({"path": "a", "lines": 1.5}, "integer is expected, found number"),
        ({"path": "${inputs.size}"}, "string is expected, found integer"),
        ({"path": "${inputs.files}"}, "string is expected, found array"),
        ({"path": "${inputs.files[*]}"}, "string is expected, found array"),
        ({"path": "${length(inputs.files)}"}, "string is expected, found integer"),
        ({"path": "${`3`}"}, "string is expected, found number"),
        ({"path": "${{a: inputs.source}}"}, "string is expected, found object"),
        ({"path": "${inputs.size || inputs.files}"}, "string is expected, found array or integer"),
        ({"path": "${!(inputs.size)}"}, "string is expected, found boolean"),
        ({"path": "${run}"}, "string is expected, found object"),
        ({"path": "a", "mode": "txt"}, "text, bytes is expected, found string"),
        ({"path": "a", "filters": [{"on": 1}]}, "string is expected, found number"),
        ({"path": "a", "filters": {"on": "x"}}, "array is expected, found object"),
    ],
)
def test_a_type_the_target_cannot_take_is_an_error(with_: dict[str, object], why: str) -> None:
    errors = [f for f in found(workflow(read(with_=with_))) if f.level is Level.ERROR]

    assert [(f.code, f.error.details) for f in errors] == [("workflow.type", (why,))]


@pytest.mark.parametrize(
    "with_",
    [
        {"path": "x"},
        {"path": "${inputs.source}"},
        {"path": "a-${inputs.size}"},
        {"path": "${inputs.files[0]}"},
        {"path": "${inputs.title || 'x'}"},
        {"path": "${inputs.files | [0]}"},
        {"path": "${join(',', inputs.files)}"},
        {"path": "${run.id}"},
        {"path": "${run.started_at}"},
        {"path": "${inputs.files[?@ == 'a'] | [0]}"},
        {"path": "${inputs.files[] | [0]}"},
        {"path": "${max(inputs.files)}"},
        {"path": "${inputs.source && inputs.source}"},
        {"path": "a", "lines": 2, "mode": "bytes", "filters": [{"on": "x", "more": 1}]},
        {"path": "a", "lines": 2.0},
        {"path": "a", "lines": "${inputs.size}"},
    ],
)
def test_what_may_fit_is_no_error(with_: dict[str, object]) -> None:
    assert [f for f in found(workflow(read(with_=with_))) if f.level is Level.ERROR] == []


@pytest.mark.parametrize(
    ("text", "reference", "details"),
    [
        ("${inputs.sorce}", "inputs.sorce", ("did you mean source?",)),
        ("${inputs.source.x}", "inputs.source.x", ()),
        ("${inputs.source[0]}", "inputs.source[0]", ()),
        ("${inputs.source[*].x}", "inputs.source[*]", ()),
        ("${inputs.files[*].x}", "inputs.files[*].x", ()),
        ("${inputs.files.x}", "inputs.files.x", ()),
        ("${steps.first.outptu}", "steps.first.outptu", ("did you mean output?",)),
        ("${steps.first.output.txt}", "steps.first.output.txt", ("did you mean text?",)),
        ("${steps.first.output.parts[*].nmae}", None, ("did you mean name?",)),
        ("${length(inputs.zzz)}", "inputs.zzz", ()),
        ("${inputs.zzz || 'x'}", "inputs.zzz", ()),
        ("a-${run.idd}-b", "run.idd", ("did you mean id?",)),
        ("${inputs | source.x}", None, ()),
        ("${{a: inputs.zzz}.a}", "inputs.zzz", ()),
    ],
)
def test_a_reference_to_what_no_instance_has_is_an_error(
    text: str, reference: str | None, details: tuple[str, ...]
) -> None:
    spec = workflow(read("first"), write("second", with_={"text": text}))
    findings = [f for f in found(spec) if f.level is Level.ERROR]

    assert [f.code for f in findings] == ["workflow.reference"]
    assert reference is None or f" {reference} names nothing" in findings[0].message
    assert findings[0].error.details == details


def test_a_fan_out_takes_a_list_and_its_items_have_its_items_type() -> None:
    wrong = workflow(read("each", foreach="${inputs.source}", with_={"path": "${item}"}))
    right = workflow(read("each", foreach="${inputs.files}", with_={"path": "${item}"}))
    index = workflow(read("each", foreach="${inputs.files}", with_={"path": "${index}"}))
    deep = workflow(read("each", foreach="${inputs.files}", with_={"path": "${item.name}"}))
    literal = workflow(read("each", foreach=["a"], with_={"path": "${item}"}))

    assert [f.error.details for f in found(wrong)] == [("a list is expected, found string",)]
    assert codes(right) == [("workflow.maybe_missing", "each")]  # inputs.files is optional
    assert ("workflow.type", "each") in codes(index)
    assert ("workflow.reference", "each") in codes(deep)
    assert codes(literal) == []


def test_the_output_of_a_fan_out_is_a_list() -> None:
    each = read("each", foreach=["a"], with_={"path": "${item}"})
    whole = workflow(each, read("all", with_={"path": "${steps.each.output}"}))
    one = workflow(each, read("all", with_={"path": "${steps.each.output[0].text}"}))
    field = workflow(each, read("all", with_={"path": "${steps.each.output.text}"}))

    assert codes(whole) == [("workflow.type", "all")]
    assert codes(one) == []
    assert codes(field) == [("workflow.reference", "all")]


def test_types_flow_through_the_outputs_of_a_called_workflow() -> None:
    inner = workflow(
        read(), id="inner", outputs={"size": "${steps.read.output.size}", "note": "x-${run.id}"}
    )
    call = StepSpec("call", workflow="inner@1", with_={"source": "s"})

    def using(text: str) -> list[str]:
        spec = workflow(call, read("second", with_={"path": text}))
        return [code for code, _ in codes(spec, workflows=(inner,))]

    assert using("${steps.call.output.note}") == []
    assert using("${steps.call.output.size}") == ["workflow.type"]
    assert using("${steps.call.output.other}") == ["workflow.reference"]


def test_arguments_of_a_called_workflow_are_held_against_its_inputs() -> None:
    inner = workflow(read(), id="inner")
    call = StepSpec("call", workflow="inner@1", with_={"sorce": "x"})

    assert [f.error.details for f in found(workflow(call), workflows=(inner,))] == [
        ("it is required and not given",),
        ("did you mean source?",),
    ]


def test_a_broken_output_below_is_unknown_here() -> None:
    inner = workflow(read(), id="inner", outputs={"x": "${nope.a}"})
    call = StepSpec("call", workflow="inner@1", with_={"source": "s"})
    spec = workflow(call, read("second", with_={"path": "${steps.call.output.x}"}))

    assert codes(spec, workflows=(inner,)) == []


def test_the_workflows_own_outputs_and_key_are_checked() -> None:
    spec = workflow(
        read(),
        outputs={"a": "${steps.read.output.txt}"},
        concurrency=Concurrency("${inputs.sorce}"),
    )

    assert codes(spec) == [("workflow.reference", None)] * 2


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("${inputs.title}", "inputs.title"),
        ("${steps.first.output.owner}", "steps.first.output.owner"),
        ("x ${inputs.title}", "inputs.title"),
    ],
)
def test_what_an_instance_may_lack_is_a_warning(text: str, reference: str) -> None:
    spec = workflow(read("first"), write("second", with_={"text": text}))
    (finding,) = found(spec)

    assert (finding.code, finding.level) == ("workflow.maybe_missing", Level.WARNING)
    assert f" {reference} may be missing" in finding.message


@pytest.mark.parametrize(
    "text",
    [
        "${inputs.title || 'x'}",
        "${inputs.size}",
        "${inputs.files || `[]`}",
        "${type(inputs.title)}",
    ],
)
def test_a_default_or_another_value_answers_for_what_is_missing(text: str) -> None:
    assert codes(workflow(write("w", with_={"text": text}))) == []


def test_asking_whether_something_is_there_is_no_warning() -> None:
    assert codes(workflow(read(when="${inputs.title}"))) == []


def test_outputs_of_steps_that_may_not_run_may_be_missing() -> None:
    maybe = read("maybe", when="${inputs.size > `1`}")
    follows = read("follows", with_={"path": "${steps.maybe.output.text}"})
    anyway = attrs.evolve(follows, needs=(Need("maybe", even_if_skipped=True),))
    tolerated = read("maybe", on_failure=OnFailure.CONTINUE)
    outputs = {"text": "${steps.follows.output.text}"}

    assert codes(workflow(maybe, follows)) == []  # it is skipped as well
    assert codes(workflow(maybe, anyway)) == [("workflow.maybe_missing", "follows")]
    assert codes(workflow(tolerated, follows)) == [("workflow.maybe_missing", "follows")]
    assert codes(workflow(maybe, follows, outputs=outputs)) == [("workflow.maybe_missing", None)]


@pytest.mark.parametrize("when", [False, "${`false`}", "${`[]`}", "${`null`}", '${`""`}'])
def test_a_condition_that_is_always_false_makes_what_follows_unreachable(when: object) -> None:
    spec = workflow(
        read("a", when=when),
        read("b", needs=(Need("a"),)),
        read("c", needs=(Need("a", even_if_skipped=True),)),
    )
    findings = found(spec)

    assert [(f.code, f.step) for f in findings] == [
        ("workflow.unreachable", "a"),
        ("workflow.unreachable", "b"),
    ]
    assert "its condition is always false" in findings[0].message
    assert "it needs a, which never runs" in findings[1].message


@pytest.mark.parametrize("when", [True, "${`0`}", "${inputs.size}", '${abs(`"x"`)}'])
def test_other_conditions_may_hold(when: object) -> None:
    assert codes(workflow(read("a", when=when))) == []


# Taking back


def test_what_cannot_be_taken_back_goes_last() -> None:
    mail = StepSpec("mail", capability="mail.send@1", needs=(Need("read"),))
    spec = workflow(read(), mail, read("after"), read("later", needs=(Need("after"),)))
    (finding,) = found(spec)

    assert (finding.code, finding.step) == ("saga.pivot", "mail")
    assert finding.message == (
        "notes@1: step mail: step mail cannot be taken back, and after and 1 more may fail after it"
    )
    assert codes(workflow(read(), mail)) == []


@pytest.mark.parametrize(
    "after",
    [
        read("after", retry=Retry(attempts=3)),
        read("after", on_failure=OnFailure.CONTINUE),
        read("after", on_failure=OnFailure.STOP),
    ],
)
def test_what_does_not_roll_back_may_follow_a_pivot(after: StepSpec) -> None:
    assert codes(workflow(StepSpec("mail", capability="mail.send@1"), after)) == []


def test_a_compensation_of_the_step_makes_it_no_pivot() -> None:
    call = UndoCompensate(CapabilityCall("mail.recall", {"id": 1}))
    mail = StepSpec("mail", capability="mail.send@1", compensation=call)

    assert codes(workflow(mail, read())) == []


def test_a_called_workflow_with_a_pivot_is_a_pivot() -> None:
    inner = workflow(StepSpec("mail", capability="mail.send@1"), id="inner")
    spec = workflow(StepSpec("call", workflow="inner@1", with_={"source": "s"}), read())

    assert codes(spec, workflows=(inner,)) == [("saga.pivot", "call")]


def test_coverage_says_how_each_step_is_taken_back_and_from_where_on_not() -> None:
    spec = workflow(
        read(),
        write("w", "o"),
        StepSpec("crm", capability="crm.add@1"),
        StepSpec("db", capability="db.put@1"),
        StepSpec("call", workflow="inner@1", with_={"source": "s"}),
        StepSpec("mail", capability="mail.send@1"),
    )
    finding = coverage(spec, workflow(write("x", "p"), id="inner"))

    assert finding.message == "notes@1: 4 of 5 steps that change something can be taken back"
    assert finding.error.details == (
        "w: captured",
        "crm: compensated",
        "db: strategy",
        "call: as its steps",
        "mail: none",
        "after step mail this run cannot be fully taken back",
    )
    assert finding.level is Level.INFO


def test_a_retry_that_may_repeat_an_effect_is_a_warning() -> None:
    mail = StepSpec("mail", capability="mail.send@1", retry=Retry(attempts=2))

    assert codes(workflow(mail)) == [("saga.retry_repeats", "mail")]
    assert codes(workflow(StepSpec("mail", capability="mail.send@1"))) == []
    assert codes(workflow(StepSpec("crm", capability="crm.add@1", retry=Retry(attempts=2)))) == []


@pytest.mark.parametrize(
    ("one", "other", "races"),
    [
        ("out.md", "out.md", True),
        ("${inputs.source}", "${inputs.source}", True),
        ("${inputs.source}/a", "${inputs.source}/a", True),
        ("out", "out/a/b.md", True),
        ("out/a/b.md", "out", True),
        ("out/**", "out/a.md", True),
        ("out.md", "other.md", False),
        ("out", "outer/a", False),
        ("${inputs.source}", "${inputs.title || 'x'}", False),
    ],
)
def test_unordered_steps_on_one_resource_race(one: str, other: str, *, races: bool) -> None:
    spec = workflow(write("x", one), write("y", other))
    ordered = workflow(write("x", one), write("y", other, needs=(Need("x"),)))

    assert [code for code, _ in codes(spec)] == (["saga.race"] if races else [])
    assert codes(ordered) == []


def test_items_that_change_one_thing_race_with_each_other() -> None:
    def each(path: str, **more) -> list[tuple[str, str | None]]:
        return codes(workflow(write("each", path, foreach=["a", "b"], **more)))

    assert each("out.md") == [("saga.race", "each")]
    assert each("out.md", max_parallel=1) == []
    assert each("${item}.md") == []


def test_an_expiry_below_the_longest_chain_is_a_warning() -> None:
    ask = StepSpec(
        "ask",
        capability="flow.approve@1",
        timeout_us=5_000_000,
        retry=Retry(attempts=3, backoff_us=1_000_000, factor=2, max_us=1_500_000),
    )
    next_ = StepSpec("next", capability="flow.approve@1", needs=(Need("ask"),))
    # thrice 5 s, 1 s and 1.5 s between them, then 10 s
    (finding,) = found(workflow(ask, next_, expires_us=27_000_000))

    assert (finding.code, finding.step) == ("workflow.expiry_too_short", None)
    assert "expires after 27s, and its steps may take 27500ms" in finding.message
    assert codes(workflow(ask, next_, expires_us=27_500_000)) == []


# Size and law


def test_a_chain_of_fifty_thousand_steps_passes() -> None:
    steps = [read("s0")]
    steps += [
        read(f"s{i}", with_={"path": f"${{steps.s{i - 1}.output.text}}"}) for i in range(1, 50_000)
    ]
    started = time.monotonic()

    assert codes(workflow(*steps)) == []
    assert time.monotonic() - started < 60


leaves = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer"},
        {"type": ["string", "null"]},
        {"const": {"a": 1}},
        {"enum": [1, "a", None]},
        {},
        True,
    ]
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda properties, required, others: {
                "type": "object",
                "properties": properties,
                "required": [name for name in required if name in properties],
                "additionalProperties": others,
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.lists(st.sampled_from("abc"), unique=True),
            st.sampled_from([True, False]),
        ),
        st.builds(lambda items: {"type": "array", "items": items, "maxItems": 2}, inner),
        st.builds(lambda one: {"allOf": [one], "type": "object"}, inner),
        st.builds(lambda one: {"$defs": {"x": one}, "anyOf": [one, {"type": "null"}]}, inner),
        st.builds(
            lambda one, others: {
                "patternProperties": {"^[ab]$": one},
                "additionalProperties": others,
            },
            inner,
            st.one_of(inner, st.just(False)),  # noqa: FBT003 - a schema
        ),
        st.builds(lambda first, rest: {"prefixItems": [first], "items": rest}, inner, inner),
        st.just({"$defs": {"t": {"type": "integer"}}, "$ref": "#/$defs/t"}),
    ),
    max_leaves=6,
)
instances = st.recursive(
    st.sampled_from([None, 1, "a", True]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=5,
)
paths = st.lists(st.sampled_from([".a", ".b", ".c", "[0]", "[-1]", "[*]"]), max_size=4)


expressions = st.one_of(
    paths.map(lambda path: "inputs" + "".join(path)),
    st.builds(
        lambda left, form: form.format("inputs" + "".join(left)),
        paths,
        st.sampled_from(
            [
                "{0} || inputs",
                "inputs.a || {0}",
                "!({0})",
                "type({0})",
                "length({0})",
                "keys({0})",
                "to_array({0})",
                "{{x: {0}}}",
                "{{x: {0}}}.x",
                "[{0}]",
                "{0} | [0]",
                "({0})[]",
                "({0})[0:1]",
                "({0})[?@]",
                "({0})[?a].b",
                "{0} && inputs",
                "{0} == inputs",
            ]
        ),
    ),
)


@given(schema=schemas, instance=instances, text=expressions)
def test_the_type_of_an_expression_excludes_nothing_that_can_be(
    schema: object, instance: object, text: str
) -> None:
    try:
        valid = Schema.compile(schema, where="law").apply(instance, side="input")
        expression = Expression.compile(f"${{{text}}}", where="law", roots=frozenset({"inputs"}))
        result = expression.evaluate({"inputs": valid})
    except AweError:
        return

    flow = follow(expression, {"inputs": of_schema(schema)})

    assert kinds_of_value(result) & (kinds(flow.type) | {"null"})


def test_schemas_are_read_through_their_own_references() -> None:
    root = {
        "$defs": {
            "person": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"boss": {"$ref": "#/$defs/person"}, "name": TEXT},
            },
            "loop": {"$ref": "#/$defs/loop"},
        },
        "type": "object",
        "properties": {
            "head": {"$ref": "#/$defs/person"},
            "lost": {"$ref": "#/$defs/gone"},
            "far": {"$ref": "https://x/y"},
            "loop": {"$ref": "#/$defs/loop"},
        },
    }

    def impossible(text: str) -> bool:
        expression = Expression.compile(f"${{{text}}}", where="x", roots=frozenset({"inputs"}))
        return bool(follow(expression, {"inputs": of_schema(root)}).impossible)

    assert not impossible("inputs.head.boss.boss.name")
    assert impossible("inputs.head.boss.boss.nam")
    assert not any(impossible(f"inputs.{name}.any.thing") for name in ("lost", "far", "loop"))


@pytest.mark.parametrize(
    ("schema", "text", "is_impossible"),
    [
        ({"const": {"a": 1}}, "inputs.b", True),
        ({"const": {"a": 1}}, "inputs.a", False),
        ({"const": [1]}, "inputs[0]", False),
        ({"const": [{"a": 1}]}, "inputs[0].b", True),
        ({"type": "array", "items": False}, "inputs[0]", True),
        ({"type": "array", "maxItems": 2}, "inputs[2]", True),
        ({"type": "array", "maxItems": 2}, "inputs[-2]", False),
        ({"type": "array", "prefixItems": [TEXT]}, "inputs[0].a", False),
        ({"patternProperties": {"^x": TEXT}, "additionalProperties": False}, "inputs.xa", False),
        ({"patternProperties": {"^x": TEXT}, "additionalProperties": False}, "inputs.a", True),
        ({"patternProperties": {"(": TEXT}, "additionalProperties": False}, "inputs.a", False),
        ({"patternProperties": {"[": TEXT}, "additionalProperties": False}, "inputs.a", False),
        ({"type": "object", "additionalProperties": TEXT}, "inputs.a.b", True),
        (False, "inputs.a", True),
        (True, "inputs.a", False),
        ({"enum": [1.5, "x"]}, "inputs.a", True),
    ],
)
def test_impossible_is_read_off_the_schema(
    schema: object, text: str, *, is_impossible: bool
) -> None:
    expression = Expression.compile(f"${{{text}}}", where="x", roots=frozenset({"inputs"}))

    flow = follow(expression, {"inputs": of_schema(schema)})

    assert is_impossible is bool(flow.impossible)


def test_the_search_for_pivots_and_races_ends() -> None:
    mails = [StepSpec(f"m{i}", capability="mail.send@1") for i in range(300)]
    pivots = found(workflow(*mails))
    races = found(workflow(*(write(f"w{i}", "o") for i in range(300))))

    assert len(pivots) == len(races) == 256
    assert pivots[-1].error.details == ("the search stops here, after 256 of 300 steps",)
    assert races[-1].error.details == ("the search stops here, after 256 pairs",)


@given(schema=schemas, instance=instances, path=paths)
def test_what_is_called_impossible_is_null_on_every_valid_instance(
    schema: object, instance: object, path: list[str]
) -> None:
    try:
        valid = Schema.compile(schema, where="law").apply(instance, side="input")
    except AweError:
        return
    text = "inputs" + "".join(path)
    expression = Expression.compile(f"${{{text}}}", where="law", roots=frozenset({"inputs"}))

    flow = follow(expression, {"inputs": of_schema(schema)})

    if flow.impossible:
        assert expression.evaluate({"inputs": valid}) in (None, [])


# One file for each finding, and what is said of it

GOLDENS = Path(__file__).parent / "goldens" / "analysis"


@pytest.mark.parametrize("file", sorted(GOLDENS.glob("*.yaml")), ids=lambda file: file.stem)
def test_what_is_found_in_a_file_is_what_stands_beside_it(file: Path, golden) -> None:
    try:
        parsed = documents.read("workflow", file.read_bytes(), file=file.name)
        spec = documents.load_workflow(file.read_bytes(), file=file.name)
    except DocumentError as error:  # a list of steps that makes no graph is no workflow at all
        findings = (Finding(Level.ERROR, None, error),)
    else:
        known = {spec.reference: spec}
        findings = analyse(spec, capabilities=CAPABILITIES, workflows=known, parsed=parsed)

    assert file.stem.removesuffix("_accepted") in {one.code for one in findings}
    told = [
        "\n  ".join(
            [
                f"{one.level.value} {one.code}: {one.message}",
                *one.error.details,
                *([f"accepted: {one.accepted}"] if one.accepted else []),
                f"next: {one.error.hint}",
            ]
        )
        for one in findings
    ]
    golden.check(f"analysis/{file.stem}.txt", "\n".join(told) + "\n")


def test_every_finding_has_its_file() -> None:
    """But the one that takes fifty thousand steps, and those that only a run can meet."""
    known = {code for code in ERRORS if code.startswith(("workflow.", "saga."))}
    beside = {"workflow.too_large", "workflow.foreach_no_list", "workflow.step_target"}
    files = {file.stem for file in GOLDENS.glob("*.yaml")} | beside | {"workflow.unknown"}

    assert known == files - {"saga.pivot_accepted"}


# ---- calls that take back -----------------------------------------------------------------------
ID = {"id": "${effect.id}"}


def sent(undo: UndoCompensate) -> WorkflowSpec:
    return workflow(read(), StepSpec("mail", capability="mail.send@1", compensation=undo))


@pytest.mark.parametrize(
    ("undo", "code", "says"),
    [
        (UndoCompensate(CapabilityCall("mail.gone", ID)), "saga.compensation", "no ACTIVE pack"),
        (UndoCompensate(CapabilityCall("mail.recall@2", ID)), "saga.compensation", "mail.recall@2"),
        (
            UndoCompensate(CapabilityCall("mail.recall", ID), before=CapabilityCall("crm.add")),
            "saga.compensation",
            "before only looks",
        ),
        (
            UndoCompensate(CapabilityCall("mail.recall", ID), lookup=CapabilityCall("fs.read")),
            "saga.compensation",
            "no required member effect",
        ),
        (UndoCompensate(CapabilityCall("mail.recall")), "workflow.type", "id"),
        (
            UndoCompensate(CapabilityCall("mail.recall", {"id": "${steps.read.output.text}"})),
            "workflow.type",
            "compensation.compensate.with.id",
        ),
        (
            UndoCompensate(CapabilityCall("mail.recall", {"id": "${steps.read.output.txt}"})),
            "workflow.reference",
            "compensation.compensate.with.id",
        ),
        (
            UndoCompensate(CapabilityCall("mail.recall", ID, when="${before.is_there}")),
            "expression.unknown_root",
            "compensation.compensate.when",
        ),
        (
            UndoCompensate(
                CapabilityCall("mail.recall", ID), lookup=CapabilityCall("mail.find", ID)
            ),
            "expression.unknown_root",
            "compensation.lookup.with",
        ),
        (
            UndoCompensate(
                CapabilityCall("mail.recall", {"id": "${before.txt}"}),
                before=CapabilityCall("fs.read", {"path": "a"}),
            ),
            "workflow.reference",
            "before.txt",
        ),
    ],
)
def test_a_call_that_cannot_take_a_step_back_as_written_is_an_error(undo, code, says) -> None:
    findings = found(sent(undo))

    assert [(code, "mail", Level.ERROR)] == [(f.code, f.step, f.level) for f in findings]
    assert says in str(findings[0].error)


def test_what_takes_a_step_back_fits_and_may_come_late() -> None:
    well = UndoCompensate(
        CapabilityCall("mail.recall", ID, when="${before.size}"),
        before=CapabilityCall("fs.read", {"path": "${steps.read.output.text}"}),
        lookup=CapabilityCall("mail.find", {"key": "${idempotency_key}"}),
    )
    late = UndoCompensate(CapabilityCall("mail.recall", {"id": "${output.id}"}))

    assert codes(sent(well)) == []
    told = [(one.code, one.level) for one in found(sent(late))]
    assert told[0] == ("saga.late_output", Level.WARNING)
    assert told[1:] == [("workflow.maybe_missing", Level.WARNING)]


def test_a_sub_workflow_is_not_taken_back_by_a_call() -> None:
    undo = UndoCompensate(CapabilityCall("mail.recall", ID))
    inner = workflow(read(), id="inner")
    spec = workflow(StepSpec("call", workflow="inner@1", with_={"source": "s"}, compensation=undo))

    assert codes(spec, workflows=(inner,)) == [("saga.compensation", "call")]


def test_the_undo_of_a_contract_is_told_with_its_line() -> None:
    text = (
        "awe: capability/v1\nid: mail.post\nversion: 1.0.0\nsummary: x\nrisk: low\n"
        "effects: [{fs.write: a}]\nundo:\n  compensate:\n    capability: mail.recall@1\n"
        "    with: {id: '${input.number}'}\ninput: {type: object, properties: {number: {type:"
        " string}}}\noutput: {type: object}\nhandler: m:f\n"
    )
    parsed = documents.read("capability", text.encode(), file="c.yaml")
    spec = documents.load_capability(text, file="c.yaml")
    (finding,) = (f for f in analyse_undo(spec, CAPABILITIES, parsed) if f.level is Level.ERROR)

    assert "workflow.type" == finding.code
    assert "c.yaml:10:16" in finding.message
    assert () == analyse_undo(READ, CAPABILITIES)


def test_what_a_called_contract_says_of_its_undo_is_found_too() -> None:
    found_ = analyse(
        workflow(StepSpec("crm", capability="crm.add@1")),
        capabilities={CRM.reference: CRM},
        workflows={},
    )

    assert ["saga.compensation"] == [one.code for one in found_ if one.level is not Level.INFO]
    assert "crm.add@1: undo.compensate.capability" in str([one.message for one in found_])
