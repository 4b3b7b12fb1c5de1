"""`trust.judge` against its attack list: each refusal, and its near twin that must pass."""

from __future__ import annotations

import base64
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from awe_core import signing, trust
from awe_core.errors import AweError, TrustError
from awe_core.governance import Governance
from awe_core.governance.survey import subject_of
from awe_core.lifecycle import State
from awe_core.records import PackRecord, Root, timestamp
from awe_core.trust import envelopes
from awe_core.trust.decisions import every
from awe_core.trust.history import newest_manifest, walk
from manifest import attempt
from stores import (
    DAY,
    DEPLOYMENT,
    KEYS,
    NAMES,
    NOW,
    P256,
    POLICY,
    ROLES,
    SPARE,
    TOMORROW,
    D,
    Ed25519,
    Folder,
    Store,
    Subject,
    an_active_pack,
    capability,
    sha,
)

SOON = timestamp(NOW - DAY + 100)  #: after the manifest, within the skew of clocks


def code_of(call, *args, **kwargs):
    with pytest.raises(TrustError) as caught:
        call(*args, **kwargs)
    return caught.value.code


def details_of(call, *args, **kwargs):
    with pytest.raises(TrustError) as caught:
        call(*args, **kwargs)
    return tuple(caught.value.details)


def codes(verdict):
    return [each.code for each in verdict.refusals]


def only(verdict):
    (pack,) = verdict.packs
    return pack


# ------------------------------------------------------------------------------- what is in force


def test_an_approved_and_released_pack_is_in_force():
    store, subject, statements = an_active_pack()
    verdict = store.judge()
    pack = only(verdict)
    assert (State.ACTIVE, subject.digest, ()) == (pack.status, pack.digest, pack.refusals)
    assert tuple(statements) == pack.statements
    assert pack.permits.new
    assert verdict.phase == "valid"
    assert verdict.mark == store.judge(mark=verdict.mark).mark


def test_what_was_signed_in_a_device_is_in_force(device, device_pin):
    signer = signing.open_key(f"hsm:2?label={device}", passphrase=lambda _: device_pin)
    store = Store(keys={**KEYS, "alice": signer})
    subject = store.record()
    store.manifest([(subject, "ACTIVE", store.approved(subject))])
    assert (State.ACTIVE, ()) == (only(store.judge()).status, only(store.judge()).refusals)


def test_a_root_alone_gives_a_verdict_without_packs():
    verdict = Store().judge()
    assert (None, (), "valid", 0) == (
        verdict.manifest,
        verdict.packs,
        verdict.phase,
        verdict.mark.version,
    )


def test_an_empty_store_is_no_store():
    with pytest.raises(TrustError) as caught:
        trust.judge({}, pin=D, deployment=DEPLOYMENT, mark=None, now=NOW)
    assert caught.value.code == "store.missing"


def test_a_record_that_is_not_here_is_absent_and_the_others_are_in_force():
    store = Store()
    one, two = store.record("one"), store.record("two")
    store.manifest([(each, "ACTIVE", store.approved(each)) for each in (one, two)])
    del store.files[trust.pack_file(one.distribution, one.version, one.digest)]
    verdict = store.judge()
    assert ["awe-pack-two"] == [pack.name for pack in verdict.packs]
    assert [("awe-pack-one", "store.no_file")] == [(a.name, a.why.code) for a in verdict.absent]


# -------------------------------------------------------------------------------------- envelopes


def test_payload_types_keep_a_statement_from_being_read_as_a_manifest():
    store, _, statements = an_active_pack()
    name = trust.manifest_file(1, 1)
    store.files[name] = store.files[trust.statement_file(statements[0], is_stop=False)]
    assert code_of(store.judge) == "trust.payload_type"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda e: e | {"extra": 1}, "trust.envelope"),
        (lambda e: {k: v for k, v in e.items() if k != "signatures"}, "trust.envelope"),
        (lambda e: e | {"signatures": e["signatures"] * 65}, "trust.envelope"),
        (lambda e: e | {"signatures": {}}, "trust.envelope"),
        (lambda e: e | {"signatures": [e["signatures"][0] | {"x": 1}]}, "trust.envelope"),
        (lambda e: e | {"signatures": [{"keyid": 1, "sig": ""}]}, "trust.envelope"),
        (lambda e: e | {"signatures": [[]]}, "trust.envelope"),
        (lambda e: e | {"signatures": ["keyid", "sig"]}, "trust.envelope"),
        (lambda e: e | {"payload": 5}, "trust.envelope"),
        (lambda e: e | {"payload": e["payload"] + "\n"}, "trust.base64"),
        (lambda e: e | {"payload": e["payload"].rstrip("=") + "==="}, "trust.base64"),
        (lambda e: e | {"payload": "QQ"}, "trust.base64"),
        (lambda e: e | {"payload": "QR=="}, "trust.base64"),
        (lambda e: e | {"payload": "+-//"}, "trust.base64"),
        (lambda e: e | {"payload": "__+-"}, "trust.base64"),
        (lambda e: e | {"payload": "é==="}, "trust.base64"),
        (lambda e: e | {"signatures": []}, "trust.threshold"),
    ],
    ids=itertools.count(),
)
def test_a_malformed_envelope_is_refused_whole(change, code):
    store, _, _ = an_active_pack()
    name = trust.manifest_file(1, 1)
    store.files[name] = json.dumps(change(json.loads(store.files[name]))).encode()
    assert code_of(store.judge) == code


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"nonsense", b"\xff", b'{"payload":"","payload":""}', b"[" * 100_000],
    ids=itertools.count(),
)
def test_what_is_no_json_object_is_no_envelope(data):
    store, _, _ = an_active_pack()
    store.files[trust.manifest_file(1, 1)] = data
    assert code_of(store.judge) == "trust.envelope"


def test_what_is_no_json_is_called_so():
    with pytest.raises(TrustError, match="not JSON in UTF-8"):
        envelopes.parse(b"nonsense", "manifest", at="it")


def test_a_key_that_stands_twice_refuses_the_envelope():
    store, _, _ = an_active_pack()
    name = trust.manifest_file(1, 1)
    store.files[name] = store.files[name].replace(b'{"payload":', b'{"payload":"","payload":', 1)
    assert code_of(store.judge) == "trust.envelope"


def test_an_envelope_may_hold_64_signatures():
    store, _, _ = an_active_pack()
    name = trust.manifest_file(1, 1)
    envelope = json.loads(store.files[name])
    envelope["signatures"] *= 64
    store.files[name] = json.dumps(envelope).encode()
    assert only(store.judge()).permits.new


def test_url_safe_base64_and_other_white_space_are_the_same_envelope():
    store, _, _ = an_active_pack()
    name = trust.manifest_file(1, 1)
    envelope = json.loads(store.files[name])
    envelope["payload"] = envelope["payload"].replace("+", "-").replace("/", "_")
    store.files[name] = json.dumps(envelope, indent=1).encode()
    assert only(store.judge()).permits.new


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ("----", b"\xfb\xef\xbe"),
        ("____", b"\xff\xff\xff"),
        ("++++", b"\xfb\xef\xbe"),
        ("////", b"\xff\xff\xff"),
    ],
)
def test_either_alphabet_of_base64_is_read(text, payload):
    kind = trust.payload_type("manifest")
    data = json.dumps({"payload": text, "payloadType": kind, "signatures": []}).encode()
    assert envelopes.parse(data, "manifest", at="it").payload == payload


def test_a_signature_by_an_unknown_key_and_a_wrong_one_do_no_harm():
    store, _, _ = an_active_pack()
    name = trust.manifest_file(1, 1)
    envelope = json.loads(store.files[name])
    stray = base64.b64encode(b"x" * 64).decode()
    envelope["signatures"] += [
        {"keyid": "f" * 64, "sig": stray},
        {"keyid": KEYS["alice"].keyid, "sig": stray},
    ]
    store.files[name] = json.dumps(envelope).encode()
    assert only(store.judge()).permits.new


def test_a_payload_must_be_its_own_canonical_form():
    store, _, _ = an_active_pack()
    name = trust.manifest_file(1, 1)
    payload = base64.b64decode(json.loads(store.files[name])["payload"])
    store.files[name] = store.seal("manifest", payload.replace(b'":', b'": ', 1), ["rel"])
    assert code_of(store.judge) == "store.not_canonical"


@pytest.mark.parametrize("where", ["root", "manifest", "statement", "record"])
def test_any_changed_bit_of_what_is_signed_or_pinned_refuses(where):
    store, subject, statements = an_active_pack()
    name = {
        "root": trust.root_file(1),
        "manifest": trust.manifest_file(1, 1),
        "statement": trust.statement_file(statements[1], is_stop=False),
        "record": trust.pack_file(subject.distribution, subject.version, subject.digest),
    }[where]
    intact = store.files[name]
    for place in range(0, len(intact), 37):
        changed = bytearray(intact)
        changed[place] ^= 1
        store.files[name] = bytes(changed)
        try:
            verdict = store.judge()
        except AweError:
            continue
        assert not any(pack.permits.new for pack in verdict.packs), place


def test_an_envelope_beyond_the_limit_is_not_read():
    store, _, _ = an_active_pack()
    name = trust.manifest_file(1, 1)
    store.files[name] = store.files[name].ljust(6 * 1024 * 1024)
    assert only(store.judge()).permits.new
    store.files[name] += b" "
    assert code_of(store.judge) == "store.too_large"


