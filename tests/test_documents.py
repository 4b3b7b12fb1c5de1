"""Files people write: what is read, what is refused, and where the error points."""

from __future__ import annotations

import inspect
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core import canonical, documents
from awe_core.capability import (
    Confirm,
    ExampleError,
    ExampleMatch,
    ExampleOutput,
    Risk,
    ServiceStates,
    UndoCaptured,
    UndoCompensate,
    UndoNone,
    UndoNotNeeded,
    UndoStrategyNamed,
)
from awe_core.errors import CATALOGUE, AweError, DocumentError
from awe_core.workflow import InFlight, Jitter, Need, OnFailure, PlanConfirm, StepConfirm

CONTRACT = """\
awe: capability/v1
id: fs.write_text
version: 1.2.0
summary: Write a text file in the workspace.
risk: medium
effects:
  - fs.write: ${input.path}
undo: captured
confirm: policy
idempotent: true
timeout: 10s
limits: {output_bytes: 2MiB}
input:
  type: object
  required: [path]
  properties:
    path: {type: string, format: workspace-path}
output:
  type: object
examples:
  - name: creates a file
    input: {path: a.txt}
    before: {b.txt: old, c.bin: {base64: AAE=}}
    after: {a.txt: "hi\\n", b.txt: null}
    output: {path: a.txt}
  - name: refuses to leave
    input: {path: ../x}
    error: workspace.escape
  - name: fits
    input: {path: b}
    output_matches: {type: object}
    undone: {a.txt: left}
    service: {before: {n: 1}, undone: null}
    secrets: [token]
handler: awe_pack_stdlib.files:write_text
"""

WORKFLOW = """\
awe: workflow/v1
id: release_notes
version: 1.0.0
summary: Notes.
inputs:
  type: object
  properties: {source: {type: string}}
expires: 7d
in_flight: wait
concurrency: {key: "${inputs.source}", limit: 2}
confirm: plan
steps:
  - id: read
    capability: fs.read_text@1
    with: {path: "${inputs.source}"}
  - id: publish
    capability: fs.write_text@1
    needs: [read, {step: each, even_if: skipped}]
    when: "${steps.read.output.text}"
    retry: {attempts: 3, backoff: 250ms, factor: 1.5, max: 1m, jitter: none, on: [any]}
    timeout: 20s
    confirm: always
    on_failure: continue
    compensation: {compensate: {capability: fs.delete@1}, lookup: {capability: fs.stat@1}}
    accept: {saga.pivot: "goes last"}
    temporal: {place: {pool: fast}}
  - id: each
    foreach: "${inputs.files}"
    max_parallel: 7
    workflow: nested@2
outputs: {path: "${steps.publish.output.path}"}
"""

FACADE = """\
awe: facade/v1
id: publish_notes
summary: Publish.
exposes: {workflow: release_notes@1}
channels: [cli, mcp]
fixed: {title: Notes}
callers: {roles: [operator]}
limits: {rate: 10/min, concurrent: 4}
options: {mcp: {as: tool, wait: 50s}}
"""

PACK = """\
awe: pack/v1
name: jira
publisher: Acme
contracts: contracts/*.yaml
workflows: [a.yaml, b.yaml]
executor: bwrap
hooks: [awe_capabilities]
accept_unenforced: [{right: net_host, reason: loopback only}]
"""

KEY = "ab" * 32
PEOPLE = f"""\
awe: people/v1
people:
  - id: lin
    name: Lin
    roles: [approver]
    logins: [{{iss: "https://idp", sub: "1"}}]
    keys: [{{scheme: ed25519, public: {KEY}}}]
  - id: ana
channels:
  - {{name: page, key: {{scheme: ed25519, public: {"cd" * 32}}}}}
"""


def refused(text: str | bytes, *, file: str = "x.yaml") -> DocumentError:
    """Load *text*, which must be refused."""
    with pytest.raises(DocumentError) as caught:
        documents.load(text, file=file)
    return caught.value


def changed(base: str, old: str, new: str) -> DocumentError:
    """Refuse *base* with one change."""
    assert old in base
    return refused(base.replace(old, new, 1))


def code_of(text: str | bytes) -> str | None:
    """Load *text* and give the code it is refused with, or None."""
    try:
        documents.load(text, file="f")
    except AweError as error:
        return error.code
    return None


