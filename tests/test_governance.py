"""The verbs people use on a store, on a real folder with real key files."""

from __future__ import annotations

import itertools
import json
import os

import attrs
import pytest

from awe_core import canonical, governance, trust
from awe_core.errors import AweError, PackError, TrustError, UsageError
from awe_core.governance import Governance, StoreFolder
from awe_core.lifecycle import State
from awe_core.records import FacadeRecord, PackRecord, Retired, Role

NOW = 1_700_000_000
DAY = 86_400
D = "0" * 64
TEAM = {
    "ann": ("root", "proposer", "reviewer", "release"),
    "ben": ("root", "reviewer", "security", "operator"),
    "cay": ("root", "security", "reviewer"),
}


def record(name="notes", version="1.0.0", *, contract=D, **changes):
    return PackRecord.from_json(
        {
            "awe": "pack-record/v1",
            "kind": "pack",
            "name": name,
            "distribution": f"awe-pack-{name}",
            "version": version,
            "revision": 1,
            "wheel": {"filename": "a.whl", "sha256": D, "size": 1},
            "files": {f"awe_pack_{name}/__init__.py": {"sha256": D, "size": 812}},
            "top_level": [f"awe_pack_{name}"],
            "entry_points": {},
            "hooks": [],
            "executor": "worker",
            "reuse": "run",
            "native": False,
            "accept_unenforced": [],
            "capabilities": [
                {
                    "id": f"{name}.put",
                    "version": "1.0.0",
                    "contract": contract,
                    "risk": "low",
                    "effects": ["fs.write"],
                }
            ],
            "workflows": [],
            "facades": [],
            "requires": [],
            "proposed_by": "ann",
            "authors": [],
            "evidence": [],
            "report": D,
            **changes,
        }
    )


def facade(name="put_note", contract=D, **changes):
    return FacadeRecord.from_json(
        {
            "awe": "facade-record/v1",
            "kind": "facade",
            "name": name,
            "revision": 1,
            "facade": {"awe": "facade/v1", "id": name},
            "pack": "awe-pack-notes",
            "reaches": [{"id": "notes.put", "contract": contract}],
            "proposed_by": "ann",
            "authors": [],
            **changes,
        }
    )


class Team:
    """A deployment on disk and the keys of its people."""

    def __init__(self, folder, people=TEAM):
        self.home = folder / "home"
        self.store = StoreFolder(folder / "governance")
        self.pin = governance.init_dev(
            self.store, self.home, deployment="demo", people=people, now=NOW
        )
        self.desk = Governance(self.store, self.pin, "demo")

    def key(self, name):
        return governance.load_person(self.home, name)

    def propose(self, *args, by="ann", now=NOW, **changes):
        return self.desk.propose(*args, signer=self.key(by), reason="new", now=now, **changes)

    def approve(self, subject, by, role, now=NOW):
        return self.desk.approve(subject, role=role, signer=self.key(by), reason="read", now=now)

    def approved(self, what, now=NOW):
        (subject,) = self.propose(what, now=now)
        self.approve(subject, "ben", "reviewer", now)
        self.approve(subject, "cay", "security", now)
        return subject

    def activate(self, subject, by="ann", now=NOW, **options):
        return self.desk.activate(subject, signers=[self.key(by)], now=now, **options)

    def active(self, what=None, now=NOW):
        subject = self.approved(what or record(), now)
        self.activate(subject, now=now)
        return subject

    def say(self, verb, subject, by, now=NOW, **options):
        return getattr(self.desk, verb)(
            subject, signer=self.key(by), reason="because", now=now, **options
        )

    def state(self, subject, now=NOW):
        return self.desk.find(subject.digest, now=now).state


@pytest.fixture
def team(tmp_path):
    return Team(tmp_path)


def refused(call, *args, **kwargs):
    with pytest.raises(AweError) as caught:
        call(*args, **kwargs)
    return caught.value.code


# ----------------------------------------------------------------------------------- the story