def test_brackets_beyond_those_of_64_signatures_are_not_read():
    kind = trust.payload_type("manifest")
    envelope = {"payload": "", "payloadType": kind, "signatures": []}
    for surplus, code in (("[" * 66, ""), ("[" * 67, "trust.envelope")):
        signature = {"keyid": surplus[:-1], "sig": ""}
        data = json.dumps(envelope | {"signatures": [signature]}).encode()
        assert data.count(b"[") + data.count(b"{") == len(surplus) + 2
        if code:
            assert code_of(envelopes.parse, data, "manifest", at="it") == code
        else:
            assert envelopes.parse(data, "manifest", at="it").signatures


def test_a_payload_beyond_the_limit_is_not_read():
    store, _, _ = an_active_pack()
    name = trust.manifest_file(1, 1)
    payload = b'{"a":"' + b"x" * (4 * 1024 * 1024) + b'"}'
    pae = trust.pae(trust.payload_type("manifest"), payload)
    envelope = json.loads(store.files[name]) | {"payload": base64.b64encode(payload).decode()}
    envelope["signatures"][0]["sig"] = base64.b64encode(KEYS["rel"].sign(pae)).decode()
    store.files[name] = json.dumps(envelope).encode()
    assert code_of(store.judge) == "store.too_large"


def test_a_payload_that_is_no_json_is_refused_even_when_signed():
    store, _, _ = an_active_pack()
    store.files[trust.manifest_file(1, 1)] = store.seal("manifest", b"[1]", ["rel"])
    assert code_of(store.judge) == "store.malformed"


def test_a_record_in_the_place_of_another_is_absent():
    store = Store()
    one, two = store.record("one"), store.record("two")
    face, other = store.facade("one.put"), store.facade("two.put")
    for here, there in (
        (
            trust.pack_file(one.distribution, one.version, two.digest),
            trust.pack_file(two.distribution, two.version, two.digest),
        ),
        (trust.facade_file("one.put", other.digest), trust.facade_file("two.put", other.digest)),
    ):
        store.files[here] = store.files[there]
    one.digest, face.digest = two.digest, other.digest
    store.manifest([(one, "ACTIVE", [])], [(face, "ACTIVE", [])])
    verdict = store.judge()
    assert ["store.misplaced"] * 2 == [each.why.code for each in verdict.absent]
    store.files[trust.facade_file("one.put", other.digest)] = b"{}"
    assert "store.digest" in [each.why.code for each in store.judge().absent]


# ------------------------------------------------------------------------------- thresholds, keys


def test_two_keys_of_one_owner_are_one_owner():
    keys = {**KEYS, "alice:2": Ed25519(b"alice again")}
    roles = ROLES | {"root": (("alice", "alice:2", "bob"), 2)}
    refused = Store(keys=keys, roles=roles, signers=("alice", "alice:2"))
    assert code_of(refused.judge) == "trust.threshold"
    assert Store(keys=keys, roles=roles, signers=("alice:2", "bob")).judge().phase == "valid"


def test_one_signature_twice_counts_once():
    store = Store(signers=("alice", "alice"))
    assert code_of(store.judge) == "trust.threshold"


def test_a_manifest_signed_by_people_who_do_not_release_is_refused():
    store, _, _ = an_active_pack()
    store.manifest(signers=("alice", "bob", "carol", "sec"))
    assert code_of(store.judge) == "trust.threshold"
    assert details_of(store.judge) == ("signed by: nobody who counts",)
    store = Store(roles=ROLES | {"release": (("rel", "olga"), 2)})
    store.manifest(signers=("rel", "bob"))
    assert details_of(store.judge) == ("signed by: rel",)


def test_p256_keys_sign_as_well():
    keys = {**KEYS, "rel": P256(7)}
    store, _, _ = an_active_pack(keys=keys)
    assert only(store.judge()).permits.new
    name = trust.manifest_file(1, 1)
    store.files[name] = store.files[name].replace(b'"sig":"MEU', b'"sig":"MEQ')
    broken = json.loads(store.files[name])
    broken["signatures"][0]["sig"] = base64.b64encode(b"\x30\x06\x02\x01\x01\x02\x01\x01").decode()
    store.files[name] = json.dumps(broken).encode()
    assert code_of(store.judge) == "trust.threshold"


SMALL_ORDER = [
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("ec" + "ff" * 30 + "7f"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]
WEAK = [
    *SMALL_ORDER,
    *(point[:31] + bytes([point[31] | 0x80]) for point in SMALL_ORDER),
    bytes.fromhex("ed" + "ff" * 30 + "7f"),
    bytes.fromhex("ee" + "ff" * 30 + "7f"),
    b"\x05" * 31,
    b"\x05" * 33,
]


@pytest.mark.parametrize("raw", WEAK)
def test_weak_and_misspelt_ed25519_keys_cannot_stand_in_a_root(raw):
    store = Store()
    entry = {"scheme": "ed25519", "public": raw.hex(), "owner": "eve", "kind": "person"}
    keys = store.root_document()["keys"] | {trust.keyid_of("ed25519", raw): entry}
    store.root(keys=keys)
    assert code_of(store.judge) == "trust.root_key"


@pytest.mark.parametrize(
    "raw",
    [
        *(b"\x04" + bytes(64), b"\x04" + b"\x01" * 64, b"\x04", b"\x05" + P256(7).public[1:]),
        *(b"\x02" + P256(7).public[1:33], b"\x03" + P256(7).public[1:33], P256(7).public[:64]),
    ],
    ids=itertools.count(),
)
def test_what_is_no_point_of_p256_cannot_stand_in_a_root(raw):
    store = Store()
    scheme = "ecdsa-sha2-nistp256"
    entry = {"scheme": scheme, "public": raw.hex(), "owner": "eve", "kind": "person"}
    store.root(keys=store.root_document()["keys"] | {trust.keyid_of(scheme, raw): entry})
    assert code_of(store.judge) == "trust.root_key"


def test_a_key_under_an_id_that_is_not_its_own_is_refused():
    store = Store()
    keys = store.root_document()["keys"]
    store.root(keys=keys | {"a" * 64: keys[KEYS["alice"].keyid]})
    assert code_of(store.judge) == "trust.root_key"


# ------------------------------------------------------------------------------------------- roots


def test_the_pin_decides_which_root_is_the_first():
    assert code_of(Store().judge, pin="1" * 64) == "trust.root_pin"


def test_the_chain_is_walked_in_steps_of_one():
    store = Store()
    store.root()
    store.root()
    assert store.judge().root.version == 3
    del store.files[trust.root_file(2)]
    assert code_of(store.judge) == "trust.root_chain"


def test_a_new_root_needs_the_old_threshold_and_its_own():
    store = Store()
    store.roles["root"] = (("carol", "sec", "alice"), 2)
    store.root(signers=("alice", "bob"))
    assert code_of(store.judge) == "trust.threshold"
    store.root_version = 1
    store.root(signers=("carol", "sec"))
    assert code_of(store.judge) == "trust.threshold"
    store.root_version = 1
    store.root(signers=("alice", "carol"))
    assert store.judge().root.version == 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"version": 7}, "trust.root_chain"),
        ({"deployment": "other"}, "trust.root_chain"),
        ({"environment": "dev"}, "trust.root_chain"),
        ({"issued": timestamp(NOW - 101 * DAY)}, "trust.root_chain"),
        ({"issued": timestamp(NOW + DAY)}, "trust.from_future"),
        ({"expires": timestamp(NOW - 100 * DAY)}, "trust.lifetime"),
        ({"policy": POLICY | {"self_approval": True}}, "trust.root_policy"),
        ({"policy": POLICY | {"editable": True}}, "trust.root_policy"),
        ({"policy": POLICY | {"observe": True}}, "trust.root_policy"),
        ({"policy": POLICY | {"inproc": ["*"]}}, "trust.root_policy"),
        (
            {"policy": POLICY | {"approvals": [{"when": {}, "need": {"reviewer": 4}}]}},
            "trust.root_threshold",
        ),
        (
            {"policy": POLICY | {"approvals": [{"when": {}, "need": {"release": 1}}]}},
            "trust.root_threshold",
        ),
        (
            {"policy": POLICY | {"approvals": [{"when": {}, "need": {"nobody": 1}}]}},
            "trust.root_threshold",
        ),
        ({"unknown": 1}, "store.malformed"),
    ],
    ids=itertools.count(),
)
def test_a_root_that_may_not_follow_is_refused_whole(change, code):
    store = Store()
    store.root(**change)
    assert code_of(store.judge) == code


@pytest.mark.parametrize(
    "roles",
    [
        {"release": {"keys": [], "threshold": 1}},
        {"release": None},
        {"release": {"keys": ["1" * 64], "threshold": 1}},
    ],
    ids=itertools.count(),
)
def test_roles_that_nobody_can_fill_are_refused(roles):
    store = Store()
    merged = store.root_document()["roles"] | roles
    store.root(roles={name: role for name, role in merged.items() if role})
    assert code_of(store.judge) == "trust.root_threshold"


def test_a_role_names_only_keys_of_its_root():
    store = Store()
    roles = store.root_document()["roles"]
    roles["operator"]["keys"].append("1" * 64)
    store.root(roles=roles)
    assert code_of(store.judge) == "trust.root_threshold"


