"""Nothing unapproved runs: states of packs, what is installed, what the store says, and who."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from awe_core.errors import AweError
from awe_core.events import Actor
from awe_core.health import doctor, status

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


def refused(action, *arguments, **named) -> AweError:
    """Give the error of *action*; it says what to do next."""
    with pytest.raises(AweError) as caught:
        action(*arguments, **named)
    assert caught.value.hint
    return caught.value


def look_everywhere(site, pack) -> list[str]:
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
        doctor(rt, now_s=now)
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
def test_a_pack_that_is_not_active_is_never_imported(site, hostile, state, code):
    pack = hostile(SIMPLE).contract("go", PLAIN)
    pack.install()
    reach(site, pack, state)

    in_a_workflow = code.replace("capability.unknown", "workflow.unknown_capability")
    assert [code, in_a_workflow] == look_everywhere(site, pack)
    assert not pack.ran


def test_an_active_pack_is_imported_at_its_first_call_and_not_before(site, active):
    pack = active(SIMPLE, go=PLAIN)
    with site.open() as rt:
        status(rt, now_s=int(time.time()))
        doctor(rt, now_s=int(time.time()))
        assert not pack.ran

        assert {"x": 3} == rt.call(f"{pack.name}.go", x=3)
    assert pack.ran


# ---- stops ---------------------------------------------------------------------------------------
def test_a_stop_is_obeyed_by_the_next_call_after_a_poke(site, active):
    pack = active(SIMPLE, go=PLAIN)
    with site.open() as rt:
        rt.call(f"{pack.name}.go")
        site.suspend(pack.subjects)
        rt.poke()

        assert "pack.not_active" == refused(rt.call, f"{pack.name}.go").code


def test_a_stop_is_obeyed_without_a_poke_after_one_poll(site, active):
    pack = active(SIMPLE, go=PLAIN)
    with site.open() as rt:
        site.suspend(pack.subjects)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                rt.call(f"{pack.name}.go")
            except AweError as error:
                assert "pack.not_active" == error.code
                return
    pytest.fail("the stop was never obeyed")


def test_a_broken_store_neither_opens_nor_stops_what_runs(site, active):
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


def test_a_new_version_is_what_runs_or_nothing_is(site, active, hostile):
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
            "risk: low", "risk: low\nundo: captured\neffects:\n  - fs.write: {paths: ['*.txt']}"
        ).replace("confirm", "confirm"),
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


def test_a_run_whose_pack_was_stopped_is_paused_and_can_be_taken_back(site, active):
    pack = active(SIMPLE, go=PLAIN)
    flow = site.root / "flow.yaml"
    flow.write_text(
        FLOW.format(name=pack.name).replace(
            "steps: [",
            "steps: [{id: w, capability: fs.write_text@1, with: {path: a.txt, text: hi}}, "
            "{id: s, capability: time.sleep@1, needs: [w], with: {seconds: 1}}, ",
        ).replace("@1}]", "@1, needs: [s]}]")
    )
    with site.open() as rt:
        handle = rt.submit(str(flow))
        site.suspend(pack.subjects)
        rt.poke()
        result = handle.wait()
        assert ("PAUSED", "pack.not_active") == (result.state, result.error.code)
        assert (site.root / "a.txt").exists()
    with site.open() as rt:
        handle = rt.attach(result.run_id)
        assert "PAUSED" == handle.status().state
        handle.rollback("it is stopped")
        assert "ROLLED_BACK" == handle.wait().state
        assert not (site.root / "a.txt").exists()
    assert not pack.ran


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
    site, active, spoil, code
):
    pack = active(SIMPLE, go=PLAIN)
    spoil(pack)
    with site.open() as rt:
        assert [(pack.distribution, code)] == [(n, e.code) for n, e in rt.deployment.refused]
        assert code == refused(rt.call, f"{pack.name}.go").code
        lines = {one.distribution: one for one in status(rt, now_s=int(time.time())).packs}
        assert "OFF" == lines[pack.distribution].state
        assert "red" in {c.level.value for c in doctor(rt, ["packs"], now_s=int(time.time()))}
        assert rt.call("text.split", text="a b")
    assert not pack.ran

    pack.install()
    with site.open() as rt:
        assert {"x": 5} == rt.call(f"{pack.name}.go", x=5)


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
    *_, older, newer = sorted(site.store.glob("manifests/*.dsse"))
    one, two = older.read_bytes(), newer.read_bytes()
    older.write_bytes(two)
    newer.write_bytes(one)


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
        (lambda site: site.write(pin="ab" * 32), {"trust.mark", "trust.root_pin"}),
    ],
    ids=["newest deleted", "swapped", "signature", "no envelope", "no store", "other pin"],
)
def test_a_store_that_does_not_hold_as_a_whole_runs_nothing(site, spoil, codes):
    with site.open() as rt:
        rt.call("text.split", text="a b")
    spoil(site)
    with site.open() as rt:
        assert refused(rt.call, "text.split", text="a b").code in codes
        found = status(rt, now_s=int(time.time()))
        assert found.failure
        assert not found.is_ready
        assert "red" in {c.level.value for c in doctor(rt, ["packs"], now_s=int(time.time()))}


def test_an_edited_approval_stops_its_pack(site):
    edited_statement(site)
    with site.open() as rt:
        error = refused(rt.call, "text.split", text="a b")
        assert error.code in {"store.digest", "pack.approvals_missing", "trust.base64"}, error.code


def test_a_restored_backup_of_the_store_is_a_rollback(site, active):
    backup = site.root.parent / "backup"
    shutil.copytree(site.store, backup)
    pack = active(SIMPLE, go=PLAIN)
    with site.open() as rt:
        rt.call(f"{pack.name}.go")
    shutil.rmtree(site.store)
    shutil.copytree(backup, site.store)
    with site.open() as rt:
        assert "trust.rollback" == refused(rt.call, "text.split", text="a b").code


def test_a_deleted_stop_goes_on_stopping_where_it_was_seen(site, active):
    pack = active(SIMPLE, go=PLAIN)
    site.suspend(pack.subjects)
    with site.open() as rt:
        assert "pack.not_active" == refused(rt.call, f"{pack.name}.go").code
    for stop in site.store.glob("stops/*"):
        stop.unlink()
    with site.open() as rt:
        assert "pack.not_active" == refused(rt.call, f"{pack.name}.go").code
    assert not pack.ran


def test_an_unknown_extra_file_in_the_store_does_no_harm(site):
    (site.store / "README").write_text("ours\n")
    (site.store / "statements" / ("0" * 64 + ".dsse")).write_bytes(b"not for us")
    with site.open() as rt:
        assert rt.call("text.split", text="a b")