def test_a_pack_is_proposed_approved_by_two_and_activated(team):
    (subject,) = team.propose(record())
    assert team.state(subject) is State.PROPOSED
    assert team.approve(subject, "ben", "reviewer").state is State.PROPOSED
    assert team.approve(subject, "cay", "security").state is State.APPROVED
    assert not team.desk.verdict(now=NOW).packs
    released = team.activate(subject)
    assert ("manifests/00001-0000001.dsse", False) == (released.file, released.is_pending)
    (pack,) = team.desk.verdict(now=NOW).packs
    assert (subject.digest, True) == (pack.digest, pack.permits.new)


def test_one_person_alone_does_everything_in_development(tmp_path):
    alone = Team(tmp_path, ["ann"])
    (subject,) = alone.propose(record())
    assert alone.approve(subject, "ann", "reviewer").state is State.APPROVED
    alone.activate(subject)
    assert alone.state(subject) is State.ACTIVE
    alone.say("suspend", subject, "ann")
    alone.say("resume", subject, "ann")
    alone.activate(subject)
    assert alone.state(subject) is State.ACTIVE


def test_trust_local_is_one_step_and_for_one_person_alone(tmp_path, team):
    alone = Team(tmp_path / "alone", ["ann"])
    pack, face = alone.desk.trust_local(
        record(), [facade()], signer=alone.key("ann"), reason="mine", now=NOW
    )
    assert [State.ACTIVE, State.ACTIVE] == [alone.state(pack), alone.state(face)]
    assert "pack.self_approval" == refused(
        team.desk.trust_local, record(), signer=team.key("ann"), reason="mine", now=NOW
    )


def test_a_pack_comes_with_its_facades_and_each_is_approved(team):
    pack, face = team.propose(record(), [facade()])
    for subject, role in ((pack, "reviewer"), (face, "reviewer")):
        team.approve(subject, "ben", role)
    team.approve(pack, "cay", "security")
    team.activate(pack)
    team.activate(face)
    (found,) = team.desk.verdict(now=NOW).facades
    assert ((pack.digest,), True) == (found.packs, found.permits.new)


def test_the_facade_of_another_pack_is_proposed_by_itself(team):
    team.active()
    (face,) = team.propose(facade())
    assert team.state(face) is State.PROPOSED


# ------------------------------------------------------------------------------- who may decide


def test_the_proposer_does_not_approve(team):
    (subject,) = team.propose(record())
    assert refused(team.approve, subject, "ann", "reviewer") == "pack.self_approval"
    assert team.state(subject) is State.PROPOSED


def test_nobody_approves_under_two_roles(team):
    (subject,) = team.propose(record())
    team.approve(subject, "ben", "reviewer")
    assert refused(team.approve, subject, "ben", "security") == "pack.separation_of_duties"


def test_nobody_approves_under_a_role_they_do_not_hold_or_nobody_asked(team):
    (subject,) = team.propose(record(proposed_by="ann"))
    assert refused(team.approve, subject, "ann", "security") == "signer.not_in_role"
    assert refused(team.approve, subject, "ben", "operator") == "governance.role_not_asked"


def test_a_proposal_is_signed_by_whom_it_names(team):
    with pytest.raises(PackError) as caught:
        team.propose(record(proposed_by="ben"))
    assert caught.value.code == "pack.proposer"
    assert refused(team.propose, record(proposed_by="ben"), by="ben") == "signer.not_in_role"
    assert team.desk.states(now=NOW) == ()


def test_only_security_revokes_and_operators_stop(team):
    subject = team.active()
    assert refused(team.say, "revoke", subject, "ann") == "signer.not_in_role"
    assert refused(team.say, "suspend", subject, "ann") == "signer.not_in_role"
    assert team.say("suspend", subject, "ben").state is State.SUSPENDED


def test_an_unapproved_record_is_not_activated(team):
    (subject,) = team.propose(record())
    team.approve(subject, "ben", "reviewer")
    assert refused(team.activate, subject) == "pack.approvals_missing"
    assert refused(team.activate, subject, by="ben") == "pack.approvals_missing"
    team.approve(subject, "cay", "security")
    assert refused(team.activate, subject, by="ben") == "signer.not_in_role"


def test_a_key_the_root_does_not_know_decides_nothing(team, tmp_path):
    subject = team.active()
    stranger = Team(tmp_path / "elsewhere", ["eve"]).key("eve")
    assert (
        refused(team.desk.suspend, subject, signer=stranger, reason="x", now=NOW)
        == "signer.not_in_role"
    )