def test_a_retired_key_cannot_be_in_force_as_well():
    store = Store()
    store.retired = {KEYS["sec"].keyid: {"reason": "left", "statements": []}}
    store.root()
    assert code_of(store.judge) == "trust.root_key"


def test_development_freedoms_are_for_development():
    store = Store(environment="dev", self_approval=True, editable=True, inproc=["*"])
    assert store.judge().is_dev


def test_another_deployments_root_is_not_ours():
    assert code_of(Store().judge, deployment="other") == "trust.deployment"


# -------------------------------------------------------------------- manifests: order, time, names


def test_a_root_just_within_the_clocks_skew_is_taken():
    store = Store()
    store.root(issued=timestamp(NOW + 300))
    assert store.judge().root.version == 2
    store.root_version = 1
    store.root(issued=timestamp(NOW + 301))
    assert code_of(store.judge) == "trust.from_future"


def test_what_is_older_than_the_mark_is_a_rollback():
    store, subject, statements = an_active_pack()
    before = dict(store.files)
    store.manifest([(subject, "ACTIVE", statements)])
    mark = store.judge().mark
    store.files = before
    assert code_of(store.judge, mark=mark) == "trust.rollback"
    assert only(store.judge()).permits.new  # a first start cannot know


def test_a_store_that_lost_its_manifests_or_its_root_is_a_rollback():
    store, _, _ = an_active_pack()
    mark = store.judge().mark
    del store.files[trust.manifest_file(1, 1)]
    assert code_of(store.judge, mark=mark) == "trust.rollback"
    store.root()
    store.manifest()
    mark = store.judge().mark
    del store.files[trust.root_file(2)]
    assert code_of(store.judge, mark=mark) == "trust.rollback"


def test_a_store_that_lost_the_manifests_of_its_root_is_a_rollback():
    store, _, _ = an_active_pack()
    store.root()
    store.manifest()
    mark = store.judge().mark
    del store.files[trust.manifest_file(2, 1)]
    assert code_of(store.judge, mark=mark) == "trust.rollback"
    assert code_of(store.judge) == "trust.root_mismatch"


def test_a_misspelt_manifest_is_none():
    store, _, _ = an_active_pack()
    for name in ("manifests/00001-00000002.dsse", "manifests/00002-00000009.dsse"):
        store.files[name] = b"x"
    assert only(store.judge()).permits.new


def test_the_same_number_with_other_bytes_is_equivocation():
    store, _, _ = an_active_pack()
    mark = store.judge().mark
    store.version, store.previous = 0, None
    store.manifest()
    assert code_of(store.judge, mark=mark) == "trust.equivocation"


def test_a_manifest_of_the_root_before_says_so_whoever_releases_now():
    store, _, _ = an_active_pack()
    store.roles = ROLES | {"release": (("olga",), 1)}
    store.root()
    assert code_of(store.judge) == "trust.root_mismatch"


def test_every_manifest_since_the_mark_must_be_there_and_follow():
    store, subject, statements = an_active_pack()
    mark = store.judge().mark
    first = dict(store.files)
    entry = [(subject, "ACTIVE", statements)]
    store.manifest(entry)
    store.manifest(entry)
    assert store.judge(mark=mark).mark.version == 3
    gap = dict(store.files)
    del store.files[trust.manifest_file(1, 2)]
    assert code_of(store.judge, mark=mark) == "store.gap"
    assert store.judge().mark.version == 3
    store.files = dict(gap)
    del store.files[trust.manifest_file(1, 1)]
    assert code_of(store.judge, mark=mark) == "store.gap"
    store.files = gap
    fork = Store()
    fork.files = first
    fork.version, fork.previous = 0, None
    fork.manifest()
    store.files[trust.manifest_file(1, 1)] = fork.files[trust.manifest_file(1, 1)]
    assert code_of(store.judge, mark=mark) == "trust.chain"
    assert code_of(store.judge) == "trust.chain"


def test_what_is_older_than_the_mark_may_be_missing():
    store = Store()
    store.manifest()
    store.manifest()
    mark = store.judge().mark
    store.manifest()
    del store.files[trust.manifest_file(1, 1)]
    assert store.judge(mark=mark).mark.version == 3


def test_after_a_rotation_every_manifest_since_must_be_there_whatever_was_seen_before():
    store = Store()
    for _ in range(2):
        store.manifest()
    mark = store.judge().mark
    store.root()
    for _ in range(3):
        store.manifest()
    assert store.judge(mark=mark).mark.version == 3
    del store.files[trust.manifest_file(2, 1)]
    assert code_of(store.judge, mark=mark) == "store.gap"


def test_a_manifest_that_continues_another_than_the_one_seen_is_a_fork():
    store, _, _ = an_active_pack()
    mark = store.judge().mark
    store.version, store.previous = 0, None
    store.manifest()
    store.manifest()
    assert code_of(store.judge, mark=mark) == "trust.chain"


def test_if_the_newest_does_not_hold_nothing_older_is_tried():
    store, subject, statements = an_active_pack()
    store.manifest([(subject, "ACTIVE", statements)], signers=("eve",))
    assert code_of(store.judge) == "trust.threshold"


def test_a_fast_forward_ends_with_the_next_rotation():
    store, subject, statements = an_active_pack()
    store.version = 9_999_997
    store.manifest()
    mark = store.judge().mark
    assert mark.version == 9_999_998
    store.root()
    assert code_of(store.judge, mark=mark) == "trust.root_mismatch"
    store.manifest([(subject, "ACTIVE", statements)])
    verdict = store.judge(mark=mark)
    assert (2, 1) == (verdict.mark.root_version, verdict.mark.version)
    assert only(verdict).permits.new


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"deployment": "other"}, "trust.deployment"),
        ({"root_version": 2}, "trust.root_mismatch"),
        ({"version": 5}, "trust.chain"),
        ({"issued": timestamp(NOW + 301)}, "trust.from_future"),
        ({"expires": timestamp(NOW + 29 * DAY + 1)}, "trust.lifetime"),
        ({"expires": timestamp(NOW - DAY)}, "trust.lifetime"),
        ({"issued": "2023-11-14T22:13:20"}, "trust.time"),
        ({"issued": "2023-02-30T22:13:20Z"}, "trust.time"),
        ({"documents": {}}, "trust.document"),
        ({"extra": None}, "store.malformed"),
    ],
    ids=itertools.count(),
)
def test_a_manifest_that_may_not_be_is_refused_whole(change, code):
    store = Store()
    store.manifest(**change)
    assert code_of(store.judge) == code


@pytest.mark.parametrize(
    "change",
    [{"issued": timestamp(NOW + 300)}, {"expires": timestamp(NOW + 29 * DAY)}],
    ids=itertools.count(),
)
def test_a_manifest_just_within_bounds_is_taken(change):
    store = Store()
    store.manifest(**change)
    assert store.judge().mark.version == 1


def test_a_manifest_is_not_issued_before_its_predecessor():
    store = Store()
    store.manifest()
    store.manifest(issued=timestamp(NOW - 5 * DAY))
    assert code_of(store.judge) == "trust.chain"


def test_one_distribution_has_one_active_record_and_one_entry_a_record():
    store = Store()
    old, new = store.record(version="1"), store.record(version="2")
    store.manifest([(old, "ACTIVE", store.approved(old)), (new, "ACTIVE", store.approved(new))])
    assert code_of(store.judge) == "trust.duplicate"
    store.version = 0
    store.manifest([(old, "ACTIVE", []), (old, "SUSPENDED", [])])
    assert code_of(store.judge) == "trust.duplicate"


def test_a_pack_and_a_facade_may_have_one_name_and_two_facades_not():
    store = Store()
    pack, one, two = (Subject(each * 64, "notes", "1", "notes") for each in "123")
    store.manifest([(pack, "ACTIVE", [])], [(one, "ACTIVE", [])])
    assert ["notes", "notes"] == [each.name for each in store.judge().absent]
    store.manifest([], [(one, "ACTIVE", []), (two, "ACTIVE", [])])
    with pytest.raises(TrustError, match="facade notes") as caught:
        store.judge()
    assert caught.value.code == "trust.duplicate"


@pytest.mark.parametrize(
    "clash",
    [{"capabilities": [capability("one.put")]}, {"top_level": ["awe_pack_one"]}],
    ids=itertools.count(),
)
def test_what_two_distributions_claim_neither_has(clash):
    store = Store()
    one, two, three = store.record("one"), store.record("two", **clash), store.record("three")
    store.manifest([(each, "ACTIVE", store.approved(each)) for each in (one, two, three)])
    found = {pack.name: codes(pack) for pack in store.judge().packs}
    assert found == {
        "awe-pack-one": ["trust.duplicate"],
        "awe-pack-two": ["trust.duplicate"],
        "awe-pack-three": [],
    }


def test_pinned_documents_are_compared():
    store = Store()
    store.manifest()
    manifest = store.judge().manifest
    trust.check_documents(manifest, {"people.yaml": D, "other": "x"})
    for files, found in (({"people.yaml": "1" * 64}, "1" * 64), ({}, "no such file")):
        assert code_of(trust.check_documents, manifest, files) == "trust.document"
        details = details_of(trust.check_documents, manifest, files)
        assert (f"signed sha256 {D}", f"found {found}") == details


def test_a_mark_of_another_pin_is_not_ours():
    store = Store()
    mark = store.judge().mark
    other = Store(grace_days=8)
    assert code_of(other.judge, mark=mark) == "trust.mark"


