"""Nothing unapproved runs: states of packs, what is installed, what the store says, and who."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

import attrs
import pytest

from awe_core.cli import run as awe
from awe_core.config import load_config
from awe_core.errors import AweError, RunNotCompletedError
from awe_core.events import Actor, Decision
from awe_core.health import doctor, status
from awe_core.runtime.deployment import load

if TYPE_CHECKING:
    from pathlib import Path

SIMPLE = "def go(ctx, *, x):\n    return {'x': x}\n"
PLAIN = """\
risk: low
input: {type: object, properties: {x: {type: integer, default: 0}}}
output: {type: object, properties: {x: {type: integer}}}
"""
FLOW = """\
awe: workflow/v1
id: flow
version: 1.0.0
summary: One step.
steps: [{{id: one, capability: {name}.go@1}}]
"""


def look_everywhere(site, pack, refused) -> list[str]:
    """Call, run, list, status and doctor; give the codes of the two refusals."""
    flow = site.root / "flow.yaml"
    flow.write_text(FLOW.format(name=pack.name))
    now = int(time.time())
    with site.open() as rt:
        codes = [
            refused(rt.call, f"{pack.name}.go").code,
            refused(rt.run, str(flow)).code,
        ]
        rt.runs()
        rt.approvals()
        status(rt, now_s=now)
        doctor(rt.config, now_s=now)
        rt.deployment.gate.facades()
        assert rt.runs() == []
    return codes


def reach(site, pack, state: str) -> None:
    """Bring *pack* to *state* in the store."""
    if state == "not governed":
        return
    subjects = site.propose(pack.build())
    if state == "PROPOSED":
        return
    site.approve(subjects)
    if state == "APPROVED":
        return
    site.activate(subjects)
    if state == "SUSPENDED":
        site.suspend(subjects)
    elif state == "REVOKED":
        site.revoke(subjects)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("not governed", "capability.unknown"),
        ("PROPOSED", "capability.unknown"),
        ("APPROVED", "capability.unknown"),
        ("SUSPENDED", "pack.not_active"),
        ("REVOKED", "pack.not_active"),
    ],
)
def test_a_pack_that_is_not_active_is_never_imported(site, hostile, state, code, refused):
    pack = hostile(SIMPLE).contract("go", PLAIN)
    pack.install()
    reach(site, pack, state)

    in_a_workflow = code.replace("capability.unknown", "workflow.unknown_capability")
    assert [code, in_a_workflow] == look_everywhere(site, pack, refused)
    assert not pack.ran


def test_an_active_pack_is_imported_at_its_first_call_and_not_before(site, active):
    pack = active(SIMPLE, go=PLAIN)
    with site.open() as rt:
        status(rt, now_s=int(time.time()))
        doctor(rt.config, now_s=int(time.time()))
        assert not pack.ran

        assert {"x": 3} == rt.call(f"{pack.name}.go", x=3)
    assert pack.ran


def test_a_pack_whose_executor_nothing_here_offers_is_refused_before_a_run_exists(
    site, hostile, refused
):
    pack = hostile(SIMPLE).contract("go", PLAIN)
    asked = pack.files[f"{pack.package}/pack.yaml"]
    pack.files[f"{pack.package}/pack.yaml"] = asked.replace("executor: inproc", "executor: worker")
    pack.install()
    site.add(pack.build())
    with site.open() as rt:
        assert "isolation.unavailable" == refused(rt.call, f"{pack.name}.go").code
        assert () == tuple(rt.runs())
    assert not pack.ran


# ---- stops ---------------------------------------------------------------------------------------
def test_a_stop_is_obeyed_by_the_next_call_after_a_poke(site, active, refused):
    pack = active(SIMPLE, go=PLAIN)
    with site.open() as rt:
        rt.call(f"{pack.name}.go")
        site.suspend(pack.subjects)
        rt.poke()

        assert "pack.not_active" == refused(rt.call, f"{pack.name}.go").code


def test_a_stop_is_obeyed_without_a_poke_after_one_poll(site, active):
    pack = active(SIMPLE, go=PLAIN)
    ended = set()
    with site.open(flags={"trust.poll": "20ms"}) as rt:
        site.suspend(pack.subjects)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                rt.call(f"{pack.name}.go")
            except RunNotCompletedError as paused:  # it came between the call and its step
                ended.add(paused.attributes["ended"])
            except AweError as error:
                ended.add(error.code)
                break
    assert "pack.not_active" in ended <= {"PAUSED", "pack.not_active"}


def test_a_broken_store_neither_opens_nor_stops_what_runs(site, active, refused):
    pack = active(SIMPLE, go=PLAIN)
    with site.open() as rt:
        rt.call(f"{pack.name}.go")
        newest = max(site.store.glob("manifests/*.dsse"))
        newest.write_bytes(b"{}")
        rt.poke()
        assert {"x": 1} == rt.call(f"{pack.name}.go", x=1)
    with site.open() as rt:
        assert "trust.envelope" == refused(rt.call, f"{pack.name}.go").code


def test_a_pack_that_becomes_active_can_be_called_without_a_restart(site, hostile):
    pack = hostile(SIMPLE).contract("go", PLAIN)
    with site.open() as rt:
        pack.install()
        site.add(pack.build())
        rt.poke()
        assert {"x": 2} == rt.call(f"{pack.name}.go", x=2)


def test_a_new_version_is_what_runs_or_nothing_is(site, active, hostile, refused):
    old = active(SIMPLE, go=PLAIN)
    with site.open() as rt:
        assert {"x": 1} == rt.call(f"{old.name}.go", x=1)
        new = hostile(SIMPLE.replace("'x': x", "'x': x + 100"), name=old.name, version="1.1.0")
        new.contract("go", PLAIN).install()
        subjects = site.propose(new.build())
        site.approve(subjects)
        site.activate(subjects, at_once=True)
        rt.poke()

        assert "pack.loaded" == refused(rt.call, f"{old.name}.go", x=1).code


def test_a_pack_revoked_while_its_handler_runs_acts_no_more_and_is_still_taken_back(site, active):
    pack = active(
        "async def go(ctx, *, x):\n"
        "    await ctx.fs.write_text('first.txt', 'one')\n"
        "    await ctx.clock.sleep(0.3)\n"
        "    await ctx.fs.write_text('second.txt', 'two')\n"
        "    return {}\n",
        go=PLAIN.replace(
            "risk: low",
            "risk: low\nundo: captured\neffects:\n  - fs.write: {paths: ['*.txt']}\n  - clock",
        ),
    )
    with site.open() as rt:
        handle = rt.submit_call(f"{pack.name}.go")
        until = time.monotonic() + 10
        while not (site.root / "first.txt").exists():
            for request in rt.approvals():
                rt.attach(request.run).approve(request.id, request.digest, request.version)
            assert time.monotonic() < until
        site.revoke(pack.subjects)
        rt.poke()
        result = handle.wait()
        kinds = [one.event["kind"] for one in handle.events()]

        assert "ROLLED_BACK" == result.state
        assert "pack.not_active" == result.error.code
        assert "effect.refused" in kinds
        assert not (site.root / "first.txt").exists()
        assert not (site.root / "second.txt").exists()


def test_a_run_whose_pack_was_stopped_is_paused_and_can_be_taken_back(stdlib, active_too):
    pack = active_too(SIMPLE, go=PLAIN)
    flow = stdlib.root / "flow.yaml"
    flow.write_text(
        FLOW.format(name=pack.name)
        .replace(
            "steps: [",
            "steps: [{id: w, capability: fs.write_text@1, with: {path: a.txt, text: hi}}, "
            "{id: s, capability: time.sleep@1, needs: [w], with: {seconds: 1}}, ",
        )
        .replace("@1}]", "@1, needs: [s]}]")
    )
    with stdlib.open() as rt:
        handle = rt.submit(str(flow))
        stdlib.suspend(pack.subjects)
        rt.poke()
        result = handle.wait()
        assert ("PAUSED", "pack.not_active") == (result.state, result.error.code)
        assert (stdlib.root / "a.txt").exists()
    with stdlib.open() as rt:
        handle = rt.attach(result.run_id)
        assert "PAUSED" == handle.status().state
        handle.rollback("it is stopped")
        assert "ROLLED_BACK" == handle.wait().state
        assert not (stdlib.root / "a.txt").exists()
    assert not pack.ran


def test_a_run_goes_on_with_another_record_only_when_a_person_accepts_it(
    stdlib, active_too, hostile
):
    old = active_too(SIMPLE, go=PLAIN)
    flow = stdlib.root / "flow.yaml"
    slow = "steps: [{id: s, capability: time.sleep@1, with: {seconds: 1}}, "
    text = FLOW.format(name=old.name).replace("steps: [", slow)
    flow.write_text(text.replace("@1}]", "@1, needs: [s]}]"))
    with stdlib.open() as rt:
        handle = rt.submit(str(flow))
        handle.pause("an upgrade")
        assert "PAUSED" == handle.wait().state
    new = hostile(SIMPLE, name=old.name, version="1.1.0").contract("go", PLAIN)
    new.install()
    subjects = stdlib.propose(new.build())
    stdlib.approve(subjects)
    stdlib.activate(subjects, at_once=True)
    record = subjects[0].digest
    with stdlib.open() as rt:
        handle = rt.attach(handle.run_id)
        handle.resume()
        held = handle.wait()
        assert ("PAUSED", "pack.changed") == (held.state, held.error.code)
        assert not new.ran
        with pytest.raises(AweError, match="no pack that is in force"):
            handle.resume(accept=["0" * 64])
        handle.resume("read the difference", accept=[record[:12]])
    with stdlib.open() as rt:  # what was accepted outlives the process
        handle = rt.attach(handle.run_id)
        assert "COMPLETED" == handle.wait().state
        said = [one.event for one in handle.events() if one.event["kind"] == "run.resumed"]
    assert record == said[-1]["packs"][0]["record"]


@pytest.mark.parametrize("observe", [True, False])
def test_a_development_root_may_let_a_refused_pack_run_and_the_log_says_so(site, active, observe):
    pack = active(SIMPLE, go=PLAIN)
    desk, now, key = site.governance, int(time.time()), site.key(site.people[0])
    root = desk.root()
    policy = attrs.evolve(root.policy, evidence=("conformance",), observe=observe)
    root = attrs.evolve(root, version=2, policy=policy)
    desk.rotate(root, signers=[key], now=now)
    desk.renew(signers=[key], now=now)
    with site.open() as rt:
        here = rt.deployment
        if not observe:
            with pytest.raises(AweError, match="conformance"):
                rt.call(f"{pack.name}.go")
            assert not pack.ran
            return
        assert "observe" == here.trust == status(rt, now_s=now).trust
        assert {"x": 3} == rt.call(f"{pack.name}.go", x=3)
        (said,) = [one.event for one in rt.journal.read(kinds=["pack.activated"])]
        assert said["reason"].startswith("observed: ")
        assert "conformance" in said["reason"]
        (opened,) = [one.event for one in rt.journal.read(kinds=["run.opened"])]
        assert "observe" == opened["trust"]


# ---- plugins -------------------------------------------------------------------------------------
POLICY = """
from awe_core import hookimpl
from awe_core.events import Approve