def test_a_reason_is_needed_and_has_no_hidden_characters(team):
    subject = team.active()
    for reason in ("", "a\u202eb", "x" * 2_001):
        assert (
            refused(team.desk.suspend, subject, signer=team.key("ben"), reason=reason, now=NOW)
            == "store.malformed"
        )


# ----------------------------------------------------------------------------------- the states


def test_a_rejected_or_withdrawn_record_is_over_and_returns_as_a_new_revision(team):
    (first,) = team.propose(record())
    assert team.say("reject", first, "ben", role="reviewer").state is State.REJECTED
    assert refused(team.approve, first, "cay", "security") == "trust.status"
    assert refused(team.propose, record()) == "trust.status"
    assert team.desk.next_revision("notes", "1.0.0") == 2
    (second,) = team.propose(record(revision=2))
    assert refused(team.say, "withdraw", second, "ben") == "signer.not_in_role"
    assert team.say("withdraw", second, "ann").state is State.WITHDRAWN


def test_a_rejection_after_enough_approvals_comes_too_late(team):
    subject = team.approved(record())
    assert refused(team.say, "reject", subject, "ben", role="reviewer") == "trust.status"


def test_a_stop_acts_without_a_release_and_two_people_lift_it(team):
    subject = team.active()
    team.say("suspend", subject, "ben")
    assert not team.desk.verdict(now=NOW).packs[0].permits.new
    assert refused(team.activate, subject) == "pack.resume_missing"
    team.say("resume", subject, "cay")
    assert team.state(subject) is State.SUSPENDED
    team.activate(subject)
    assert team.state(subject) is State.ACTIVE


def test_a_stop_said_again_in_the_same_second_is_another_stop(team):
    subject = team.active()
    team.say("suspend", subject, "ben")
    team.say("resume", subject, "cay")
    team.activate(subject)
    assert team.say("suspend", subject, "ben").state is State.SUSPENDED
    assert not team.desk.verdict(now=NOW).packs[0].permits.new


def test_a_renewal_writes_a_standing_stop_into_the_manifest(team):
    subject = team.active()
    team.say("suspend", subject, "ben")
    team.desk.renew(signers=[team.key("ann")], now=NOW + DAY)
    (entry,) = team.desk.verdict(now=NOW + DAY).manifest.packs
    assert entry.status == "SUSPENDED"
    team.say("resume", subject, "cay", now=NOW + DAY)
    team.activate(subject, now=NOW + DAY)
    assert team.state(subject, NOW + DAY) is State.ACTIVE


def test_an_upgrade_lets_the_old_record_drain(team):
    old = team.active()
    new = team.approved(record(version="2.0.0"))
    team.activate(new)
    verdict = team.desk.verdict(now=NOW)
    assert {old.digest: State.DEPRECATED, new.digest: State.ACTIVE} == {
        pack.digest: pack.status for pack in verdict.packs
    }
    later = team.desk.verdict(now=NOW + governance.SUNSET_S)
    assert {old.digest: False, new.digest: True} == {
        pack.digest: pack.permits.new for pack in later.packs
    }


def test_an_upgrade_at_once_supersedes_and_going_back_takes_security(team):
    old = team.active()
    new = team.approved(record(version="2.0.0"))
    team.activate(new, at_once=True)
    assert team.state(old) is State.SUPERSEDED
    assert refused(team.activate, old) == "pack.resume_missing"
    team.say("resume", old, "cay")
    team.activate(old, at_once=True)
    assert [State.ACTIVE, State.SUPERSEDED] == [team.state(old), team.state(new)]


def test_a_deprecated_record_can_be_activated_again_and_its_sunset_moved(team):
    subject = team.active()
    signers = [team.key("ann")]
    for sunset in (NOW + DAY, NOW + 2 * DAY):
        team.desk.deprecate(subject, sunset=sunset, signers=signers, now=NOW)
        assert team.desk.verdict(now=NOW).packs[0].sunset == sunset
    team.activate(subject)
    assert team.state(subject) is State.ACTIVE