# ------------------------------------------------------------------------------------- approvals


def judged(change, **policy):
    """Judge one ACTIVE pack whose statements *change* has made."""
    store = Store(**policy)
    subject = store.record()
    store.manifest([(subject, "ACTIVE", change(store, subject))])
    return only(store.judge())


def test_each_role_must_have_approved():
    pack = judged(lambda store, it: store.approved(it)[:2])
    assert codes(pack) == ["pack.approvals_missing"]
    assert not pack.permits.new
    assert not pack.permits.undo_own
    assert "security" in str(pack.refusals[0])


def test_the_proposal_must_be_signed_by_the_one_the_record_names():
    unsigned = judged(lambda store, it: store.approved(it)[1:])
    assert codes(unsigned) == ["pack.approvals_missing"]
    by_another = judged(
        lambda store, it: [*store.approved(it)[1:], store.say("propose", "alice", "proposer", it)]
    )
    assert codes(by_another) == ["pack.approvals_missing"]


def test_the_proposer_and_the_authors_approve_nothing_of_theirs():
    def by_alice(store, it):
        return [store.say("propose", "alice", "proposer", it), *store.approved(it)[1:]]

    store = Store()
    own = store.record(proposed_by="alice")
    store.manifest([(own, "ACTIVE", by_alice(store, own))])
    assert codes(only(store.judge())) == ["pack.self_approval", "pack.approvals_missing"]
    store = Store()
    written = store.record(authors=["sec"])
    store.manifest([(written, "ACTIVE", store.approved(written))])
    assert codes(only(store.judge())) == ["pack.self_approval", "pack.approvals_missing"]


def test_in_development_one_person_may_be_everybody():
    store = Store(environment="dev", self_approval=True)
    own = store.record(proposed_by="alice")
    statements = [
        store.say("propose", "alice", "proposer", own),
        store.say("approve", "alice", "reviewer", own),
        store.say("approve", "alice", "security", own),
    ]
    store.manifest([(own, "ACTIVE", statements)])
    assert only(store.judge()).permits.new


def test_whoever_proposes_signs_a_proposal_and_nothing_else_in_its_place():
    pack = judged(
        lambda store, it: [
            store.say("withdraw", "dave", "proposer", it),
            *store.approved(it)[1:],
        ]
    )
    assert codes(pack) == ["pack.approvals_missing"]


def test_what_is_missing_says_who_could_give_it():
    store = Store(approvals=[{"when": {}, "need": {"reviewer": 2}}])
    written = store.record(authors=["bob"])
    store.manifest([(written, "ACTIVE", store.approved(written)[:2])])
    (missing,) = only(store.judge()).refusals
    assert ("who could: sec",) == tuple(missing.details)
    nobody = Store(approvals=[{"when": {"kind": "facade"}, "need": {"reviewer": 1}}])
    subject = nobody.record()
    nobody.manifest([(subject, "ACTIVE", nobody.approved(subject))])
    (missing,) = only(nobody.judge()).refusals
    assert ("who could: nobody in the root as it is",) == tuple(missing.details)


def test_one_person_counts_under_one_role():
    both = judged(lambda store, it: store.approved(it, reviewer="alice", security="alice"))
    assert codes(both) == ["pack.separation_of_duties", "pack.approvals_missing"]
    helped = judged(
        lambda store, it: [
            *store.approved(it, reviewer="alice", security="alice"),
            store.say("approve", "bob", "reviewer", it),
        ]
    )
    assert codes(helped) == []


def test_machines_approve_nothing():
    roles = ROLES | {"reviewer": (("alice", "rel"), 1)}
    pack = judged(lambda store, it: store.approved(it, reviewer="rel"), roles=roles)
    assert codes(pack) == ["pack.approval_kind", "pack.approvals_missing"]


def test_an_approval_of_other_bytes_does_not_count():
    store = Store()
    subject, other = store.record(), store.record(revision=2)
    statements = [*store.approved(subject)[:2], store.say("approve", "sec", "security", other)]
    store.manifest([(subject, "ACTIVE", statements)])
    assert codes(only(store.judge())) == ["pack.approval_subject", "pack.approvals_missing"]


@pytest.mark.parametrize("change", [{"name": "other"}, {"version": "1.4.1"}])
def test_an_approval_says_what_it_is_about_or_does_not_count(change):
    pack = judged(
        lambda store, it: [
            *store.approved(it)[:2],
            store.say("approve", "sec", "security", it, **change),
        ]
    )
    assert codes(pack) == ["pack.approval_subject", "pack.approvals_missing"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"role": "reviewer"}, None),
        ({"role": "operator"}, "signer.not_in_role"),
        ({"role": "unheard"}, "trust.unknown_role"),
        ({"deployment": "other"}, "trust.deployment"),
        ({"root_version": 2}, "trust.root_mismatch"),
        ({"expires": timestamp(NOW - 2 * DAY)}, "pack.approval_expired"),
        ({"at": timestamp(NOW - DAY + 301)}, "pack.approval_expired"),
        ({"expires": timestamp(NOW - DAY)}, "pack.approval_expired"),
        ({"expires": timestamp(NOW + 356 * DAY)}, "trust.lifetime"),
        ({"at": TOMORROW, "expires": TOMORROW}, "trust.lifetime"),
        ({"at": SOON, "expires": SOON}, "trust.lifetime"),
        ({"expires": None}, "store.malformed"),
        ({"reason": "looks \u202e fine"}, "store.malformed"),
        ({"decision": "reject"}, None),
    ],
    ids=itertools.count(),
)
def test_an_approval_that_does_not_count_is_missed(change, code):
    role = change.get("role", "security")
    rest = {k: v for k, v in change.items() if k not in {"role", "decision"}}
    decision = change.get("decision", "approve")
    pack = judged(
        lambda store, it: [
            *store.approved(it)[:2],
            store.say(decision, "sec", role, it, **rest),
        ]
    )
    assert codes(pack) == [*([code] if code else []), "pack.approvals_missing"]


@pytest.mark.parametrize(
    ("signers", "counts"),
    [(("sec", "carol"), False), (("eve",), False), (("sec", "eve"), True), (("sec",), True)],
    ids=itertools.count(),
)
def test_a_statement_is_one_persons(signers, counts):
    pack = judged(
        lambda store, it: [
            *store.approved(it)[:2],
            store.say("approve", "sec", "security", it, signers=signers),
        ]
    )
    assert ([] if counts else ["trust.statement", "pack.approvals_missing"]) == codes(pack)
    if not counts:
        who = "carol, sec" if "sec" in signers else "nobody known"
        assert f"signed by {who}" in str(pack.refusals[0])


@pytest.mark.parametrize(
    "change",
    [
        {"expires": timestamp(NOW + 355 * DAY)},
        {"expires": timestamp(NOW - DAY + 1)},
        {"at": timestamp(NOW - DAY + 300)},
    ],
    ids=itertools.count(),
)
def test_an_approval_just_within_its_times_counts(change):
    pack = judged(
        lambda store, it: [
            *store.approved(it)[:2],
            store.say("approve", "sec", "security", it, **change),
        ]
    )
    assert codes(pack) == []


def test_what_does_not_count_harms_nothing_when_enough_others_do():
    pack = judged(
        lambda store, it: [
            *store.approved(it),
            store.say("approve", "olga", "reviewer", it),
            store.say("approve", "dave", "reviewer", it),
            store.say("approve", "bob", "reviewer", it, name="other"),
            "1" * 64,
        ]
    )
    assert codes(pack) == []


def test_an_approval_counts_while_it_covers_the_manifests_date_however_late_it_is_read():
    store = Store()
    subject = store.record()
    statements = [
        *store.approved(subject)[:2],
        store.say("approve", "sec", "security", subject, expires=timestamp(NOW)),
    ]
    store.manifest([(subject, "ACTIVE", statements)])
    assert only(store.judge(now=NOW + 5 * DAY)).permits.new


def test_the_largest_number_of_all_matching_rules_counts():
    store = Store()
    native = store.record(native=True)
    store.manifest([(native, "ACTIVE", store.approved(native))])
    assert codes(only(store.judge())) == ["pack.approvals_missing"]
    store.version = 0
    statements = [*store.approved(native), store.say("approve", "carol", "security", native)]
    store.manifest([(native, "ACTIVE", statements)])
    assert codes(only(store.judge())) == []


def test_what_no_rule_matches_cannot_be_approved():
    store = Store(approvals=[{"when": {"kind": "facade"}, "need": {"reviewer": 1}}])
    subject = store.record()
    store.manifest([(subject, "ACTIVE", store.approved(subject))])
    assert codes(only(store.judge())) == ["pack.approvals_missing"]


def test_evidence_the_policy_wants_must_be_in_the_record():
    store, _, _ = an_active_pack(evidence=["pep740"])
    assert codes(only(store.judge())) == ["pack.evidence"]
    store = Store(evidence=["pep740"])
    proved = store.record(evidence=[{"kind": "pep740", "sha256": D, "publisher": "acme"}])
    store.manifest([(proved, "ACTIVE", store.approved(proved))])
    assert codes(only(store.judge())) == []


def test_only_what_the_root_lists_runs_in_process():
    store = Store()
    inside, stdlib = store.record(executor="inproc"), store.record("stdlib", executor="inproc")
    store.manifest([(each, "ACTIVE", store.approved(each)) for each in (inside, stdlib)])
    assert [["pack.executor"], []] == [codes(pack) for pack in store.judge().packs]