class Always:
    name, version, is_pure = "always", "1", True

    def judge(self, request, facts):
        return Approve(reason="by a plugin")

@hookimpl
def awe_confirmation_policies(config):
    {broken}
    return [Always()]
"""


@pytest.fixture
def with_policy(stdlib, hostile):
    """A plugin that answers the handshake, proposed and ACTIVE; the deployment names its policy."""

    def made(broken: str = "pass"):
        pack = hostile("")
        path = f"{pack.package}/__init__.py"
        noise = pack.files[path].partition("\n")[0]
        pack.files[path] = noise + POLICY.format(broken=broken)
        yaml = f"{pack.package}/pack.yaml"
        pack.files[yaml] = pack.files[yaml].replace("awe_capabilities", "awe_confirmation_policies")
        pack.install()
        stdlib.configure("confirm: [{policy: always}]\n")
        return pack

    return made


def test_a_plugin_goes_through_the_same_gate_and_then_decides(stdlib, with_policy):
    pack = with_policy()
    write = ("fs.write_text", {"path": "a.txt", "text": "x"})
    with stdlib.open() as rt:  # it is named and not ACTIVE: everything is denied
        assert "handshake.denied" == rt.submit_call(*write).wait().error.code
        assert not pack.ran
    subjects = stdlib.add(pack.build())
    with stdlib.open() as rt:
        assert pack.ran
        assert "COMPLETED" == rt.submit_call(*write).wait().state
        rows = doctor(rt.config, ["packs", "policies"], now_s=int(time.time()))
        assert "red" not in {row.level.value for row in rows}
    stdlib.suspend(subjects)
    with stdlib.open() as rt:
        assert "handshake.denied" == rt.submit_call(*write).wait().error.code


def test_a_broken_plugin_is_named_and_takes_nothing_else_down(stdlib, with_policy):
    pack = with_policy("raise SystemExit('no')")
    stdlib.add(pack.build())
    with stdlib.open() as rt:
        found = rt.submit_call("text.split", {"text": "a b"}).wait()
        assert "handshake.denied" == found.error.code
        rows = doctor(rt.config, ["packs"], now_s=int(time.time()))
    (row,) = [row for row in rows if row.what == pack.distribution]
    assert "red" == row.level.value
    assert row.next


# ---- what is installed ---------------------------------------------------------------------------
def _appended(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda pack: _appended(pack.place("work.py")), "pack.file_changed"),
        (lambda pack: pack.place("more.py").write_text("x = 1\n"), "pack.file_added"),
        (lambda pack: pack.place("work.py").unlink(), "pack.file_missing"),
        (lambda pack: _appended(pack.place("contracts/go.yaml")), "pack.file_changed"),
    ],
    ids=["changed", "added", "missing", "contract"],
)
def test_a_pack_that_is_not_what_people_approved_is_off_and_the_others_run(
    stdlib, active_too, spoil, code, refused
):
    pack = active_too(SIMPLE, go=PLAIN)
    spoil(pack)
    with stdlib.open() as rt:
        assert [(pack.distribution, code)] == [(n, e.code) for n, e in rt.deployment.refused]
        assert code == refused(rt.call, f"{pack.name}.go").code
        lines = {one.distribution: one for one in status(rt, now_s=int(time.time())).packs}
        assert "OFF" == lines[pack.distribution].state
        assert "red" in {
            c.level.value for c in doctor(rt.config, ["packs"], now_s=int(time.time()))
        }
        assert rt.call("text.split", text="a b")
    assert not pack.ran

    pack.install()
    with stdlib.open() as rt:
        assert {"x": 5} == rt.call(f"{pack.name}.go", x=5)


def test_the_command_line_says_why_a_pack_is_off(site, active, capsys):
    pack = active(SIMPLE, go=PLAIN)
    _appended(pack.place("work.py"))
    words = ["--config", str(site.root / "awe.yaml"), "--json", "call", f"{pack.name}.go"]
    assert 7 == awe(words)
    assert "pack.file_changed" == json.loads(capsys.readouterr().out)["error"]["code"]


def test_what_changes_on_the_disk_changes_nothing_in_a_process_that_holds_the_approved_bytes(
    site, active
):
    pack = active(SIMPLE, go=PLAIN)
    with site.open() as rt:
        pack.place("work.py").write_text("def go(ctx, *, x): return {'x': 666}\n")
        rt.poke()
        assert {"x": 1} == rt.call(f"{pack.name}.go", x=1)


# ---- what the store says -------------------------------------------------------------------------
def newest(site) -> Path:
    return max(site.store.glob("manifests/*.dsse"))


def edited_statement(site) -> None:
    for path in site.store.glob("statements/*.dsse"):
        envelope = json.loads(path.read_bytes())
        envelope["payload"] = envelope["payload"][:-4] + "AAAA"
        path.write_text(json.dumps(envelope))


def swapped_manifests(site) -> None:
    before = newest(site)
    site.governance.renew(signers=[site.key("ana")], now=int(time.time()))
    after = newest(site)
    one, two = before.read_bytes(), after.read_bytes()
    before.write_bytes(two)
    after.write_bytes(one)


def signed_by_another_release(site) -> None:
    document = json.loads(newest(site).read_bytes())
    document["signatures"][0]["sig"] = "A" * 86 + "=="
    newest(site).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (lambda site: newest(site).unlink(), {"trust.rollback"}),
        (swapped_manifests, {"store.digest", "trust.rollback", "trust.chain", "store.misplaced"}),
        (signed_by_another_release, {"trust.threshold"}),
        (lambda site: newest(site).write_bytes(b"{}"), {"trust.envelope"}),
        (lambda site: shutil.rmtree(site.store), {"store.missing"}),
        (lambda site: site.configure(pin="ab" * 32), {"trust.mark", "trust.root_pin"}),
    ],
    ids=["newest deleted", "swapped", "signature", "no envelope", "no store", "other pin"],
)
def test_a_store_that_does_not_hold_as_a_whole_runs_nothing(stdlib, spoil, codes, refused):
    with stdlib.open() as rt:
        rt.call("text.split", text="a b")
    spoil(stdlib)
    with stdlib.open() as rt:
        assert refused(rt.call, "text.split", text="a b").code in codes
        found = status(rt, now_s=int(time.time()))
        assert found.failure
        assert not found.is_ready
        assert "red" in {
            c.level.value for c in doctor(rt.config, ["packs"], now_s=int(time.time()))
        }


def test_an_edited_approval_stops_its_pack(stdlib, refused):
    edited_statement(stdlib)
    with stdlib.open() as rt:
        error = refused(rt.call, "text.split", text="a b")
        assert error.code in {"store.digest", "pack.approvals_missing", "trust.base64"}, error.code


def test_a_restored_backup_of_the_store_is_a_rollback(stdlib, active_too, refused):
    backup = stdlib.root.parent / "backup"
    shutil.copytree(stdlib.store, backup)
    pack = active_too(SIMPLE, go=PLAIN)
    with stdlib.open() as rt:
        rt.call(f"{pack.name}.go")
    shutil.rmtree(stdlib.store)
    shutil.copytree(backup, stdlib.store)
    with stdlib.open() as rt:
        assert "trust.rollback" == refused(rt.call, "text.split", text="a b").code


def test_a_deleted_stop_goes_on_stopping_where_it_was_seen(site, active, refused):
    pack = active(SIMPLE, go=PLAIN)
    site.suspend(pack.subjects)
    with site.open() as rt:
        assert "pack.not_active" == refused(rt.call, f"{pack.name}.go").code
    for stop in site.store.glob("stops/*"):
        stop.unlink()
    with site.open() as rt:
        assert "pack.not_active" == refused(rt.call, f"{pack.name}.go").code
    assert not pack.ran


def test_an_unknown_extra_file_in_the_store_does_no_harm(stdlib):
    (stdlib.store / "README").write_text("ours\n")
    (stdlib.store / "statements" / ("0" * 64 + ".dsse")).write_bytes(b"not for us")
    with stdlib.open() as rt:
        assert rt.call("text.split", text="a b")


def test_an_expired_manifest_begins_nothing_new_and_says_what_to_do(stdlib, refused):
    config = load_config(stdlib.config, flags={}, environ={})
    within, grace, after = (
        load(config, now_s=int(time.time()) + days * 86_400, mark=None) for days in (1, 33, 45)
    )
    spec = within.registry.resolve("text.split")

    assert ["valid", "grace", "expired"] == [d.verdict.phase for d in (within, grace, after)]
    assert within.gate.check(spec.spec.id, spec.contract, "new")
    assert grace.gate.check(spec.spec.id, spec.contract, "new")
    error = refused(after.gate.check, spec.spec.id, spec.contract, "new")
    assert "pack.not_active" == error.code
    assert after.gate.check(spec.spec.id, spec.contract, "undo")
    codes = [warning.code for warning in after.verdict.warnings]
    assert "trust.expired" in codes


# ---- people --------------------------------------------------------------------------------------
@pytest.fixture
def waiting(stdlib):
    """A call that waits for a person, and the file it would delete."""
    (stdlib.root / "b.txt").write_text("keep me\n")
    with stdlib.open() as rt:
        handle = rt.submit_call("fs.delete", {"path": "b.txt"})
        assert "PAUSED" == handle.wait().state
        yield rt, handle, rt.approvals()[0], stdlib.root / "b.txt"


def answer(asked, **changed) -> Decision:
    given = {
        "request": asked.id,
        "version": asked.version,
        "digest": asked.digest,
        "verdict": "approve",
        "by": "person:ana",
        "via": "sdk",
        "assurance": "local",
        "at_us": time.time_ns() // 1_000,
    }
    return Decision(**(given | changed))


FORGED = [
    ({"digest": "sha256:" + "0" * 64}, "handshake.stale"),
    ({"version": 7}, "handshake.stale"),
    ({"by": "agent:ana"}, "handshake.not_eligible"),
    ({"by": "service:ana"}, "handshake.not_eligible"),
    ({"by": "person:mallory"}, "handshake.not_eligible"),
    ({"by": "person:"}, "handshake.not_eligible"),
    ({"by": "ana"}, "handshake.not_eligible"),
    ({"assurance": "relayed"}, "handshake.assurance"),
    ({"assurance": "signed", "signature": "00"}, "handshake.assurance"),
    ({"request": "hs_"}, "handshake.stale"),
    ({"request": ""}, "handshake.unknown"),
    ({"request": "hs_nothing"}, "handshake.unknown"),
]


def test_a_forged_answer_is_refused_and_the_true_one_still_counts(waiting, refused):
    rt, handle, asked, file = waiting
    for changed, code in FORGED:
        assert (changed, code) == (changed, refused(rt.decide, answer(asked, **changed)).code)
        assert file.exists()
        assert asked == rt.approval(asked.id)

    rt.decide(answer(asked))
    assert "COMPLETED" == handle.wait().state
    assert not file.exists()


def test_an_answer_counts_once(waiting, refused):
    rt, handle, asked, _ = waiting
    rt.decide(answer(asked))
    handle.wait()
    assert "handshake.unknown" == refused(rt.decide, answer(asked)).code
    assert "run.illegal_state" == refused(handle.resume).code


def test_a_denied_call_does_nothing(waiting):
    rt, handle, asked, file = waiting
    rt.decide(answer(asked, verdict="deny", reason="no"))
    result = handle.wait()
    assert "ROLLED_BACK" == result.state
    assert "handshake.denied" == result.error.code
    assert file.exists()


def test_an_approval_is_void_when_the_file_changed_since_and_is_asked_for_anew(waiting):
    rt, handle, asked, file = waiting
    file.write_text("changed since\n")
    rt.decide(answer(asked))
    assert "PAUSED" == handle.wait().state
    assert file.exists()
    again = rt.approvals()[0]
    assert asked.id != again.id
    assert asked.digest != again.digest
    assert asked.id == again.replaces

    rt.decide(answer(again))
    assert "COMPLETED" == handle.wait().state
    assert not file.exists()


def test_an_approval_survives_a_restart_and_a_spent_one_does_not_come_back(stdlib, refused):
    (stdlib.root / "b.txt").write_text("x")
    with stdlib.open() as rt:
        handle = rt.submit_call("fs.delete", {"path": "b.txt"})
        handle.wait()
        asked = rt.approvals()[0]
    with stdlib.open() as rt:
        assert [asked.id] == [one.id for one in rt.approvals()]
        rt.decide(answer(asked))
        handle = rt.attach(handle.run_id)
        assert "COMPLETED" == handle.wait().state
        handle.rollback()
        assert "ROLLED_BACK" == handle.wait().state
    with stdlib.open() as rt:
        assert () == tuple(rt.approvals())
        assert "handshake.unknown" == refused(rt.decide, answer(asked)).code
        assert (stdlib.root / "b.txt").exists()


def test_an_answer_after_the_expiry_counts_for_nothing_whatever_time_it_claims(stdlib, refused):
    stdlib.configure("handshake: {expires: 1ms}\n")
    (stdlib.root / "b.txt").write_text("x")
    with stdlib.open() as rt:
        handle = rt.submit_call("fs.delete", {"path": "b.txt"})
        handle.wait()
        ended = handle.wait()
        for asked in rt.approvals():
            refused(rt.decide, answer(asked, at_us=1))
        while (ended := handle.status()).state == "PAUSED":
            pass
        assert "ROLLED_BACK" == ended.state
        assert "handshake.expired" == ended.error.code
        assert (stdlib.root / "b.txt").exists()


# ---- agents and facades --------------------------------------------------------------------------
FACADE = """\
exposes: {{capability: {name}.go@1}}
channels: [{channels}]
fixed: {{x: 7}}
callers: {{roles: [agent]}}
"""


@pytest.fixture
def with_facade(site, hostile):
    def made(channels: str):
        pack = hostile(SIMPLE).contract("go", PLAIN)
        pack.facade("entry", FACADE.format(name=pack.name, channels=channels)).install()
        pack.subjects = site.add(pack.build())
        return pack

    return made


def test_a_facade_outlives_a_new_version_with_the_same_contracts_and_no_other(
    site, with_facade, hostile, refused
):
    old = with_facade("functions")
    entry = f"{old.name}_entry"
    for version, contract, changed in (("1.1.0", PLAIN, 0), ("1.2.0", PLAIN + "timeout: 9s\n", 1)):
        new = hostile(SIMPLE, name=old.name, version=version).contract("go", contract)
        new.facade("entry", FACADE.format(name=old.name, channels="functions")).install()
        subjects = site.propose(new.build())
        assert 1 + changed == len(subjects)
        site.approve(subjects[:1])
        site.activate(subjects[:1], at_once=True)
        with site.open(actor=Actor.agent("bot", via="functions")) as rt:
            if changed:
                assert "facade.target_changed" == refused(rt.facade, entry).code
            else:
                assert {"x": 7} == rt.facade(entry)()


def test_an_agent_reaches_facades_and_nothing_else(site, with_facade, refused):
    pack = with_facade("functions")
    entry = f"{pack.name}_entry"
    flow = site.root / "flow.yaml"
    flow.write_text(FLOW.format(name=pack.name))
    with site.open(actor=Actor.agent("bot", via="functions")) as rt:
        for action in (
            lambda: rt.call(f"{pack.name}.go"),
            lambda: rt.call("text.split", text="a b"),
            lambda: rt.run(str(flow)),
            lambda: rt.run("flow"),
            lambda: rt.facade("no_such_facade"),
            lambda: rt.submit(None, {}, facade="text.split").wait(),
        ):
            assert "access.not_a_facade" == refused(action).code
        assert not pack.ran
        assert "facade.fixed" == refused(rt.facade(entry), x=1).code
        assert not pack.ran
        assert {"x": 7} == rt.facade(entry)()
        kinds = [one.event["kind"] for one in rt.journal.read()]
        assert kinds.count("access.refused") >= 5


def test_a_facade_that_is_not_exposed_on_the_channel_is_not_callable_there(
    site, with_facade, refused
):
    pack = with_facade("mcp")
    entry = f"{pack.name}_entry"
    with site.open(actor=Actor.agent("bot", via="functions")) as rt:
        assert "access.refused" == refused(rt.facade(entry)).code
    with site.open(actor=Actor.person("ana", via="mcp")) as rt:
        assert "access.refused" == refused(rt.facade(entry)).code
    assert not pack.ran
    with site.open(actor=Actor.agent("bot", via="mcp")) as rt:
        assert {"x": 7} == rt.facade(entry)()


def test_a_facade_goes_with_its_pack(site, with_facade, refused):
    pack = with_facade("functions")
    site.suspend(pack.subjects)
    with site.open(actor=Actor.agent("bot", via="functions")) as rt:
        assert () == rt.deployment.gate.facades()
        assert "facade.not_active" == refused(rt.facade, f"{pack.name}_entry").code


FLOW_ALONE = """\
awe: workflow/v1
id: {name}_flow
version: 1.0.0
summary: Split a text.
steps: [{{id: s, capability: text.split@1, with: {{text: "a b"}}}}]
"""
FLOW_AROUND = """\
awe: workflow/v1
id: around
version: 1.0.0
summary: Call the other one.
steps: [{{id: s, workflow: {name}_flow@1}}]
"""


@pytest.mark.parametrize("stop", ["suspend", "revoke"])
def test_a_stop_reaches_the_workflows_and_facades_of_a_pack_without_code(
    stdlib, hostile, stop, refused
):
    pack = hostile(SIMPLE)
    flow = f"{pack.name}_flow"
    pack.files[f"{pack.package}/pack.yaml"] += "workflows: workflows/*.yaml\n"
    pack.files[f"{pack.package}/workflows/flow.yaml"] = FLOW_ALONE.format(name=pack.name)
    pack.facade("entry", f"exposes: {{workflow: {flow}@1}}\nchannels: [functions]\n").install()
    subjects = stdlib.add(pack.build())
    around = stdlib.root / "around.yaml"
    around.write_text(FLOW_AROUND.format(name=pack.name))
    agent, entry = Actor.agent("bot", via="functions"), f"{pack.name}_entry"
    with stdlib.open() as rt:
        handle = rt.submit(flow)
        assert "COMPLETED" == handle.wait().state
        (opened,) = (r.event for r in rt.journal.read() if r.event["kind"] == "run.opened")
        assert pack.distribution in {one["dist"] for one in opened["packs"]}
        assert rt.run(str(around))
    with stdlib.open(actor=agent) as rt:
        rt.facade(entry)()

    getattr(stdlib, stop)(subjects)
    with stdlib.open() as rt:
        assert "pack.not_active" == refused(rt.run, flow).code
        assert "pack.not_active" == refused(rt.run, str(around)).code
        assert rt.call("text.split", text="a b")
    with stdlib.open(actor=agent) as rt:
        assert "facade.not_active" == refused(rt.facade, entry).code


def test_an_open_run_goes_no_further_when_the_pack_of_its_workflow_is_stopped(stdlib, hostile):
    pack = hostile(SIMPLE)
    flow = f"{pack.name}_flow"
    pack.files[f"{pack.package}/pack.yaml"] += "workflows: workflows/*.yaml\n"
    text = FLOW_ALONE.format(name=pack.name)
    head = text[: text.index("steps:")]
    pack.files[f"{pack.package}/workflows/flow.yaml"] = head + (
        "steps:\n- {id: s, capability: time.sleep@1, with: {seconds: 1}}\n"
        "- {id: w, capability: fs.write_text@1, needs: [s], with: {path: a.txt, text: x}}\n"
    )
    pack.install()
    subjects = stdlib.add(pack.build())
    with stdlib.open() as rt:
        handle = rt.submit(flow)
        stdlib.suspend(subjects)
        rt.poke()
        result = handle.wait()
        assert ("PAUSED", "pack.not_active") == (result.state, result.error.code)
        assert not (stdlib.root / "a.txt").exists()


def test_an_agent_answers_nothing_and_ends_only_runs_of_its_own(stdlib, refused):
    (stdlib.root / "b.txt").write_text("x")
    with stdlib.open() as rt:
        handle = rt.submit_call("fs.delete", {"path": "b.txt"})
        handle.wait()
        asked = rt.approvals()[0]
        rt.call("fs.write_text", path="c.txt", text="x")
        done = next(row.run_id for row in rt.runs("COMPLETED"))
    with stdlib.open(actor=Actor.agent("bot")) as rt:
        assert "handshake.not_eligible" == refused(rt.decide, answer(asked)).code
        mine = rt.attach(handle.run_id)
        assert (
            "handshake.not_eligible"
            == refused(mine.approve, asked.id, asked.digest, asked.version).code
        )
        assert "access.refused" == refused(mine.cancel).code
        assert "access.refused" == refused(mine.resume).code
        assert "access.refused" == refused(rt.attach(done).rollback).code
        assert (stdlib.root / "c.txt").exists()