# Reading YAML


def test_a_parsed_document_knows_where_each_value_stands() -> None:
    parsed = documents.parse(b"a: 1\nb:\n  - x\n  - {c: true}\n", file="f")

    assert parsed.value == {"a": 1, "b": ["x", {"c": True}]}
    assert parsed.position_of(("b", 1, "c")) == (4, 9)
    assert parsed.key_position_of(("b", 1, "c")) == (4, 6)
    assert parsed.position_of(("b", 1, "gone", 7)) == (4, 5)
    assert parsed.size_bytes == 28


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("True", True),
        ("false", False),
        ("yes", "yes"),
        ("on", "on"),
        ("-12", -12),
        ("+3", 3),
        ("1.5", 1.5),
        (".5e2", 50.0),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ('"1"', "1"),
        ("'null'", "null"),
        ("a\\b", "a\\b"),
        ('"\\u00e9\\0"', "é\0"),
        ("0", 0),
        ("-", [None]),
        ("{a: }", {"a": None}),
    ],
)
def test_scalars_are_those_of_the_yaml_1_2_core_schema(text: str, value: object) -> None:
    found = documents.parse(text, file="f").value

    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        (b"\xef\xbb\xbfa: 1", "document.encoding", "1:1"),
        (b"\xff\xfea\x00", "document.encoding", "1:1"),
        (b"a: 1\nb: \xff", "document.encoding", "2:4"),
        ("a: \0", "document.encoding", "1:4"),
        ("a: 1\nb: x\u202ey", "document.encoding", "2:5"),
        ('a: "\\ud800"', "document.encoding", "1:4"),
        ("a: \x01", "document.syntax", "1:1"),
        ("a: 'x", "document.syntax", "1:6"),
        ('a: "\\Uffffffff"', "document.syntax", "1:1"),
        ("a: b: c", "document.syntax", "1:5"),
        ("a:\n\tb: 1", "document.forbidden", "2:1"),
        ("a: &x 1", "document.forbidden", "1:4"),
        ("a: &x {}", "document.forbidden", "1:4"),
        ("a: [&x []]", "document.forbidden", "1:5"),
        ("a: *x", "document.forbidden", "1:4"),
        ("<<: {a: 1}", "document.forbidden", "1:1"),
        ("a: !!str 1", "document.forbidden", "1:4"),
        ("a: !x {}", "document.forbidden", "1:4"),
        ("a: ! 1", "document.forbidden", "1:4"),
        ("%YAML 1.1\n---\na: 1", "document.forbidden", "2:1"),
        ("%TAG ! x,\n---\na: 1", "document.forbidden", "2:1"),
        ("a: 1\n---\nb: 1", "document.forbidden", "2:1"),
        ("a: 1\nb: 2\na: 3", "document.duplicate_key", "3:1"),
        ('a: 1\n"a": 3', "document.duplicate_key", "2:1"),
        ("1: x", "document.key_not_string", "1:1"),
        ("true: x", "document.key_not_string", "1:1"),
        (": x", "document.key_not_string", "1:1"),
        ("? [a]\n: x", "document.key_not_string", "1:3"),
        ("? {a: 1}\n: x", "document.key_not_string", "1:3"),
        ("a: 012", "document.number", "1:4"),
        ("a: 0x1F", "document.number", "1:4"),
        ("a: 0o17", "document.number", "1:4"),
        ("a: -.inf", "document.number", "1:4"),
        ("a: .NaN", "document.number", "1:4"),
        ("a: 1e999", "document.number", "1:4"),
        ("a: " + "9" * 41, "document.number", "1:4"),
        ("[" * 65, "document.too_deep", "1:65"),
    ],
)
def test_what_readers_could_take_two_ways_is_refused(
    text: str | bytes, code: str, place: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        documents.parse(text, file="f.yaml")

    assert (caught.value.code, caught.value.place) == (code, f"f.yaml:{place}")
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_quoted_merge_key_is_an_ordinary_key() -> None:
    assert documents.parse("'<<': 1", file="f").value == {"<<": 1}


def test_sixty_four_levels_are_read() -> None:
    documents.parse("[" * 64 + "]" * 64, file="f")


def test_a_document_has_at_most_one_mebibyte_and_a_workflow_four() -> None:
    comment = "#" * documents.MAX_BYTES + "\n"

    assert refused(comment + CONTRACT).code == "document.too_large"
    assert documents.load(comment + WORKFLOW, file="f")
    with pytest.raises(DocumentError, match="limit") as caught:
        documents.load_capability(comment + CONTRACT, file="f")
    assert caught.value.code == "document.too_large"
    assert refused(b"#" * (documents.MAX_WORKFLOW_BYTES + 1)).code == "document.too_large"


@pytest.mark.timeout(20)  # reading them one inside the other would take far longer
def test_brackets_that_never_end_are_refused_at_once() -> None:
    assert refused("[" * 1_000_000).code == "document.too_deep"


@given(st.binary(max_size=300))
def test_no_bytes_bring_out_anything_but_an_error_of_ours(data: bytes) -> None:
    assert str(code_of(data) or "document.").startswith("document.")


@given(st.text(max_size=300))
def test_no_text_brings_out_anything_but_an_error_of_ours(text: str) -> None:
    assert str(code_of(text) or "document.").startswith("document.")


@given(
    base=st.sampled_from([CONTRACT, WORKFLOW, FACADE, PACK, PEOPLE]),
    at=st.integers(0, 2000),
    length=st.integers(0, 30),
    new=st.text(alphabet="{}[]:,-&*!|>'\"#%@ \n\tab01.~$", max_size=8),
)
def test_damaged_documents_load_or_are_refused_with_a_place(
    base: str, at: int, length: int, new: str
) -> None:
    damaged = base[:at] + new + base[at + length :]
    place = ""
    try:
        documents.load(damaged, file="f")
    except DocumentError as error:
        place = error.place
    assert int((place or "f:1:1").split(":")[1]) <= damaged.count("\n") + 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    key=st.sampled_from(["effects", "undo", "input", "output", "examples", "limits", "errors"]),
    value=json_values,
)
def test_any_value_under_a_key_of_a_contract_loads_or_is_refused(key: str, value: object) -> None:
    base = documents.parse(CONTRACT, file="f").value
    text = canonical.value({**base, key: value})
    assert code_of(text) in {None, *CATALOGUE}