def test_a_declarative_pack_needs_its_interpreter_in_force():
    shape = {
        "kind": "declarative",
        "interpreter": "awe-pack-acme-files",
        "source": D,
        "hooks": [],
    }
    approvals = [{"when": {}, "need": {"reviewer": 1, "security": 1}}]
    store = Store(approvals=approvals)
    drawn, plain = store.record("drawn", **shape), store.record()
    statements = store.approved(drawn)
    store.manifest([(drawn, "ACTIVE", statements)])
    assert codes(only(store.judge())) == ["pack.interpreter"]
    store.manifest([(drawn, "ACTIVE", statements), (plain, "ACTIVE", store.approved(plain))])
    assert [[], []] == [codes(pack) for pack in store.judge().packs]
    store.say("suspend", "olga", "operator", plain)
    assert [["pack.interpreter"], []] == [codes(pack) for pack in store.judge().packs]
    store = Store(approvals=approvals)
    drawn, inside = store.record("drawn", **shape), store.record(executor="inproc")
    store.manifest([(each, "ACTIVE", store.approved(each)) for each in (drawn, inside)])
    assert [["pack.interpreter"], ["pack.executor"]] == [codes(p) for p in store.judge().packs]


def test_observe_lets_a_refused_pack_run_in_development_and_says_so():
    store = Store(environment="dev", observe=True)
    subject = store.record()
    store.manifest([(subject, "ACTIVE", [])])
    pack = only(store.judge())
    assert set(codes(pack)) == {"pack.approvals_missing"}
    assert pack.permits.new


def test_observe_passes_no_broken_signature():
    store = Store(environment="dev", observe=True)
    subject = store.record()
    broken = store.say("approve", "sec", "security", subject, signers=("eve",))
    store.manifest([(subject, "ACTIVE", [broken])])
    assert not only(store.judge()).permits.new


# ------------------------------------------------------------------------------- keys that left


def test_a_key_that_left_counts_with_the_statements_it_left_behind_and_no_others():
    store, subject, statements = an_active_pack()
    late = store.say("approve", "sec", "security", subject, reason="forged later")
    store.retired = {KEYS["sec"].keyid: {"reason": "left", "statements": [statements[2]]}}
    store.keys = {name: key for name, key in KEYS.items() if name != "sec"}
    store.roles = {
        "reviewer": (("alice", "bob"), 1),
        **{k: v for k, v in ROLES.items() if k not in {"reviewer", "security"}},
        "security": (("carol", "alice", "bob"), 1),
    }
    store.root()
    store.manifest([(subject, "ACTIVE", statements)])
    assert codes(only(store.judge())) == []
    store.version = 0
    store.manifest([(subject, "ACTIVE", [*statements[:2], late])])
    assert codes(only(store.judge())) == ["signer.not_in_role", "pack.approvals_missing"]


def test_a_key_that_left_does_not_count_where_it_never_did():
    store, subject, statements = an_active_pack()
    wrong = store.say("approve", "carol", "reviewer", subject)
    store.retired = {KEYS["carol"].keyid: {"reason": "left", "statements": [wrong]}}
    store.keys = {name: key for name, key in KEYS.items() if name != "carol"}
    store.roles = ROLES | {
        "root": (("alice", "bob"), 2),
        "security": (("sec", "alice"), 1),
    }
    store.root()
    store.manifest([(subject, "ACTIVE", [statements[0], wrong, statements[2]])])
    assert codes(only(store.judge())) == ["signer.not_in_role", "pack.approvals_missing"]


def test_a_role_that_came_later_counts_for_what_was_said_before():
    store = Store()
    subject = store.record()
    statements = [
        store.say("propose", "dave", "proposer", subject),
        store.say("approve", "alice", "auditor", subject),
    ]
    store.roles = ROLES | {"auditor": (("alice",), 1)}
    store.policy = POLICY | {"approvals": [{"when": {}, "need": {"auditor": 1}}]}
    store.root()
    store.manifest([(subject, "ACTIVE", statements)])
    assert codes(only(store.judge())) == []


def test_a_compromised_key_counts_for_nothing():
    store, subject, statements = an_active_pack()
    store.retired = {KEYS["sec"].keyid: {"reason": "compromised", "statements": []}}
    store.keys = {name: key for name, key in KEYS.items() if name != "sec"}
    store.roles = ROLES | {
        "reviewer": (("alice", "bob"), 1),
        "security": (("carol", "alice", "bob"), 1),
    }
    store.root()
    store.manifest([(subject, "ACTIVE", statements)])
    assert "signer.not_in_role" in codes(only(store.judge()))


# ----------------------------------------------------------------------------------------- stops


def test_one_operator_suspends_at_once_and_deleting_the_file_undoes_nothing():
    store, subject, _ = an_active_pack()
    mark = store.judge().mark
    stop = store.say("suspend", "olga", "operator", subject)
    stopped = store.judge(mark=mark)
    pack = only(stopped)
    assert (State.SUSPENDED, False, False) == (pack.status, pack.permits.new, pack.permits.resume)
    assert pack.permits.undo_own
    assert ["pack.resume_missing"] == [each.code for each in stopped.warnings]
    del store.files[trust.statement_file(stop, is_stop=True)]
    assert only(store.judge(mark=stopped.mark)).status is State.SUSPENDED
    assert only(store.judge(mark=mark)).status is State.ACTIVE


def test_a_forged_stop_stops_nothing_and_is_named():
    store, subject, _ = an_active_pack()
    store.say("suspend", "olga", "operator", subject, signers=("eve",))
    store.say("suspend", "dave", "proposer", subject)
    store.say("approve", "alice", "reviewer", subject, folder="stops")
    store.files["stops/" + "1" * 64 + ".dsse"] = b"x"
    verdict = store.judge()
    assert only(verdict).status is State.ACTIVE
    assert ["trust.statement"] * 3 + ["store.digest"] == sorted(
        (each.code for each in verdict.warnings), reverse=True
    )


def test_rubbish_named_like_an_approval_hides_nothing():
    store, _, statements = an_active_pack()
    store.files[trust.statement_file(statements[1], is_stop=True)] = b"x"
    assert only(store.judge()).permits.new


def test_a_stop_outlives_the_key_that_signed_it():
    store, subject, statements = an_active_pack()
    store.say("suspend", "olga", "operator", subject)
    store.keys = {name: key for name, key in KEYS.items() if name != "olga"}
    store.roles = ROLES | {"operator": (("alice",), 1)}
    store.root()
    store.manifest([(subject, "ACTIVE", statements)])
    assert only(store.judge()).status is State.SUSPENDED


def test_a_stop_outlives_the_role_that_it_was_signed_under():
    store, subject, statements = an_active_pack()
    store.say("suspend", "olga", "operator", subject)
    store.roles = {role: held for role, held in ROLES.items() if role != "operator"}
    store.root()
    store.manifest([(subject, "ACTIVE", statements)])
    assert only(store.judge()).status is State.SUSPENDED


def test_a_stop_by_whom_never_held_the_role_stops_nothing():
    store, subject, _ = an_active_pack()
    store.say("suspend", "dave", "operator", subject)
    verdict = store.judge()
    assert only(verdict).status is State.ACTIVE
    assert ["signer.not_in_role"] == [each.code for each in verdict.warnings]


def test_a_stop_that_lies_among_the_statements_stops_as_long_as_a_manifest_has_named_it():
    store, subject, statements = an_active_pack()
    stop = store.say("suspend", "olga", "operator", subject, folder="statements")
    store.manifest([(subject, "SUSPENDED", [*statements, stop])])
    assert codes(only(store.judge())) == []
    store.manifest([(subject, "ACTIVE", statements)])
    assert only(store.judge()).status is State.SUSPENDED


def test_only_what_a_manifest_shows_running_is_warned_of():
    store, subject, statements = an_active_pack()
    stop = store.say("suspend", "olga", "operator", subject)
    store.manifest([(subject, "SUSPENDED", [*statements, stop])])
    assert () == store.judge().warnings
    store, old, statements = an_active_pack()
    new = store.record(version="2.0.0")
    store.manifest([(old, "SUPERSEDED", statements), (new, "ACTIVE", store.approved(new))])
    store.say("suspend", "olga", "operator", old)
    verdict = store.judge()
    assert (State.SUPERSEDED, ()) == (verdict.packs[0].status, verdict.warnings)
    store.say("revoke", "sec", "security", new)
    store.say("suspend", "olga", "operator", new)
    verdict = store.judge()
    assert (State.REVOKED, ()) == (verdict.packs[1].status, verdict.warnings)


def test_a_stop_that_an_entry_names_is_read_where_stops_lie():
    store, subject, statements = an_active_pack()
    stop = store.say("suspend", "olga", "operator", subject)
    store.manifest([(subject, "SUSPENDED", [*statements[:2], stop])])
    assert codes(only(store.judge())) == ["pack.approvals_missing"]
    store.manifest([(subject, "SUSPENDED", [*statements[:2], stop, "1" * 64])])
    unread, _ = only(store.judge()).refusals
    assert f"statements/{'1' * 64}.dsse" in str(unread)


