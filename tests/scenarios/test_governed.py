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

    assert [code, code] == look_everywhere(site, pack)
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
        assert "store.malformed" == refused(rt.call, f"{pack.name}.go").code


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

        assert "pack.already_imported" == refused(rt.call, f"{old.name}.go", x=1).code