# Kinds and schemas


@pytest.mark.parametrize("kind", documents.KINDS)
def test_every_schema_is_closed_and_has_a_title(kind: str) -> None:
    found = documents.schema(kind)

    assert found["additionalProperties"] is False
    assert found["title"].startswith("AWE ")
    assert found["properties"]["awe"]["const"] == f"{kind}/v1"


def test_a_document_that_names_no_kind_is_refused() -> None:
    error = refused("id: x")

    assert error.code == "document.kind"
    assert "capability" in error.details[0]
    assert refused("[]").code == "document.kind"


def test_a_misspelt_kind_is_answered_with_the_nearest() -> None:
    error = changed(CONTRACT, "capability/v1", "capabilty/v1")

    assert (error.code, error.place) == ("document.kind", "x.yaml:1:6")
    assert error.hint == "begin the file with a line like: awe: capability/v1"


def test_a_document_of_another_kind_is_refused() -> None:
    with pytest.raises(DocumentError) as caught:
        documents.load_workflow(CONTRACT, file="c.yaml")

    assert caught.value.summary == (
        "c.yaml:1:6: this says it is capability/v1, and workflow/v1 is expected"
    )


@pytest.mark.parametrize(
    ("old", "new", "code", "place", "hint"),
    [
        ("summary:", "sumary:", "document.unknown_key", "4:1", "write summary"),
        ("undo: captured", "undo: {nonee: x}", "document.unknown_key", "8:8", "write none"),
        (
            "undo: captured",
            "undo: {compensate: {capabilty: a.b}}",
            "document.unknown_key",
            "8:21",
            "write capability",
        ),
        ("- fs.write:", "- fs.wirte:", "document.unknown_key", "7:5", "write fs.write"),
        (
            "- fs.write: ${input.path}",
            "- fs.write: {path: x}",
            "document.unknown_key",
            "7:16",
            "write paths",
        ),
        (
            "- fs.write: ${input.path}",
            "- fs.write: {paths: [x], modes: [creat]}",
            "document.value",
            "7:36",
            "write create",
        ),
        ("risk: medium", "risk: mediun", "document.value", "5:7", "write medium"),
        ("risk: medium\n", "", "document.missing_key", "1:1", "add risk"),
        ("1.2.0", "1.2", "document.value", "3:10", "write what is expected"),
        ("fs.write_text", "fs.write-text", "document.value", "2:5", "write what is expected"),
        ("fs.write_text", "fs__x", "document.value", "2:5", "write what is expected"),
        ("fs.write_text", "a" * 97, "document.value", "2:5", "write what is expected"),
        ("timeout: 10s", "timeout: 10 s", "document.value", "11:10", "write what is expected"),
        ("timeout: 10s", "timeout: 0s", "document.value", "11:10", "write what is expected"),
        ("timeout: 10s", "timeout: 36501d", "document.value", "11:10", "write what is expected"),
        ("2MiB", "2MB", "document.value", "12:24", "write what is expected"),
        ("2MiB", "0", "document.value", "12:24", "write what is expected"),
        ("2MiB", "9999TiB", "document.value", "12:24", "write what is expected"),
        ("AAE=", "A*E=", "document.value", "23:42", "write what is expected"),
        (
            "idempotent: true",
            "idempotent: yes",
            "document.value",
            "10:13",
            "write what is expected",
        ),
        (
            "    error: workspace.escape\n",
            "",
            "document.value",
            "26:5",
            "write what is expected",
        ),
        ("  type: object", "  type: objekt", "document.value", "14:9", "write what is expected"),
        (
            "files:write_text",
            "files.write_text",
            "document.value",
            "35:10",
            "write what is expected",
        ),
        (
            "{type: string, format",
            "{type: strng, format",
            "document.schema",
            "17:18",
            "correct the schema; it is JSON Schema 2020-12 and stands alone",
        ),
        (
            "{type: string, format",
            "{$ref: 'https://x/y', format",
            "document.schema",
            "17:12",
            "correct the schema; it is JSON Schema 2020-12 and stands alone",
        ),
        (
            "  type: object\nexamples",
            "  $id: 'https://x/y'\nexamples",
            "document.schema",
            "19:3",
            "correct the schema; it is JSON Schema 2020-12 and stands alone",
        ),
        (
            "output_matches: {type: object}",
            "output_matches: {type: 3}",
            "document.schema",
            "31:28",
            "correct the schema; it is JSON Schema 2020-12 and stands alone",
        ),
        (
            "confirm: policy",
            "confirm: never",
            "capability.confirm_never",
            "9:10",
            "write confirm: policy",
        ),
        (
            "undo: captured\n",
            "",
            "capability.undo_missing",
            "7:3",
            "add undo: captured, a compensation, or {none: why}",
        ),
        (
            "- fs.write: ${input.path}",
            "- net.http: {hosts: [a.example], methods: [POST]}",
            "capability.undo_not_captured",
            "8:7",
            "name a compensation or a strategy, or write undo: {none: why}",
        ),
        (
            "- fs.write: ${input.path}",
            "- secret.use: {names: [t], reveal: true}",
            "capability.reveal_risk",
            "7:5",
            "write risk: high, or let the broker put the secret in: leave reveal out",
        ),
        (
            "confirm: policy",
            "aliases: [fs.write_text]",
            "capability.alias_of_itself",
            "9:10",
            "leave it out",
        ),
    ],
)
def test_a_fault_in_a_contract_is_told_where_it_stands(
    old: str, new: str, code: str, place: str, hint: str
) -> None:
    error = changed(CONTRACT, old, new)

    assert (error.code, error.place, error.hint) == (code, f"x.yaml:{place}", hint)