def resumed(who="sec", role="security", signers=("rel",), **policy):
    store, subject, statements = an_active_pack(**policy)
    stop = store.say("suspend", "olga", "operator", subject)
    store.manifest([(subject, "SUSPENDED", [*statements, stop])])
    resume = store.say("resume", who, role, subject, stops=stop)
    store.manifest([(subject, "ACTIVE", [*statements, stop, resume])], signers=signers)
    return store, subject, statements, resume


def test_security_resumes_what_an_operator_stopped():
    store, *_ = resumed()
    assert only(store.judge()).status is State.ACTIVE
    assert only(store.judge()).permits.new


def test_an_operator_does_not_resume():
    store, *_ = resumed(who="olga", role="operator")
    assert only(store.judge()).status is State.SUSPENDED


def test_who_releases_the_manifest_does_not_lift_the_stop_as_well():
    roles = ROLES | {"release": (("rel", "sec"), 1)}
    store, *_ = resumed(signers=("sec",), roles=roles)
    assert only(store.judge()).status is State.SUSPENDED
    store, *_ = resumed(signers=("rel",), roles=roles)
    assert only(store.judge()).status is State.ACTIVE


def test_the_resume_of_another_record_lifts_nothing():
    store, subject, statements = an_active_pack()
    other = store.record("other")
    stop = store.say("suspend", "olga", "operator", subject)
    elsewhere = store.say("resume", "sec", "security", other, stops=stop)
    store.manifest([(subject, "ACTIVE", [*statements, stop, elsewhere])])
    assert only(store.judge()).status is State.SUSPENDED


def test_a_resume_works_once():
    store, subject, statements, resume = resumed()
    again = store.say("suspend", "olga", "operator", subject, reason="once more")
    assert only(store.judge()).status is State.SUSPENDED
    store.manifest([(subject, "SUSPENDED", [*statements, resume, again])])
    store.manifest([(subject, "ACTIVE", [*statements, resume])])
    assert only(store.judge()).status is State.SUSPENDED
    for file in [name for name in store.files if name.startswith("stops/")]:
        del store.files[file]
    assert only(store.judge()).status is State.SUSPENDED


def test_nobody_is_suspended_by_the_release_key_alone():
    store, subject, statements = an_active_pack()
    store.manifest([(subject, "SUSPENDED", statements)])
    pack = only(store.judge())
    assert (State.SUSPENDED, ["trust.status"]) == (pack.status, codes(pack))


def test_what_was_superseded_returns_only_with_a_resume_that_names_that_manifest():
    store, old, statements = an_active_pack()
    new = store.record(version="2.0.0")
    newer = store.approved(new)
    superseded = store.manifest([(old, "SUPERSEDED", statements), (new, "ACTIVE", newer)])
    store.manifest([(old, "ACTIVE", statements)])
    assert codes(only(store.judge())) == ["pack.resume_missing"]
    store.version, store.previous = 2, superseded
    wrong = store.say("resume", "sec", "security", old, stops="1" * 64)
    store.manifest([(old, "ACTIVE", [*statements, wrong])])
    assert codes(only(store.judge())) == ["pack.resume_missing"]
    store.version, store.previous = 2, superseded
    right = store.say("resume", "sec", "security", old, stops=superseded)
    store.manifest([(old, "ACTIVE", [*statements, right])])
    assert codes(only(store.judge())) == []
    store.manifest([(old, "SUPERSEDED", [*statements, right]), (new, "ACTIVE", newer)])
    store.manifest([(old, "ACTIVE", [*statements, right])])
    assert codes(only(store.judge())) == ["pack.resume_missing"]


def test_a_step_that_the_table_does_not_have_is_refused():
    store, old, statements = an_active_pack()
    new = store.record(version="2.0.0")
    newer = store.approved(new)
    store.manifest([(old, "SUPERSEDED", statements), (new, "ACTIVE", newer)])
    store.manifest([(old, "DEPRECATED", statements), (new, "ACTIVE", newer)])
    assert codes(store.judge().packs[0]) == ["trust.status"]


def test_a_deprecated_record_takes_new_runs_until_its_sunset():
    store, subject, statements = an_active_pack()
    store.manifest([(subject, "DEPRECATED", statements)])
    assert only(store.judge()).permits.new
    after = only(store.judge(now=NOW + DAY))
    assert (False, True) == (after.permits.new, after.permits.resume)


def test_a_sunset_ends_new_runs_whatever_the_state():
    store = Store()
    subject = store.record()
    entry = {
        "distribution": subject.distribution,
        "version": subject.version,
        "record": subject.digest,
        "status": "ACTIVE",
        "sunset": TOMORROW,
        "statements": store.approved(subject),
    }
    store.manifest(entries=[entry])
    assert only(store.judge()).permits.new
    assert not only(store.judge(now=NOW + DAY)).permits.new


def test_deprecated_without_sunset_is_not_justified():
    store, subject, statements = an_active_pack()
    store.manifest([(subject, "DEPRECATED", statements)], sunset=None)
    assert codes(only(store.judge())) == ["trust.status"]


def test_a_revocation_is_for_ever():
    store, subject, statements = an_active_pack()
    revoke = store.say("revoke", "sec", "security", subject)
    pack = only(store.judge())
    assert (State.REVOKED, False, True) == (
        pack.status,
        pack.permits.undo_own,
        pack.permits.undo_core,
    )
    resume = store.say("resume", "sec", "security", subject, stops=revoke)
    store.manifest([(subject, "ACTIVE", [*statements, resume])])
    assert only(store.judge()).status is State.REVOKED
    store.denied = [subject.digest]
    store.manifest([(subject, "REVOKED", [revoke])])
    assert (State.REVOKED, []) == (only(store.judge()).status, codes(only(store.judge())))


def test_revoked_and_not_denied_is_not_justified():
    store, subject, _ = an_active_pack()
    revoke = store.say("revoke", "sec", "security", subject)
    store.manifest([(subject, "REVOKED", [revoke])])
    assert codes(only(store.judge())) == ["trust.status"]


def test_a_lost_file_stops_only_what_was_suspended():
    store, subject, statements = an_active_pack()
    extra = store.say("approve", "bob", "reviewer", subject)
    store.manifest([(subject, "ACTIVE", [*statements, extra])])
    store.manifest([(subject, "ACTIVE", statements)])
    del store.files[trust.statement_file(extra, is_stop=False)]
    assert only(store.judge()).permits.new


def test_what_a_revoked_distribution_claimed_is_free():
    store = Store()
    one, two = store.record("one"), store.record("two", top_level=["awe_pack_one"])
    statements = store.approved(one)
    store.manifest([(one, "ACTIVE", statements)])
    store.say("revoke", "sec", "security", one)
    store.manifest([(one, "ACTIVE", statements), (two, "ACTIVE", store.approved(two))])
    assert [State.REVOKED, State.ACTIVE] == [pack.status for pack in store.judge().packs]
    assert store.judge().packs[1].permits.new


def test_an_operator_does_not_revoke():
    store, subject, _ = an_active_pack()
    store.say("revoke", "olga", "operator", subject)
    assert only(store.judge()).status is State.ACTIVE


def test_denials_only_grow():
    store, subject, statements = an_active_pack()
    store.denied = [subject.digest]
    store.manifest([(subject, "ACTIVE", statements)])
    verdict = store.judge()
    assert (State.REVOKED, ["pack.denied"]) == (only(verdict).status, codes(only(verdict)))
    store.denied = []
    store.manifest()
    assert code_of(store.judge) == "trust.denied_dropped"
    store.root()
    store.manifest()
    assert code_of(store.judge, mark=verdict.mark) == "trust.denied_dropped"
    store.version = 0
    store.denied = [subject.digest]
    store.manifest()
    assert store.judge(mark=verdict.mark).mark.denied == {subject.digest}
    for number in (1, 2, 3):
        store.files.pop(trust.manifest_file(1, number), None)
        store.files.pop(trust.manifest_file(2, number), None)
    assert store.judge(mark=verdict.mark).mark.denied == {subject.digest}


# --------------------------------------------------------------------------------------- facades


def a_facade(pack_changes=None, pack_status="ACTIVE", **changes):
    store = Store()
    subject = store.record(**(pack_changes or {}))
    statements = store.approved(subject)
    facade = store.facade(**changes)
    own = [
        store.say("propose", "dave", "proposer", facade),
        store.say("approve", "bob", "reviewer", facade),
    ]
    store.manifest([(subject, pack_status, statements)], [(facade, "ACTIVE", own)])
    (found,) = store.judge().facades
    return store, subject, found


def test_a_facade_over_an_active_pack_is_in_force():
    _, subject, facade = a_facade()
    assert ((), State.ACTIVE, (subject.digest,)) == (facade.refusals, facade.status, facade.packs)
    assert facade.permits.new


def test_a_facade_is_bound_to_contracts_and_not_to_bytes():
    _, _, facade = a_facade({"revision": 7, "files": {}})
    assert codes(facade) == []
    _, _, changed = a_facade({"capabilities": [capability("acme_files.put", "1" * 64)]})
    assert codes(changed) == ["facade.target_changed"]
    assert not changed.permits.new


def test_a_facade_that_reaches_nothing_here_is_refused():
    _, _, facade = a_facade(reaches=[{"id": "other.put", "contract": D}])
    assert codes(facade) == ["facade.unknown_target"]


def test_a_facade_is_no_stronger_than_its_pack():
    store, subject, _ = a_facade()
    store.say("suspend", "olga", "operator", subject)
    (facade,) = store.judge().facades
    assert (State.ACTIVE, State.SUSPENDED) == (facade.own_status, facade.status)
    assert not facade.permits.new


