"""Documents of governance: each value has one JSON form, and nothing else is read."""

from __future__ import annotations

import copy
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core import canonical
from awe_core.errors import AweError, TrustError
from awe_core.records import (
    FacadeRecord,
    Manifest,
    PackRecord,
    Root,
    Statement,
    When,
    parse_timestamp,
    timestamp,
)

D = "ab" * 32
E = "cd" * 32
T = "2026-05-01T12:00:00Z"

PACK = {
    "awe": "pack-record/v1",
    "kind": "pack",
    "name": "acme-files",
    "distribution": "awe-pack-acme-files",
    "version": "1.4.0",
    "revision": 1,
    "wheel": {"filename": "a-1.4.0-py3-none-any.whl", "sha256": D, "size": 51234},
    "files": {"awe_pack_acme_files/__init__.py": {"sha256": D, "size": 812}},
    "top_level": ["awe_pack_acme_files"],
    "entry_points": {"acme-files": "awe_pack_acme_files"},
    "hooks": ["awe_capabilities"],
    "executor": "worker",
    "reuse": "run",
    "native": False,
    "accept_unenforced": [{"right": "net", "reason": "an old kernel"}],
    "capabilities": [
        {
            "id": "acme.put",
            "version": "1.2.0",
            "contract": D,
            "risk": "high",
            "effects": ["net.http"],
        }
    ],
    "workflows": [{"id": "acme.sync", "version": "1.0.0", "spec": D}],
    "facades": [D],
    "requires": [{"distribution": "httpx", "version": "0.28.1", "tree": ""}],
    "proposed_by": "dave",
    "authors": ["erin"],
    "evidence": [{"kind": "pep740", "sha256": D, "publisher": "github.com/acme"}],
    "report": D,
}
DECLARATIVE = PACK | {
    "kind": "declarative",
    "hooks": [],
    "entry_points": {},
    "interpreter": "awe-openapi",
    "source": D,
}
FACADE = {
    "awe": "facade-record/v1",
    "kind": "facade",
    "name": "files.put",
    "revision": 2,
    "facade": {"id": "files.put", "channels": ["mcp"]},
    "pack": None,
    "reaches": [{"id": "acme.put", "contract": D}],
    "proposed_by": "dave",
    "authors": [],
}
STATEMENT = {
    "awe": "statement/v1",
    "deployment": "acme-prod",
    "root_version": 3,
    "decision": "approve",
    "role": "reviewer",
    "subject": D,
    "name": "acme-files",
    "version": "1.4.0",
    "at": T,
    "expires": "2027-05-01T12:00:00Z",
    "reason": "read the diff; grüße, 好",
    "stops": None,
}
MANIFEST = {
    "awe": "manifest/v1",
    "deployment": "acme-prod",
    "root_version": 3,
    "version": 41,
    "previous": D,
    "issued": T,
    "expires": "2026-05-31T12:00:00Z",
    "packs": [
        {
            "distribution": "awe-pack-acme-files",
            "version": "1.4.0",
            "record": D,
            "status": "DEPRECATED",
            "sunset": T,
            "statements": [D, E],
        }
    ],
    "facades": [
        {"id": "files.put", "record": E, "status": "ACTIVE", "sunset": None, "statements": []}
    ],
    "denied": [D],
    "documents": {"people.yaml": D},
}
ROOT = {
    "awe": "trust-root/v1",
    "deployment": "acme-prod",
    "environment": "prod",
    "version": 3,
    "issued": T,
    "expires": T,
    "keys": {D: {"scheme": "ed25519", "public": "00" * 32, "owner": "alice", "kind": "person"}},
    "roles": {"root": {"keys": [D], "threshold": 2}},
    "retired": {E: {"reason": "left", "statements": [D]}},
    "policy": {
        "approvals": [
            {"when": {"kind": "pack"}, "need": {"reviewer": 1}},
            {"when": {"native": True, "executor": "inproc"}, "need": {"security": 2}},
            {"when": {"risk": "high", "hooks": ["awe_executors"]}, "need": {"security": 2}},
            {"when": {}, "need": {}},
        ],
        "approval_days": 365,
        "manifest_days": 30,
        "on_expiry": "drain",
        "grace_days": 7,
        "warn_days": 30,
        "dependencies": "versions",
        "evidence": ["pep740"],
        "inproc": ["awe-pack-stdlib", "*"],
        "self_approval": False,
        "editable": False,
        "observe": False,
    },
}
DOCUMENTS = [
    (PackRecord, PACK),
    (PackRecord, DECLARATIVE),
    (FacadeRecord, FACADE),
    (Statement, STATEMENT),
    (Manifest, MANIFEST),
    (Root, ROOT),
]