def test_a_revoked_record_is_denied_for_ever(team):
    subject = team.active()
    team.say("revoke", subject, "cay")
    assert team.state(subject) is State.REVOKED
    assert refused(team.activate, subject) == "trust.status"
    team.desk.renew(signers=[team.key("ann")], now=NOW)
    verdict = team.desk.verdict(now=NOW)
    assert ((subject.digest,), ()) == (verdict.manifest.denied, verdict.packs[0].refusals)


def test_an_approved_record_can_be_revoked_before_it_was_ever_active(team):
    subject = team.approved(record())
    team.say("revoke", subject, "cay")
    assert team.state(subject) is State.REVOKED


def test_a_renewal_refuses_to_let_an_approval_lapse(team):
    team.active()
    soon, late = NOW + 25 * DAY, NOW + 366 * DAY
    team.desk.renew(signers=[team.key("ann")], now=soon)
    code = refused(team.desk.renew, signers=[team.key("ann")], now=late)
    assert code == "pack.approvals_missing"
    subject = team.desk.find("notes", now=late).subject
    team.approve(subject, "ben", "reviewer", now=late)
    team.approve(subject, "cay", "security", now=late)
    team.desk.renew(signers=[team.key("ann")], now=late)


# --------------------------------------------------------------------------------------- names


def test_a_record_is_found_by_name_version_distribution_and_digest(team):
    one = team.active()
    two = team.approved(record(version="2.0.0"))
    for name in ("notes@1.0.0", "awe-pack-notes@1.0.0", one.digest, one.digest[:8]):
        assert team.desk.find(name, now=NOW).subject.digest == one.digest
    assert team.desk.find("notes@2.0.0", now=NOW).subject.digest == two.digest
    assert refused(team.desk.find, "notes", now=NOW) == "governance.ambiguous"
    assert refused(team.desk.find, "notes@3", now=NOW) == "governance.unknown"
    assert refused(team.desk.find, one.digest[:7], now=NOW) == "governance.unknown"
    assert refused(team.desk.find, "notes@1.0.0", now=NOW, kind="facade") == "governance.unknown"


def test_what_is_over_does_not_make_a_name_ambiguous(team):
    (first,) = team.propose(record())
    team.say("withdraw", first, "ann")
    assert team.desk.find("notes", now=NOW).subject.digest == first.digest
    (second,) = team.propose(record(revision=2))
    assert team.desk.find("notes", now=NOW).subject.digest == second.digest


def test_differences_name_grants_contracts_and_files():
    before = record()
    after = record(
        version="2.0.0",
        contract="1" * 64,
        executor="bwrap",
        hooks=["awe_capabilities"],
        files={"awe_pack_notes/new.py": {"sha256": "2" * 64, "size": 1}},
        requires=[{"distribution": "httpx", "version": "0.28.1", "tree": ""}],
        evidence=[{"kind": "pep740", "sha256": D, "publisher": "acme"}],
        accept_unenforced=[{"right": "net", "reason": "old kernel"}],
    )
    assert [
        "~ grant executor: worker → bwrap",
        "+ grant hooks: awe_capabilities",
        "+ grant unenforced net: old kernel",
        f"~ contract notes.put: 1.0.0 {'0' * 12} → 1.0.0 {'1' * 12}",
        "+ dependency httpx: 0.28.1",
        f"+ evidence pep740: acme {'0' * 12}",
        f"- file awe_pack_notes/__init__.py: {'0' * 12}",
        f"+ file awe_pack_notes/new.py: {'2' * 12}",
    ] == [str(each) for each in governance.differences(before, after)]
    assert governance.differences(after, after) == ()
    assert {"grant", "risk", "effects", "contract", "file"} == {
        each.about for each in governance.differences(None, before)
    }


def test_differences_of_facades_name_the_document_and_what_it_reaches():
    found = governance.differences(facade(), facade(contract="1" * 64))
    assert [f"~ reaches notes.put: {'0' * 12} → {'1' * 12}"] == [str(each) for each in found]
    assert {"facade", "reaches"} == {each.about for each in governance.differences(None, facade())}


# ------------------------------------------------------------------------- roots, many signatures


def next_root(team, **changes):
    root = team.desk.verdict(now=NOW).root
    return attrs.evolve(root, version=root.version + 1, **changes)