def test_a_facade_goes_with_its_pack_also_where_it_reaches_none_of_its_capabilities():
    _, _, homeless = a_facade(pack="awe-pack-nowhere")
    assert (["facade.not_active"], False) == (codes(homeless), homeless.permits.new)

    store, subject, statements = an_active_pack()
    flow = store.record("flow", capabilities=[])
    facade = store.facade(pack="awe-pack-flow")
    own = [
        store.say("propose", "dave", "proposer", facade),
        store.say("approve", "bob", "reviewer", facade),
    ]
    packs = [(subject, "ACTIVE", statements), (flow, "ACTIVE", store.approved(flow))]
    store.manifest(packs, [(facade, "ACTIVE", own)])
    (found,) = store.judge().facades
    assert (State.ACTIVE, True) == (found.status, found.permits.new)
    store.say("suspend", "olga", "operator", flow)
    (found,) = store.judge().facades
    assert (State.SUSPENDED, False) == (found.status, found.permits.new)


def test_a_facade_over_a_refused_pack_is_refused():
    _, _, facade = a_facade({"executor": "inproc"})
    assert codes(facade) == ["facade.not_active"]


def test_a_facade_reaches_the_record_that_is_in_force():
    store = Store()
    refused = store.record(executor="inproc")
    taken = store.record(version="1.3.0")
    facade = store.facade()
    own = [
        store.say("propose", "dave", "proposer", facade),
        store.say("approve", "bob", "reviewer", facade),
    ]
    packs = [
        (refused, "ACTIVE", store.approved(refused)),
        (taken, "DEPRECATED", store.approved(taken)),
    ]
    store.manifest(packs, [(facade, "ACTIVE", own)])
    (found,) = store.judge().facades
    assert ([], (taken.digest,)) == (codes(found), found.packs)


def test_an_unapproved_facade_is_refused_alone():
    store, subject, statements = an_active_pack()
    facade = store.facade()
    store.manifest([(subject, "ACTIVE", statements)], [(facade, "ACTIVE", [])])
    verdict = store.judge()
    assert codes(verdict.facades[0]) == ["pack.approvals_missing", "pack.approvals_missing"]
    assert only(verdict).permits.new


# ------------------------------------------------------------------------------------------ phases


@pytest.mark.parametrize(
    ("days", "phase", "new", "resume"),
    [(19, "valid", True, True), (20, "grace", True, True), (27, "expired", False, True)],
    ids=itertools.count(),
)
def test_expiry_ends_new_runs_after_the_grace_and_never_undo(days, phase, new, resume):
    store, _, _ = an_active_pack()
    verdict = store.judge(now=NOW + days * DAY)
    permits = only(verdict).permits
    assert (phase, new, resume) == (verdict.phase, permits.new, permits.resume)
    assert permits.undo_own


def test_on_expiry_stop_pauses_what_runs():
    store, _, _ = an_active_pack(on_expiry="stop")
    assert not only(store.judge(now=NOW + 27 * DAY)).permits.resume
    assert only(store.judge(now=NOW + 27 * DAY - 1)).permits.resume


def test_what_is_refused_does_not_go_on_either():
    assert not judged(lambda store, it: store.approved(it)[:2]).permits.resume


def test_an_expired_root_ends_it_as_well():
    store, *_ = an_active_pack()
    store.root(expires=timestamp(NOW + 3 * DAY))
    subject = store.record()
    store.manifest([(subject, "ACTIVE", store.approved(subject))])
    verdict = store.judge(now=NOW + 10 * DAY)
    assert "expired" == verdict.phase
    assert "trust.root_expired" in [each.code for each in verdict.warnings]


def test_what_will_expire_soon_is_said():
    store, _, _ = an_active_pack()
    assert [] == [each.code for each in store.judge().warnings]
    soon = store.judge(now=NOW + 10 * DAY).warnings
    assert ["trust.expires_soon"] == [each.code for each in soon]
    past = store.judge(now=NOW + 20 * DAY).warnings
    assert ["trust.expired"] == [each.code for each in past]


def test_a_root_that_will_expire_soon_is_said():
    store = Store()
    store.root(expires=timestamp(NOW + 5 * DAY))
    assert ["trust.expires_soon"] == [each.code for each in store.judge().warnings]
    store.root_version = 1
    store.root(expires=timestamp(NOW + 10 * DAY))
    assert ["trust.expires_soon"] == [each.code for each in store.judge().warnings]
    store.root_version = 1
    store.root(expires=timestamp(NOW + 10 * DAY + 1))
    assert [] == [each.code for each in store.judge().warnings]
    store.root_version = 1
    store.root(expires=timestamp(NOW + 5 * DAY))
    last = store.judge(now=NOW + 5 * DAY - 1)
    gone = store.judge(now=NOW + 5 * DAY)
    assert ["trust.expires_soon"] == [each.code for each in last.warnings]
    assert ["trust.root_expired"] == [each.code for each in gone.warnings]
    assert ("valid", "grace") == (last.phase, gone.phase)


def test_a_short_manifest_is_said_to_expire_in_its_second_half():
    store = Store()
    store.manifest(expires=timestamp(NOW + 3 * DAY))
    assert [] == [each.code for each in store.judge(now=NOW + DAY - 1).warnings]
    assert ["trust.expires_soon"] == [each.code for each in store.judge(now=NOW + DAY).warnings]


def test_a_running_process_moves_its_verdict_with_the_time():
    store, _, _ = an_active_pack()
    verdict = store.judge()
    store.files["stops/" + "1" * 64 + ".dsse"] = b"x"
    verdict = store.judge()
    for days in (0, 5, 20, 26, 27, 400):
        moved = verdict = trust.at_time(verdict, NOW + days * DAY)
        fresh = store.judge(now=NOW + days * DAY)
        assert (fresh.phase, fresh.packs, fresh.mark) == (moved.phase, moved.packs, moved.mark)
        assert [each.code for each in fresh.warnings] == [each.code for each in moved.warnings]


def test_a_clock_that_went_back_is_reported_and_does_not_count():
    store, _, _ = an_active_pack()
    late = store.judge(now=NOW + 27 * DAY).mark
    verdict = store.judge(mark=late, now=NOW)
    assert "expired" == verdict.phase
    assert "trust.clock" == verdict.warnings[0].code
    assert 27 * DAY == verdict.warnings[0].attributes["behind_s"]
    assert "trust.clock" not in [
        each.code for each in store.judge(mark=late, now=late.seen_at - 300).warnings
    ]


# ------------------------------------------------------------------------------------------- laws


@given(st.dictionaries(st.sampled_from(["packs", "stops", "manifests", "root"]), st.binary()))
def test_arbitrary_bytes_give_a_verdict_or_an_awe_error(noise):
    store, subject, _ = an_active_pack()
    places = {
        "packs": trust.pack_file(subject.distribution, subject.version, subject.digest),
        "stops": trust.statement_file("1" * 64, is_stop=True),
        "manifests": trust.manifest_file(1, 1),
        "root": trust.root_file(2),
    }
    for name, data in noise.items():
        store.files[places[name]] = data
    try:
        verdict = store.judge()
    except AweError:
        return
    assert not noise.keys() & {"manifests", "root"}
    assert all(not pack.permits.new for pack in verdict.packs) == ("packs" in noise)


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_whatever_a_thief_of_the_release_key_writes_gives_a_verdict_or_an_awe_error(data):
    assert attempt(data).partition(".")[0] in {"", "trust", "store"}


PEOPLE = st.sampled_from([*NAMES, "bob:2"])
ROLE = st.sampled_from(["reviewer", "security", "operator", "release", "proposer"])
OFFICE = {
    "withdraw": "proposer",
    "suspend": "operator",
    "resume": "security",
    "revoke": "security",
}
VERBS = st.sampled_from(["approve", "approve", "suspend", "resume", "reject", "withdraw", "revoke"])
STATUSES = st.just("ACTIVE") | st.sampled_from(["SUSPENDED", "DEPRECATED", "SUPERSEDED", "REVOKED"])