def test_a_value_that_does_not_fit_is_told_with_what_was_expected_and_found() -> None:
    error = changed(CONTRACT, "1.2.0", "1.2")

    assert error.summary == "x.yaml:3:10: the value of version does not fit"
    assert error.details == (
        'expected a semantic version in quotes, such as "1.2.0"',
        "found 1.2 (put it in quotes to make it text)",
    )


def test_a_schema_that_nests_too_deep_to_check_is_refused_and_does_not_overflow() -> None:
    deep = "{properties: {a: " * 28 + "{}" + "}}" * 28
    text = CONTRACT.replace("output:\n  type: object", f"output: {deep}", 1)

    assert code_of(text) in {None, "document.too_deep"}


def test_a_schema_may_name_its_dialect_and_no_other() -> None:
    text = CONTRACT.replace("  type: object\nexamples", "  $schema: %s\nexamples", 1)

    assert code_of(text % "https://json-schema.org/draft/2020-12/schema") is None
    assert code_of(text % "http://json-schema.org/draft-07/schema#") == "document.schema"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("- fs.write: ${input.path}", "- fs.write: []", "at least 1 of a list of path patterns"),
        ("- fs.write: ${input.path}", "- {}", "at least 1 of one kind of effect and its fields"),
        (
            "- fs.write: ${input.path}",
            "- {fs.read: a, fs.list: b}",
            "exactly one key in one kind of effect and its fields",
        ),
        ("confirm: policy", "aliases: [a.b, a.b]", "each entry once"),
        ("risk: medium", "risk: low\nlimits: {output_bytes: 1.5}", None),
    ],
)
def test_what_was_expected_is_said_in_words(old: str, new: str, expected: str | None) -> None:
    error = changed(CONTRACT, old, new)

    assert expected is None or f"expected {expected}" in error.details