def test_a_rotation_waits_for_its_signatures_and_then_counts(team):
    subject = team.active()
    root = next_root(team, issued=NOW + 1)
    released = team.desk.rotate(root, signers=[team.key("ann")], now=NOW + 1)
    assert released.is_pending
    assert team.desk.verdict(now=NOW + 1).root.version == 1
    signed = team.desk.sign(released.file, signer=team.key("cay"), now=NOW + 1)
    assert not signed.is_pending
    assert refused(team.desk.verdict, now=NOW + 1) == "trust.root_mismatch"
    team.desk.renew(signers=[team.key("ann")], now=NOW + 1)
    verdict = team.desk.verdict(now=NOW + 1)
    assert ((2, 1), subject.digest) == (verdict.manifest.number, verdict.packs[0].digest)
    assert refused(team.desk.sign, released.file, signer=team.key("cay"), now=NOW) == (
        "governance.not_pending"
    )


def test_after_a_key_has_left_its_listed_statements_keep_a_pack_in_force(team):
    subject = team.active()
    gone = team.key("cay").keyid
    kept = tuple(
        each.digest for each in team.desk.find(subject.digest, now=NOW).signed if each.keyid == gone
    )

    def without(statements):
        root = team.desk.verdict(now=NOW).root
        return next_root(
            team,
            keys={keyid: key for keyid, key in root.keys.items() if keyid != gone},
            roles={
                name: Role(tuple(k for k in role.keys if k != gone), role.threshold)
                for name, role in root.roles.items()
            },
            retired={gone: Retired("left", statements)},
        )

    signers = [team.key(name) for name in ("ann", "ben")]
    team.desk.rotate(without(kept), signers=signers, now=NOW)
    team.desk.renew(signers=[team.key("ann")], now=NOW)
    assert team.state(subject) is State.ACTIVE


def test_a_manifest_waits_for_its_second_release_signature(team):
    root = team.desk.verdict(now=NOW).root
    keys = tuple(sorted(team.key(name).keyid for name in ("ann", "ben")))
    roles = {**root.roles, "release": Role(keys, 2)}
    signers = [team.key(name) for name in ("ann", "ben")]
    team.desk.rotate(next_root(team, roles=roles), signers=signers, now=NOW)
    subject = team.approved(record())
    released = team.activate(subject)
    assert released.is_pending
    assert team.state(subject) is State.APPROVED
    assert not team.desk.sign(released.file, signer=team.key("ben"), now=NOW).is_pending
    assert team.state(subject) is State.ACTIVE


def test_a_production_root_begins_strict_and_empty(team):
    keys = team.desk.verdict(now=NOW).root.keys
    root = governance.unsigned_root(deployment="acme", keys=keys, now=NOW)
    assert ("prod", False, ()) == (
        root.environment,
        root.policy.self_approval,
        root.roles["root"].keys,
    )
    with pytest.raises(TrustError):
        trust.check_root(root, at="root")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".a", "a\nb"], ids=itertools.count())
def test_a_name_that_would_leave_its_folder_is_no_person(tmp_path, name):
    assert refused(Team, tmp_path, [name]) == "governance.person"
    assert not (tmp_path / "home").exists()


# ------------------------------------------------------------------------------------- the folder


def test_a_store_is_not_begun_twice(team, tmp_path):
    with pytest.raises(TrustError) as caught:
        Team(tmp_path)
    assert caught.value.code == "signer.exists"
    with pytest.raises(TrustError) as caught:
        governance.init_dev(
            team.store, tmp_path / "other", deployment="demo", people=["ann"], now=NOW
        )
    assert caught.value.code == "store.taken"


def test_two_who_make_the_next_manifest_meet_on_its_name(team):
    subject = team.active()
    name = "manifests/00001-0000002.dsse"
    team.store.add({name: b"somebody else was faster"})
    with pytest.raises(TrustError) as caught:
        team.store.add({name: b"ours"})
    assert caught.value.code == "store.taken"
    assert team.store.read()[name] == b"somebody else was faster"
    assert subject


def test_the_store_tells_git_to_leave_bytes_alone_and_leaves_no_scraps(team):
    team.active()
    assert (team.store.folder / ".gitattributes").read_text() == "* -text\n"
    assert not list(team.store.folder.rglob(".new-*"))