def places(value, path=()):
    """Give the path of every member and element of a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items if isinstance(value, dict | list) else ():
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))
        else:
            yield (*path, key)


def put(document, path, value):
    changed = copy.deepcopy(document)
    if not path:
        return value
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def code_of(call, *args):
    with pytest.raises(TrustError) as caught:
        call(*args)
    return caught.value.code


def changed(document, dotted, value):
    path = [int(part) if part.isdigit() else part for part in dotted.split("|")]
    return put(document, path, value)


@pytest.mark.parametrize(("kind", "document"), DOCUMENTS, ids=itertools.count())
def test_a_document_and_its_value_stand_for_each_other(kind, document):
    value = kind.from_json(document)
    assert value.to_json() == document
    assert kind.from_json(value.to_json()) == value
    assert canonical.document(value.to_json()) == canonical.document(document)


@pytest.mark.parametrize(("kind", "document"), DOCUMENTS, ids=itertools.count())
def test_a_field_more_or_less_is_refused_in_every_object(kind, document):
    for path in places(document):
        target = document
        for key in path:
            target = target[key]
        if not isinstance(target, dict) or path[-1:] in {("facade",), ("need",)}:
            continue
        more = put(document, path, target | {"unheard of": 1})
        assert code_of(kind.from_json, more) == "store.malformed", path
        if path[-1:] in {("files",), ("keys",), ("roles",), ("retired",), ("when",)}:
            continue
        if path[-1:] in {("entry_points",), ("documents",)}:
            continue
        for name in target:
            less = put(document, path, {k: v for k, v in target.items() if k != name})
            assert code_of(kind.from_json, less) == "store.malformed", (path, name)


@pytest.mark.parametrize(("kind", "document"), DOCUMENTS, ids=itertools.count())
def test_a_value_of_another_type_is_refused_everywhere(kind, document):
    strangers = [None, True, 1, 1.5, "", "\x00", [], {}, ["x", "x"], -1, 2**70]
    for path in places(document):
        if path[:1] == ("facade",) and len(path) > 1:
            continue  # any JSON: `documents` has read it
        target = document
        for key in path:
            target = target[key]
        for stranger in strangers:
            same_type = type(stranger) is type(target)
            try:
                value = kind.from_json(put(document, path, stranger))
            except TrustError:
                continue
            nullable = stranger is None and path[-1] in {"previous", "sunset", "expires", "pack"}
            assert same_type or nullable, (path, stranger)
            assert value.to_json() == put(document, path, stranger)


@pytest.mark.parametrize(
    ("kind", "document", "place", "value"),
    [
        (PackRecord, PACK, "awe", "pack-record/v2"),
        (PackRecord, PACK, "kind", "facade"),
        (PackRecord, PACK, "distribution", "Awe_Pack"),
        (PackRecord, PACK, "report", D.upper()),
        (PackRecord, PACK, "report", "sha256:" + D),
        (PackRecord, PACK, "revision", 0),
        (PackRecord, PACK, "capabilities|0|id", "Acme.put"),
        (PackRecord, PACK, "capabilities|0|id", "acme__put"),
        (PackRecord, PACK, "capabilities|0|risk", "huge"),
        (PackRecord, PACK, "top_level", ["a", "a"]),
        (PackRecord, PACK, "files", {"../x": {"sha256": D, "size": 1}}),
        (PackRecord, PACK, "files", {"/x": {"sha256": D, "size": 1}}),
        (PackRecord, PACK, "files", {"a//x": {"sha256": D, "size": 1}}),
        (PackRecord, PACK, "files", {"a/./x": {"sha256": D, "size": 1}}),
        (PackRecord, PACK, "files", {"a\\x": {"sha256": D, "size": 1}}),
        (PackRecord, PACK, "files", {"c:x": {"sha256": D, "size": 1}}),
        (PackRecord, PACK, "interpreter", "awe-openapi"),
        (PackRecord, DECLARATIVE, "hooks", ["awe_capabilities"]),
        (PackRecord, DECLARATIVE, "entry_points", {"x": "y"}),
        (PackRecord, DECLARATIVE, "kind", "plugin"),
        (FacadeRecord, FACADE, "facade|id", "other"),
        (FacadeRecord, FACADE, "kind", "pack"),
        (Statement, STATEMENT, "decision", "bless"),
        (Statement, STATEMENT, "expires", None),
        (Statement, STATEMENT, "stops", D),
        (Statement, STATEMENT, "decision", "resume"),
        (Statement, STATEMENT, "reason", ""),
        (Statement, STATEMENT, "reason", "x" * 2001),
        (Statement, STATEMENT, "reason", "two\nlines"),
        (Statement, STATEMENT, "reason", "back\u202ewards"),
        (Statement, STATEMENT, "reason", "zero\u200bwidth"),
        (Manifest, MANIFEST, "packs|0|status", "APPROVED"),
        (Manifest, MANIFEST, "denied", [D, D]),
        (Root, ROOT, "environment", "staging"),
        (Root, ROOT, "roles|root|threshold", 0),
        (Root, ROOT, "policy|approvals|0|when", {"moon": "full"}),
        (Root, ROOT, "policy|approvals|0|when", {"kind": None}),
        (Root, ROOT, "policy|approvals|2|when", {"hooks": []}),
    ],
    ids=itertools.count(),
)
def test_what_may_not_stand_there_is_refused(kind, document, place, value):
    assert code_of(kind.from_json, changed(document, place, value)) == "store.malformed"


def test_a_message_names_the_place_and_never_a_line_it_could_break():
    with pytest.raises(TrustError) as caught:
        PackRecord.from_json(PACK | {"na\nme\u202e": 1}, at="packs/x.json")
    assert str(caught.value) == "packs/x.json/na\\nme\\u202e is not a field of it"


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-01T12:00:00",
        "2026-05-01t12:00:00Z",
        "2026-05-01T12:00:00+00:00",
        "2026-05-01T12:00:00.0Z",
        " 2026-05-01T12:00:00Z",
        "2026-05-01T12:00:00Z\n",
        "2026-02-29T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-05-01T24:00:00Z",
        "2026-05-01T12:00:60Z",
        "0000-05-01T12:00:00Z",
        "\uff12\uff1026-05-01T12:00:00Z",
        1777636800,
        None,
    ],
    ids=itertools.count(),
)
def test_a_time_has_one_form_and_is_a_real_date(text):
    assert code_of(parse_timestamp, text, "/at") == "trust.time"


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_every_second_has_one_text(seconds):
    text = timestamp(seconds)
    assert len(text) == 20
    assert parse_timestamp(text, "/at") == seconds


def test_a_record_is_as_risky_as_its_riskiest_capability():
    capabilities = [
        PACK["capabilities"][0] | {"id": f"acme.{risk}", "risk": risk}
        for risk in ("low", "critical", "medium")
    ]
    assert PackRecord.from_json(PACK | {"capabilities": capabilities}).risk == "critical"
    assert PackRecord.from_json(PACK | {"capabilities": []}).risk == "low"


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        (When(), True),
        (When(kind="pack"), True),
        (When(kind="plugin"), False),
        (When(native=False), True),
        (When(native=True), False),
        (When(executor="worker"), True),
        (When(executor="inproc"), False),
        (When(risk="medium"), True),
        (When(risk="high"), True),
        (When(risk="critical"), False),
        (When(hooks=("awe_executors", "awe_capabilities")), True),
        (When(hooks=("awe_executors",)), False),
        (When(kind="pack", native=True), False),
    ],
    ids=itertools.count(),
)
def test_a_rule_is_about_what_meets_all_its_conditions(when, matches):
    assert when.matches(PackRecord.from_json(PACK)) is matches


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        (When(), True),
        (When(kind="facade"), True),
        (When(kind="pack"), False),
        (When(native=False), False),
        (When(kind="facade", risk="low"), False),
    ],
    ids=itertools.count(),
)
def test_a_facade_has_a_kind_and_nothing_else_that_rules_ask(when, matches):
    assert when.matches(FacadeRecord.from_json(FACADE)) is matches


def test_facades_are_versioned_by_revision_and_roots_know_their_owners():
    assert FacadeRecord.from_json(FACADE).version == "2"
    root = Root.from_json(ROOT)
    assert root.owners("root") == {"alice"}
    assert root.owners("unheard") == frozenset()
    assert Manifest.from_json(MANIFEST).number == (3, 41)
    assert ["awe-pack-acme-files", "files.put"] == [
        entry.name for entry in Manifest.from_json(MANIFEST).entries
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.data())
def test_anything_anywhere_gives_a_value_or_an_awe_error(data):
    kind, document = data.draw(st.sampled_from(DOCUMENTS))
    path = data.draw(st.sampled_from(list(places(document))))
    with_noise = put(document, path, data.draw(JSON))
    if type(with_noise) is not dict:
        return
    try:
        value = kind.from_json(with_noise)
    except AweError:
        return
    assert value.to_json() == with_noise