def test_a_caller_deep_in_the_stack_gets_an_error_of_ours() -> None:
    deep = "{properties: {a: " * 20 + "{}" + "}}" * 20
    text = CONTRACT.replace("output:\n  type: object", f"output: {deep}", 1)
    limit = sys.getrecursionlimit()

    def below(levels: int) -> str | None:
        return code_of(text) if levels == 0 else below(levels - 1)

    found = {below(limit - len(inspect.stack()) - spare) for spare in range(50, 400, 10)}

    assert found <= {None, "document.too_deep", "document.syntax"}
    assert "document.too_deep" in found


# Contracts


def test_a_contract_is_read_whole() -> None:
    spec = documents.load_capability(CONTRACT, file="f")

    assert (spec.id, spec.major, spec.risk, spec.confirm) == (
        "fs.write_text",
        1,
        Risk.MEDIUM,
        Confirm.POLICY,
    )
    assert (spec.timeout_us, spec.output_bytes, spec.idempotent) == (10_000_000, 2 << 20, True)
    assert spec.undo == UndoCaptured()
    assert spec.input["additionalProperties"] is False
    assert "additionalProperties" not in spec.output
    (effect,) = spec.effects
    assert dict(effect.fields) == {
        "paths": ["${input.path}"],
        "modes": ["create", "replace", "append"],
        "max_bytes": 8 << 20,
        "max_files": 100,
    }


def test_examples_tell_absent_files_from_silence() -> None:
    first, second, third = documents.load_capability(CONTRACT, file="f").examples

    assert first.outcome == ExampleOutput({"path": "a.txt"})
    assert dict(first.before) == {"b.txt": "old", "c.bin": b"\x00\x01"}
    assert dict(first.after) == {"a.txt": "hi\n", "b.txt": None}
    assert first.undone is None
    assert second.outcome == ExampleError("workspace.escape")
    assert third.outcome == ExampleMatch({"type": "object"})
    assert third.undone == {"a.txt": "left"}
    assert third.service == ServiceStates({"n": 1}, None, None)
    assert third.secrets == ("token",)


def test_an_input_schema_that_admits_more_stays_open() -> None:
    text = CONTRACT.replace("input:\n", "input:\n  additionalProperties: true\n", 1)

    assert documents.load_capability(text, file="f").input["additionalProperties"] is True