def test_links_pipes_and_giants_are_refused(team):
    folder = team.store.folder
    link = folder / "stops" / ("1" * 64 + ".dsse")
    link.parent.mkdir()
    link.symlink_to("/etc/passwd")
    assert refused(team.store.read) == "store.not_regular"
    link.unlink()
    os.mkfifo(link)
    assert refused(team.store.read) == "store.not_regular"
    link.unlink()
    with link.open("wb") as out:
        out.truncate(7 * 1024 * 1024)
    assert refused(team.store.read) == "store.too_large"
    link.unlink()
    link.parent.rmdir()
    link.parent.symlink_to(folder / "root")
    assert refused(team.store.read) == "store.not_regular"
    link.parent.unlink()
    assert team.desk.verdict(now=NOW)
    assert refused(StoreFolder(folder / "none").read) == "store.missing"


def views_at_fault(team):
    return [n for n, why in team.desk.faults(now=NOW) if why.code == "store.view_differs"]


def test_views_show_what_is_signed_and_are_compared(team):
    subject = team.active()
    view = f"views/packs/awe-pack-notes/1.0.0/{subject.digest[:12]}.yaml"
    text = team.store.read_one(view)
    assert b"distribution: awe-pack-notes" in text
    assert [] == views_at_fault(team)
    (team.store.folder / view).write_bytes(text.replace(b"worker", b"inproc"))
    assert [view] == views_at_fault(team)
    (team.store.folder / view).unlink()
    assert [view] == views_at_fault(team)
    (team.store.folder / "views" / "more.yaml").write_bytes(b"approved: true\n")
    assert ["views/more.yaml", view] == views_at_fault(team)
    (team.store.folder / "views" / "more.yaml").unlink()
    team.desk.write_views()
    assert [] == views_at_fault(team)


def test_a_broken_manifest_stops_releases(team):
    subject = team.active()
    team.store.replace({"manifests/00001-0000002.dsse": b"{}"})
    assert refused(team.activate, subject) == "trust.envelope"


# ---------------------------------------------------------------------------------- the journal


class Home:
    """A home that adopts: journal lines and a mark."""

    def __init__(self, team):
        self.team = team
        self.lines = []
        self.mark = None

    def adopt(self, now=NOW):
        store = self.team.store.read()
        verdict = trust.judge(store, pin=self.team.pin, deployment="demo", mark=self.mark, now=now)
        adopted = governance.fold(json.loads(line) for line in self.lines)
        found = governance.events_of(verdict, store, adopted=adopted, pin=self.team.pin)
        self.lines += [canonical.line(event) for event in found]
        self.mark = governance.mark_from_json(governance.mark_to_json(verdict.mark))
        assert self.mark == verdict.mark
        return [(e["kind"], e.get("from"), e.get("to")) for e in found]

    def kinds(self, now=NOW):
        return [kind for kind, _, _ in self.adopt(now)]


def test_each_statement_and_transition_becomes_one_event(team):
    home = Home(team)
    assert home.kinds() == ["trust.root_changed"]
    (subject,) = team.propose(record(), now=NOW)
    team.approve(subject, "ben", "reviewer", NOW + 1)
    assert home.adopt() == [
        ("pack.proposed", "NONE", "PROPOSED"),
        ("pack.approved", "PROPOSED", "PROPOSED"),
    ]
    team.approve(subject, "cay", "security", NOW + 2)
    team.activate(subject, now=NOW + 3)
    assert home.kinds(NOW + 3) == [
        "pack.approved",
        "trust.manifest_changed",
        "pack.activated",
    ]
    assert home.adopt(NOW + 3) == []
    team.say("suspend", subject, "ben", now=NOW + 4)
    assert home.adopt(NOW + 4) == [("pack.suspended", "ACTIVE", "SUSPENDED")]
    team.say("resume", subject, "cay", now=NOW + 5)
    assert home.adopt(NOW + 5) == []
    team.activate(subject, now=NOW + 6)
    found = home.adopt(NOW + 6)
    assert [kind for kind, _, _ in found] == ["trust.manifest_changed", "pack.resumed"]
    assert found[1][1:] == ("SUSPENDED", "ACTIVE")
    team.say("revoke", subject, "cay", now=NOW + 7)
    assert home.adopt(NOW + 7) == [("pack.revoked", "ACTIVE", "REVOKED")]