class Deployments(RuleBasedStateMachine):
    """Everybody tries everything with any key, the release key is stolen, and one home reads along.

    The model is small: who really said what, and who holds which role now.  It never looks at how
    the verdict was reached.
    """

    records = Bundle("records")

    @initialize()
    def begin(self):
        self.store = Store(
            keys=KEYS | SPARE,
            roles=ROLES | {"security": (("sec", "carol", "alice", "bob:2"), 1)},
        )
        self.desk = Governance(Folder(self.store.files), self.store.pin, DEPLOYMENT)
        self.records_made = {}  # digest → record
        self.said = []  # (statement, owner), whoever has signed and whether it counts or not
        self.home = None
        self.now = NOW

    # ---------------------------------------------------------------- people, through governance

    @rule(
        target=records,
        name=st.sampled_from(["one", "two"]),
        version=st.sampled_from("12"),
        proposer=st.sampled_from(["dave", "alice"]),
        authors=st.sampled_from([[], ["sec"]]),
        key=st.none() | PEOPLE,
    )
    def propose(self, name, version, proposer, authors, key):
        record = self.write(name, version, proposed_by=proposer, authors=authors)
        self.ask("propose", record, key=key or proposer)
        return record

    @rule(record=records, verb=VERBS, role=ROLE, key=st.none() | PEOPLE)
    def decide(self, record, verb, role, key):
        """Whoever comes, or without *key* somebody who may."""
        role = OFFICE.get(verb, role)
        subject = subject_of(record)
        options = {"role": role} if verb in {"approve", "reject"} else {}
        self.ask(verb, subject, key=key or self.store.roles[role][0][-1], **options)

    @rule(record=records, key=st.just("rel") | PEOPLE, at_once=st.booleans())
    def activate(self, record, key, at_once):
        pinned = {"people.yaml": D}
        self.ask("activate", subject_of(record), by=[key], at_once=at_once, documents=pinned)

    @rule(record=records, key=st.just("rel") | PEOPLE)
    def deprecate(self, record, key):
        self.ask("deprecate", subject_of(record), by=[key], sunset=self.now + DAY)

    @rule(key=st.just("rel") | PEOPLE)
    def renew(self, key):
        self.ask("renew", by=[key])

    @rule(
        role=st.sampled_from(["reviewer", "security", "operator"]),
        holders=st.sets(PEOPLE.filter(lambda name: name != "eve"), min_size=1, max_size=4),
        leaver=st.sampled_from([None, "sec", "carol", "bob:2"]),
        is_trusted=st.booleans(),
        by=st.sets(st.sampled_from(["alice", "bob", "carol"]), min_size=1),
    )
    def rotate(self, role, holders, leaver, is_trusted, by):
        before = self.store.roles, self.store.keys, self.store.retired
        self.store.roles = self.store.roles | {role: (tuple(sorted(holders)), 1)}
        if leaver in self.store.keys:
            self.leave(leaver, is_trusted=is_trusted)
        known = {name for names, _ in self.store.roles.values() for name in names}
        self.store.root_version += 1
        if not known <= self.store.keys.keys() or not self.ask(
            "rotate", Root.from_json(self.store.root_document()), by=sorted(by)
        ):
            self.store.root_version -= 1
            self.store.roles, self.store.keys, self.store.retired = before

    def leave(self, leaver, *, is_trusted):
        store, gone = self.store, self.store.keys[leaver].keyid
        kept = [s.digest for s in self.desk_statements() if s.keyid == gone and is_trusted]
        reason = "left" if is_trusted else "compromised"
        store.retired = store.retired | {gone: {"reason": reason, "statements": sorted(kept)}}
        store.keys = {name: key for name, key in store.keys.items() if name != leaver}
        store.roles = {
            role: (tuple(name for name in names if name != leaver), need)
            for role, (names, need) in store.roles.items()
        }

    def ask(self, verb, *about, key=None, by=None, **options):
        """Do what a person wants, if it is taken; whether a document is in force or said."""
        self.now += 1
        who = {"signer": self.store.key(key), "reason": "because"} if key else {}
        signers = {"signers": [self.store.key(each) for each in by]} if by else {}
        try:
            done = getattr(self.desk, verb)(*about, now=self.now, **who, **signers, **options)
        except AweError:
            return False
        return not getattr(done, "is_pending", False)

    # -------------------------------------------------------- thieves, straight into the store

    def write(self, name, version, **changes):
        digest = self.store.record(name, version, **changes).digest
        file = trust.pack_file(f"awe-pack-{name}", version, digest)
        record = PackRecord.from_json(json.loads(self.store.files[file]))
        self.records_made[digest] = record
        return record

    @rule(
        record=records,
        decision=st.sampled_from(["propose", "approve", "suspend", "revoke"]),
        role=ROLE,
        signer=PEOPLE,
    )
    def forge(self, record, decision, role, signer):
        self.say(decision, signer, role, record)

    @rule(record=records)
    def alarm(self, record):
        self.say("suspend", self.store.roles["operator"][0][0], "operator", record)

    @rule(record=records, role=st.just("security") | ROLE, signer=PEOPLE, is_released=st.booleans())
    def plead(self, record, role, signer, is_released):
        digest = subject_of(record).digest
        for said in list(self.spoken()):
            if (said["subject"], said["decision"]) == (digest, "suspend"):
                self.say("resume", signer, role, record, stops=said["digest"])
        if is_released:
            self.release([(record, "ACTIVE", True)], is_honest=True)

    def say(self, decision, signer, role, record, **changes):
        self.now += 1
        about = Subject(subject_of(record).digest, record.name, record.version, None)
        self.store.say(decision, signer, role, about, at=timestamp(self.now), **changes)

    @rule(
        chosen=st.lists(st.tuples(records, STATUSES, st.booleans()), max_size=2),
        is_honest=st.sampled_from([True, True, False]),
    )
    def release(self, chosen, is_honest):
        said = list(self.spoken())
        entries = {}
        for record, status, is_full in chosen:
            digest = subject_of(record).digest
            about = Subject(digest, record.name, record.version, record.distribution)
            listed = {each["digest"] for each in said if each["subject"] == digest and is_full}
            entries[digest] = about, status, sorted(listed)
        self.now += 1
        self.continue_the_store()
        denied = self.home.denied if self.home else frozenset()
        revoked = {s["subject"] for s in said if s["decision"] == "revoke"}
        self.store.denied = sorted(denied | revoked) if is_honest else []
        self.store.manifest(list(entries.values()), issued=timestamp(self.now))

    def continue_the_store(self):
        """Number the thief's manifest so that it follows the newest one."""
        found = newest_manifest(self.store.files)
        self.store.version, self.store.previous = 0, None
        if found and found[0] == self.store.root_version:
            envelope = json.loads(self.store.files[trust.manifest_file(*found)])
            self.store.version = found[1]
            self.store.previous = sha(base64.b64decode(envelope["payload"]))

    @rule(
        target=records,
        name=st.sampled_from(["one", "two"]),
        proposer=st.sampled_from(["dave", "alice"]),
        authors=st.sampled_from([[], ["sec"]]),
        reviewer=st.sampled_from(["bob", "alice", "sec", "rel"]),
        security=st.sampled_from(["carol", "bob:2", "alice", "sec", "olga"]),
    )
    def bring_into_force(self, name, proposer, authors, reviewer, security):
        record = self.write(name, "3", proposed_by=proposer, authors=authors)
        self.say("propose", proposer, "proposer", record)
        self.say("approve", reviewer, "reviewer", record)
        self.say("approve", security, "security", record)
        self.release([(record, "ACTIVE", True)], is_honest=True)
        return record

    @rule()
    def forget_the_newest_manifest(self):
        if found := newest_manifest(self.store.files):
            del self.store.files[trust.manifest_file(*found)]

    # ------------------------------------------------------------------------------ the model

    def desk_statements(self):
        chain = walk(self.store.files, pin=self.store.pin, deployment=DEPLOYMENT)
        return [s for s in every(self.store.files, chain) if not isinstance(s, AweError)]

    def holders(self, role):
        """Who holds a role now, by key, and which statements of those who left still count."""
        names = self.store.roles[role][0]
        return {self.store.keys[name].keyid for name in names}

    def counted(self, digest, decision, role):
        left = {d for gone in self.store.retired.values() for d in gone["statements"]}
        return [
            s
            for s in self.spoken()
            if (s["subject"], s["decision"], s["role"]) == (digest, decision, role)
            and (s["keyid"] in self.holders(role) or s["digest"] in left)
        ]

    def spoken(self):
        """Every statement in the store as it stands there, with its one signer."""
        owner = {key.keyid: name.partition(":")[0] for name, key in (KEYS | SPARE).items()}
        for file, data in self.store.files.items():
            if file.startswith(("statements/", "stops/")):
                envelope = json.loads(data)
                (signature,) = envelope["signatures"]
                said = json.loads(base64.b64decode(envelope["payload"]))
                by = {"keyid": signature["keyid"], "owner": owner[signature["keyid"]]}
                yield said | by | {"digest": sha(data)}

    @invariant()
    def what_is_in_force_was_approved_by_enough_people_and_stands_unstopped(self):
        before = self.home
        try:
            verdict = self.store.judge(mark=before, now=self.now)
        except AweError:
            return
        if before:
            assert (before.root_version, before.version) <= (
                verdict.mark.root_version,
                verdict.mark.version,
            )
            assert before.seen_at <= verdict.mark.seen_at
            assert before.denied <= verdict.mark.denied
            assert before.stops <= verdict.mark.stops
        self.home = verdict.mark
        for pack in verdict.packs:
            if pack.permits.new:
                assert pack.digest not in verdict.mark.denied
                assert self.is_approved(pack.record, pack.digest)
                assert not self.is_stopped(pack.digest)

    def is_approved(self, record, digest):
        approved = {}
        for role in ("reviewer", "security"):
            owners = {each["owner"] for each in self.counted(digest, "approve", role)}
            approved[role] = owners - {record.proposed_by, *record.authors, "rel", "olga"}
        proposed = {each["owner"] for each in self.counted(digest, "propose", "proposer")}
        return record.proposed_by in proposed and any(
            one != two for one in approved["reviewer"] for two in approved["security"]
        )

    def is_stopped(self, digest):
        lifted = {each["stops"] for each in self.counted(digest, "resume", "security")}
        return any(
            stop.decision == "revoke" or stop.statement not in lifted
            for stop in self.home.stops
            if stop.subject == digest
        )


TestDeployments = Deployments.TestCase
TestDeployments.settings = settings(
    max_examples=settings().max_examples // 5, stateful_step_count=20, deadline=None
)