@pytest.mark.parametrize(
    ("written", "kind", "fields"),
    [
        ("fs.read: a.txt", "fs.read", {"paths": ["a.txt"], "max_bytes": 8 << 20}),
        ("fs.delete: [a, b]", "fs.delete", {"paths": ["a", "b"], "recursive": False}),
        ("fs.read: {paths: [a], max_bytes: 1KiB}", "fs.read", {"max_bytes": 1024}),
        ("clock", "clock", {}),
        ("random: {}", "random", {}),
        ("clock:", "clock", {}),
        (
            "net.http: {hosts: [a.example], methods: [GET]}",
            "net.http",
            {"ports": [443], "paths": ["/**"], "redirects": 0, "idempotency": "none"},
        ),
        (
            "process.exec: {programs: [{name: git, args: [[log, {option: '${input.n}'}]]}]}",
            "process.exec",
            {"outputs": [], "net": "none"},
        ),
        ("secret.use: {names: [t]}", "secret.use", {"hosts": [], "reveal": False}),
        ("queue.publish: {max_bytes: 3MiB}", "queue.publish", {"max_bytes": "3MiB"}),
    ],
)
def test_effects_get_their_long_form_and_defaults(
    written: str, kind: str, fields: dict[str, object]
) -> None:
    text = CONTRACT.replace("fs.write: ${input.path}", written, 1)
    text = text.replace("undo: captured", "undo: {none: because}", 1)
    (effect,) = documents.load_capability(text, file="f").effects

    assert effect.kind == kind
    assert fields.items() <= dict(effect.fields).items()


@pytest.mark.parametrize(
    ("written", "undo"),
    [
        ("not_needed", UndoNotNeeded()),
        ("{none: it is mail}", UndoNone("it is mail")),
        ("{strategy: db.restore, with: {a: 1}}", UndoStrategyNamed("db.restore", {"a": 1})),
    ],
)
def test_undo_has_five_forms(written: str, undo: object) -> None:
    text = CONTRACT.replace("undo: captured", f"undo: {written}", 1)

    assert documents.load_capability(text, file="f").undo == undo


def test_a_compensation_names_its_calls() -> None:
    text = CONTRACT.replace(
        "undo: captured",
        "undo: {compensate: {capability: crm.delete@1, with: {id: '${effect.body.id}'}, "
        "when: '${effect.ok}'}, before: {capability: crm.get}, lookup: {capability: crm.find}}",
        1,
    )
    undo = documents.load_capability(text, file="f").undo

    assert isinstance(undo, UndoCompensate)
    assert undo.compensate.capability == "crm.delete@1"
    assert (undo.compensate.with_, undo.compensate.when) == (
        {"id": "${effect.body.id}"},
        "${effect.ok}",
    )
    assert undo.before is not None
    assert undo.lookup is not None
    assert (undo.before.capability, undo.lookup.capability) == ("crm.get", "crm.find")


def test_pure_capabilities_need_no_word_about_undo() -> None:
    text = CONTRACT.replace("effects:\n  - fs.write: ${input.path}\nundo: captured\n", "", 1)

    assert documents.load_capability(text, file="f").undo == UndoNotNeeded()


# Workflows


def test_a_workflow_is_read_whole() -> None:
    spec = documents.load_workflow(WORKFLOW, file="f")
    read, publish, each = spec.steps

    assert (spec.expires_us, spec.in_flight, spec.confirm) == (
        7 * 86_400_000_000,
        InFlight.WAIT,
        PlanConfirm.PLAN,
    )
    assert spec.concurrency is not None
    assert (spec.concurrency.key, spec.concurrency.limit) == ("${inputs.source}", 2)
    assert spec.inputs["additionalProperties"] is False
    assert (read.capability, read.with_, read.on_failure) == (
        "fs.read_text@1",
        {"path": "${inputs.source}"},
        None,
    )
    assert publish.needs == (Need("read"), Need("each", even_if_skipped=True))
    assert (publish.retry.attempts, publish.retry.backoff_us, publish.retry.factor) == (
        3,
        250_000,
        1.5,
    )
    assert (publish.retry.max_us, publish.retry.jitter, publish.retry.on) == (
        60_000_000,
        Jitter.NONE,
        ("any",),
    )
    assert (publish.timeout_us, publish.confirm, publish.on_failure) == (
        20_000_000,
        StepConfirm.ALWAYS,
        OnFailure.CONTINUE,
    )
    assert publish.compensation is not None
    assert publish.compensation.compensate.capability == "fs.delete@1"
    assert (publish.accept, publish.temporal) == (
        {"saga.pivot": "goes last"},
        {"place": {"pool": "fast"}},
    )
    assert (each.workflow, each.foreach, each.max_parallel) == ("nested@2", "${inputs.files}", 7)