def test_events_say_who_and_by_what(team):
    home = Home(team)
    subject = team.active()
    home.adopt()
    events = [json.loads(line) for line in home.lines]
    approved = next(e for e in events if e["kind"] == "pack.approved" and e["owner"] == "ben")
    assert ("reviewer", "read", team.key("ben").keyid) == (
        approved["role"],
        approved["reason"],
        approved["keyid"],
    )
    activated = next(e for e in events if e["kind"] == "pack.activated")
    assert {
        "distribution": "awe-pack-notes",
        "version": "1.0.0",
        "record": subject.digest,
    } == activated["subject"]
    manifest = team.desk.verdict(now=NOW).manifest_digest
    assert ("ann", "release", manifest) == (
        activated["owner"],
        activated["role"],
        activated["manifest"],
    )


def test_a_rejection_a_facade_and_an_upgrade_have_their_own_kinds(team):
    home = Home(team)
    old = team.active()
    (gone,) = team.propose(record("other"), now=NOW + 1)
    team.say("reject", gone, "ben", role="reviewer", now=NOW + 2)
    (face,) = team.propose(facade(), now=NOW + 3)
    team.approve(face, "ben", "reviewer", NOW + 4)
    team.activate(face, now=NOW + 5)
    home.adopt(NOW + 5)
    new = team.approved(record(version="2.0.0"), NOW + 6)
    team.activate(new, now=NOW + 7, at_once=True)
    assert {"pack.superseded", "pack.activated"} < set(home.kinds(NOW + 7))
    kinds = {json.loads(line)["kind"] for line in home.lines}
    assert {"pack.rejected", "facade.proposed", "facade.approved", "facade.activated"} < kinds
    assert old


def test_a_phase_that_changes_is_recorded_once(team):
    home = Home(team)
    team.active()
    home.adopt()
    late = NOW + 31 * DAY
    assert home.kinds(late) == ["trust.manifest_changed"]
    assert json.loads(home.lines[-1])["cause"] == "grace"
    assert home.adopt(late) == []
    assert home.kinds(late + 7 * DAY) == ["trust.manifest_changed"]
    assert json.loads(home.lines[-1])["cause"] == "expired"


@pytest.mark.parametrize(
    "change",
    [
        lambda _: {},
        lambda x: x | {"seen_at": True},
        lambda x: x | {"stops": [["a"]]},
        lambda x: x | {"stops": [["a", "b", "resume"]]},
        lambda x: x | {"extra": 1},
        lambda _: [],
        lambda _: None,
        lambda x: x | {"denied": 5},
    ],
    ids=itertools.count(),
)
def test_a_mark_that_is_not_in_its_form_is_refused(team, change):
    mark = governance.mark_to_json(team.desk.verdict(now=NOW).mark)
    assert refused(governance.mark_from_json, change(mark)) == "trust.mark"


def test_an_unknown_name_says_what_is_known(team):
    team.active()
    with pytest.raises(UsageError) as caught:
        team.desk.find("nots", now=NOW)
    assert caught.value.details == ("known: notes@1.0.0",)


# ------------------------------------------------------------------------------- rougher stores


def rotated(team, roles=None, keys=None, now=NOW, signers=("ann", "ben")):
    """Put another root in force, and a manifest under it if there was one."""
    root = team.desk.verdict(now=now).root
    new = attrs.evolve(
        root, version=root.version + 1, roles=roles or root.roles, keys=keys or root.keys
    )
    team.desk.rotate(new, signers=[team.key(name) for name in signers], now=now)


def test_a_machine_approves_nothing(team):
    root = team.desk.verdict(now=NOW).root
    keyid = team.key("ben").keyid
    machine = attrs.evolve(root.keys[keyid], kind="machine")
    rotated(team, keys={**root.keys, keyid: machine})
    (subject,) = team.propose(record())
    assert refused(team.approve, subject, "ben", "reviewer") == "pack.approval_kind"