@pytest.mark.parametrize(
    ("old", "new", "code", "place", "hint"),
    [
        ("needs: [read,", "needs: [raed,", "workflow.unknown_need", "18:13", "write read"),
        (
            "needs: [read,",
            "needs: [publish,",
            "workflow.unknown_need",
            "18:13",
            "name a step of this workflow",
        ),
        ("id: publish", "id: read", "workflow.duplicate", "16:9", "see 13:9; rename one"),
        (
            "    workflow: nested@2\n",
            "",
            "workflow.step_target",
            "27:5",
            "name what the step calls",
        ),
        (
            "    workflow: nested@2\n",
            "    workflow: nested@2\n    capability: a@1\n",
            "workflow.step_target",
            "27:5",
            "name what the step calls",
        ),
        ("backoff:", "backof:", "document.unknown_key", "20:26", "write backoff"),
        (
            "saga.pivot",
            "pivot",
            "document.unknown_key",
            "25:14",
            "leave it out, or see: awe config schema",
        ),
        ("nested@2", "nested", "document.value", "30:15", "write what is expected"),
    ],
)
def test_a_fault_in_a_workflow_is_told_where_it_stands(
    old: str, new: str, code: str, place: str, hint: str
) -> None:
    error = changed(WORKFLOW, old, new)

    assert (error.code, error.place, error.hint) == (code, f"x.yaml:{place}", hint)


# The other kinds


def test_a_facade_is_read_whole() -> None:
    spec = documents.load_facade(FACADE, file="f")

    assert (spec.workflow, spec.capability, spec.channels) == (
        "release_notes@1",
        None,
        ("cli", "mcp"),
    )
    assert (spec.fixed, spec.roles) == ({"title": "Notes"}, ("operator",))
    assert (spec.limits.rate_per_minute, spec.limits.concurrent) == (10, 4)
    assert spec.options == {"mcp": {"as": "tool", "wait": "50s"}}


def test_what_is_signed_whole_holds_no_fractions() -> None:
    error = changed(FACADE, "title: Notes", "title: [1.5]")

    assert (error.code, error.place) == ("document.not_signable", "x.yaml:6:17")


def test_a_pack_is_read_whole() -> None:
    spec = documents.load_pack(PACK, file="f")

    assert (spec.name, spec.contracts, spec.workflows, spec.facades) == (
        "jira",
        ("contracts/*.yaml",),
        ("a.yaml", "b.yaml"),
        (),
    )
    assert (spec.executor, spec.reuse, spec.native) == ("bwrap", "run", False)
    assert [(a.right, a.reason) for a in spec.accept_unenforced] == [("net_host", "loopback only")]


def test_people_are_read_whole() -> None:
    found = documents.load_people(PEOPLE, file="f")

    assert [p.id for p in found.people] == ["lin", "ana"]
    assert found.people[0].keys == (documents.PublicKey("ed25519", KEY),)
    assert found.people[0].logins == (documents.Login("https://idp", "1"),)
    assert found.channels[0].name == "page"


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("id: ana", "id: lin", "8:9"),
        ("id: ana", "id: ana\n    logins: [{iss: 'https://idp', sub: '1'}]", "9:14"),
        ("cd" * 32, KEY, "10:23"),
    ],
)
def test_people_logins_and_keys_belong_to_one_each(old: str, new: str, place: str) -> None:
    error = changed(PEOPLE, old, new)

    assert (error.code, error.place) == ("document.duplicate_entry", f"x.yaml:{place}")


def test_a_proposal_is_read_whole() -> None:
    found = documents.load_proposal(
        "awe: proposal/v1\ndistribution: awe-pack-jira\nversion: 1.4.0\nproposed_by: dave\n"
        "authors: [eve]\nreason: needed\nexecutor: worker\nhooks: [awe_capabilities]\n",
        file="f",
    )

    assert (found.distribution, found.version, found.proposed_by, found.authors) == (
        "awe-pack-jira",
        "1.4.0",
        "dave",
        ("eve",),
    )
    assert (found.executor, found.reuse, found.native) == ("worker", "run", False)


def test_an_allow_list_is_read_whole() -> None:
    found = documents.load_allow_list(
        "awe: allow-list/v1\nentries:\n  - {capability: fs.*, selector: {path: a}, "
        "callers: [agent:w], until: 2027-01-31T00:00:01Z, reason: reviewed}\n"
        "  - {capability: fs.read, reason: fine}\n",
        file="f",
    )

    first, second = found.entries
    assert first == documents.AllowListEntry(
        "fs.*", "reviewed", {"path": "a"}, ("agent:w",), 1_801_353_601_000_000
    )
    assert second.until_us is None


def test_an_impossible_date_is_refused() -> None:
    error = refused(
        "awe: allow-list/v1\nentries: [{capability: a, reason: x, until: 2027-02-30T00:00:00Z}]"
    )

    assert (error.code, error.place) == ("document.value", "x.yaml:2:45")


def test_a_deployment_may_give_its_workspace_as_a_path() -> None:
    found = documents.load_deployment("awe: deployment/v1\nname: a\nworkspace: .\n", file="f")

    assert (found.name, found.settings) == ("a", {"workspace": {"root": "."}})


def test_networks_of_a_deployment_are_networks() -> None:
    text = "awe: deployment/v1\nname: a\nnet: {private_allow: [10.0.0.0/8, %s]}\n"

    assert documents.load(text % "192.168.1.0/24", file="f")
    assert refused(text % "192.168.1.5/24").place == "x.yaml:3:35"


def test_kinds_without_a_spec_of_their_own_stay_json() -> None:
    text = "awe: review/v1\noperations: {a.b: {accept: true, why: fine}}\n"

    found = documents.load(text, file="f")

    assert isinstance(found, documents.Parsed)
    assert found.value["operations"]["a.b"]["accept"] is True


@pytest.mark.parametrize("text", [CONTRACT, WORKFLOW, FACADE, PACK, PEOPLE])
def test_every_kind_loads_by_the_word_it_begins_with(text: str) -> None:
    assert not isinstance(documents.load(text, file="f"), documents.Parsed)


# Digests and quantities


def test_reformatting_changes_no_digest_and_every_word_does() -> None:
    def digest(text: str) -> str:
        return documents.contract_digest(documents.parse(text, file="f").value)

    first = digest("a: 1\nb: [x, 'y']\n")

    assert first == digest("# a comment\nb:\r\n- x\n- y\na: 1")
    assert first != digest("a: 1\nb: [x, z]\n")
    assert len(first) == 64


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1us", 1), ("250ms", 250_000), ("10s", 10_000_000), ("0s", 0), ("7d", 604_800_000_000)],
)
def test_durations_are_microseconds(text: str, amount: int) -> None:
    assert documents.duration_us(text) == amount


@pytest.mark.parametrize("text", ["", "10", "1.5s", "-1s", "1 s", "1w", "36501d", "\u0661s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|longer"):
        documents.duration_us(text)


@pytest.mark.parametrize("text", ["", "0", "8MB", "1.5MiB", "-1", "2000TiB", True])
def test_other_sizes_are_refused(text: str | int) -> None:
    with pytest.raises(ValueError, match=r"size|between"):
        documents.size_bytes(text)


@given(st.integers(0, 36_500 * 86_400_000_000))
def test_written_durations_read_back(amount: int) -> None:
    assert documents.duration_us(documents.written_us(amount)) == amount


@given(st.integers(1, 1 << 49))
def test_written_sizes_read_back(amount: int) -> None:
    assert documents.size_bytes(documents.written_bytes(amount)) == amount


@pytest.mark.parametrize(
    ("call", "reads", "place"),
    [
        ("compensate", "steps.a.output", "7:"),
        ("lookup", "effect.id", "7:"),
        ("before", "before", "7:"),
    ],
)
def test_the_undo_of_a_contract_reads_what_there_is_of_one_effect(call, reads, place) -> None:
    named = {role: f"{role}: {{capability: crm.get}}" for role in ("compensate", "before")}
    named[call] = f"{call}: {{capability: crm.get, with: {{id: '${{{reads}}}'}}}}"
    text = CONTRACT.replace("undo: captured", f"undo: {{{', '.join(named.values())}}}", 1)

    with pytest.raises(DocumentError) as refused:
        documents.load_capability(text, file="f")
    assert "capability.undo_template" == refused.value.code
    assert refused.value.attributes["line"] > 1, place