def test_a_root_without_the_role_cannot_decide_under_it(tmp_path):
    team = Team(tmp_path, {"ann": ("root", "release", "proposer", "reviewer")})
    (subject,) = team.propose(record())
    team.approve(subject, "ann", "reviewer")
    team.activate(subject)
    assert refused(team.say, "suspend", subject, "ann") == "trust.unknown_role"


def test_what_is_forged_or_no_record_is_passed_over_when_looking(team):
    subject = team.active()
    name = "statements/" + canonical.sha256_hex(b"forged") + ".dsse"
    junk = canonical.document({"awe": "pack-record/v1"})
    other = f"packs/awe-pack-x/1/record-{canonical.sha256_hex(junk)}.json"
    team.store.add(
        {
            name: b"forged",
            "statements/" + "1" * 64 + ".dsse": b"not its name",
            other: junk,
            "packs/awe-pack-x/1/record-" + "1" * 64 + ".json": b"not its name",
        }
    )
    assert [subject.digest] == [each.subject.digest for each in team.desk.states(now=NOW)]
    team.desk.write_views()
    assert [] == views_at_fault(team)


def test_a_manifest_keeps_entries_whose_records_are_elsewhere(team):
    gone = team.active(record("gone"))
    subject = team.approved(record())
    (team.store.folder / governance.record_file(gone)[0]).unlink()
    team.activate(subject)
    verdict = team.desk.verdict(now=NOW)
    assert ["awe-pack-gone"] == [each.name for each in verdict.absent]
    assert [subject.digest] == [each.digest for each in verdict.packs]


def test_a_rotation_builds_on_no_manifest_that_its_own_root_did_not_sign(team):
    team.active()
    rotated(team)
    name = "manifests/00001-0000001.dsse"
    signed = json.loads((team.store.folder / name).read_bytes())
    team.store.replace({name: canonical.document(signed | {"signatures": []})})
    assert refused(team.desk.renew, signers=[team.key("ann")], now=NOW) == "trust.threshold"
    ahead = "manifests/00007-0000001.dsse"
    team.store.add({ahead: canonical.document(signed)})
    assert refused(team.desk.renew, signers=[team.key("ann")], now=NOW) == "trust.root_mismatch"


def test_a_store_beyond_its_limits_is_refused(team):
    folder = team.store.folder / "statements"
    folder.mkdir()
    for n in range(13):
        with (folder / f"{n}.dsse").open("wb") as out:
            out.truncate(5 * 1024 * 1024)
    assert refused(team.store.read) == "store.too_large"


def test_an_approval_given_anew_changes_no_state(team):
    home = Home(team)
    subject = team.active()
    home.adopt()
    team.approve(subject, "ben", "reviewer", NOW + DAY)
    assert home.adopt(NOW + DAY) == [("pack.approved", "ACTIVE", "ACTIVE")]
    home.lines.append(canonical.line({"kind": "run.opened", "to": {}}))
    assert home.adopt(NOW + DAY) == []


def test_a_facade_has_revisions_of_its_own(team):
    team.active()
    team.propose(facade())
    assert team.desk.next_revision("put_note", "1") == 2
    second = facade(revision=2)
    team.propose(second)
    assert team.desk.next_revision("put_note", "2") == 3


def test_an_unwanted_reject_by_the_proposer_ends_nothing(team):
    (subject,) = team.propose(record())
    assert refused(team.say, "reject", subject, "ann", role="security") == "signer.not_in_role"
    assert team.state(subject) is State.PROPOSED


def test_a_stop_that_was_lifted_and_not_yet_released_can_be_said_again(team):
    subject = team.active()
    team.say("suspend", subject, "ben")
    assert refused(team.say, "suspend", subject, "ben", NOW + 1) == "trust.status"
    team.say("resume", subject, "cay", NOW + 2)
    again = team.say("suspend", subject, "ben", NOW + 3)
    assert (State.SUSPENDED, 1) == (again.state, len(again.standing_stops))
    assert refused(team.activate, subject, now=NOW + 4) == "pack.resume_missing"
    team.say("revoke", subject, "cay", NOW + 5)
    assert refused(team.say, "revoke", subject, "cay", NOW + 6) == "trust.status"
