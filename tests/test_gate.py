"""The gate: what may run now, and why not."""

from __future__ import annotations

import sys
import threading
import time

import attrs
import pytest

from awe_core.errors import AccessError, AweError, PackError, TrustError
from awe_core.gate import FacadeEntry, Gate, GateSnapshot
from awe_core.lifecycle import State, permits
from awe_core.records import (
    CapabilityEntry,
    FacadeRecord,
    PackRecord,
    Policy,
    Reach,
    Root,
    Wheel,
)
from awe_core.trust import FacadeVerdict, Mark, PackVerdict, Verdict

A, B, C = "a" * 64, "b" * 64, "c" * 64


def root(environment="prod"):
    policy = Policy(
        approvals=(),
        approval_days=1,
        manifest_days=1,
        on_expiry="drain",
        grace_days=1,
        warn_days=1,
        dependencies="versions",
        evidence=(),
        inproc=(),
        self_approval=False,
        editable=False,
        observe=False,
    )
    return Root(
        deployment="here",
        environment=environment,
        version=1,
        issued=0,
        expires=1,
        keys={},
        roles={},
        retired={},
        policy=policy,
    )


def pack(digest, state=State.ACTIVE, *, version="1.0.0", contract=A, ids=("files.put",), **more):
    record = PackRecord(
        kind="pack",
        name="files",
        distribution="awe-pack-files",
        version=version,
        revision=1,
        wheel=Wheel("x.whl", A, 1),
        files={},
        top_level=("awe_pack_files",),
        entry_points={},
        hooks=(),
        executor="worker",
        reuse="run",
        native=False,
        accept_unenforced=(),
        capabilities=tuple(CapabilityEntry(one, "1.0.0", contract, "low", ()) for one in ids),
        workflows=(),
        facades=(),
        requires=(),
        proposed_by="dave",
        authors=(),
        evidence=(),
        report=A,
        interpreter=None,
        source=None,
    )
    found = PackVerdict(
        record=record,
        digest=digest,
        status=state,
        sunset=None,
        permits=permits(state),
        refusals=(),
        statements=(),
    )
    return attrs.evolve(found, **more)


def facade(name="put_it", *, state=State.ACTIVE, contract=A, **more):
    record = FacadeRecord(
        kind="facade",
        name=name,
        revision=1,
        facade={"id": name, "channels": ["cli"], "callers": {"roles": ["agent"]}},
        pack="awe-pack-files",
        reaches=(Reach("files.put", contract),),
        proposed_by="dave",
        authors=(),
    )
    found = FacadeVerdict(
        record=record,
        digest=C,
        own_status=state,
        packs=(),
        status=state,
        sunset=None,
        permits=permits(state),
        refusals=(),
        statements=(),
    )
    return attrs.evolve(found, **more)


def verdict(*packs, facades=(), environment="prod", phase="valid"):
    return Verdict(
        root=root(environment),
        root_digest=A,
        manifest=None,
        manifest_digest=None,
        phase=phase,
        packs=packs,
        facades=facades,
        absent=(),
        mark=Mark(pin=A, root_version=1, version=0, digest=None, seen_at=0),
        warnings=(),
    )


def gate(*packs, **how):
    facades = how.pop("facades", ())
    environment = how.pop("environment", "prod")
    phase = how.pop("phase", "valid")
    found = verdict(*packs, facades=facades, environment=environment, phase=phase)
    return Gate(GateSnapshot.of(found, **how))


def refused(gate, *question, **how):
    with pytest.raises(AweError) as caught:
        gate.check(*question, **how)
    return caught.value


def test_an_active_capability_runs_under_its_record():
    assert gate(pack(B)).check("files.put", A, "new") == B


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("purpose", ["new", "resume", "undo", "undo_own"])
def test_every_state_allows_what_the_lifecycle_says(state, purpose):
    allowed = permits(state)
    wanted = {
        "new": allowed.new,
        "resume": allowed.resume,
        "undo": allowed.undo_core,
        "undo_own": allowed.undo_own,
    }
    asked = gate(pack(B, state))
    if wanted[purpose]:
        assert asked.check("files.put", A, purpose) == B
    else:
        error = refused(asked, "files.put", A, purpose)
        assert isinstance(error, PackError)
        assert error.code == "pack.not_active"
        assert state.value in str(error)


def test_why_a_pack_is_not_taken_is_told():
    because = PackError("pack.denied", name="files")
    off = pack(B, permits=permits(State.NONE), refusals=(because,))
    error = refused(gate(off), "files.put", A, "new")
    assert (f"pack.denied: {because.summary}",) == error.details
    expired = pack(B, permits=permits(State.SUPERSEDED))
    assert refused(gate(expired, phase="expired"), "files.put", A, "new").details == (
        "the manifest is expired",
    )


def test_another_contract_than_the_approved_one_is_told_apart():
    error = refused(gate(pack(B)), "files.put", C, "new")
    assert error.code == "pack.contract_changed"
    assert [f"approved sha256 {A}", f"asked for {C}"] == list(error.details)


def test_an_unknown_capability_names_the_nearest():
    error = refused(gate(pack(B)), "files.putt", A, "new")
    assert isinstance(error, AccessError)
    assert error.code == "capability.unknown"
    assert error.details == ("did you mean files.put?",)
    assert refused(gate(pack(B)), "zzz", A, "new").details == ()


@pytest.mark.parametrize("turned", [False, True])
def test_the_strongest_record_with_the_contract_answers(turned):
    packs = [pack(B, State.SUPERSEDED), pack(C, State.ACTIVE)]
    asked = gate(*(reversed(packs) if turned else packs))
    assert asked.check("files.put", A, "undo") == C
    assert refused(gate(packs[0]), "files.put", A, "new").code == "pack.not_active"


def test_a_pack_that_is_off_at_this_home_runs_only_the_cores_undo():
    why = PackError("pack.file_changed", distribution="x", version="1", count=1)
    off = gate(pack(B), set_aside={B: why})
    for purpose in ("new", "resume", "undo_own"):
        error = refused(off, "files.put", A, purpose)
        assert error.code == "pack.file_changed"
        assert error is not why
    assert off.check("files.put", A, "undo") == B
    assert gate(pack(B), set_aside={C: why}).check("files.put", A, "new")


def test_nothing_runs_where_nothing_is_trusted():
    closed = Gate(GateSnapshot.closed(TrustError("trust.unknown_role", name="x", role="y")))
    for purpose in ("new", "resume", "undo", "undo_own"):
        assert refused(closed, "files.put", A, purpose).code == "trust.unknown_role"
    with pytest.raises(TrustError):
        closed.facade("put_it")
    assert closed.facades() == ()


def test_a_swap_counts_for_the_next_question():
    asked = gate(pack(B))
    assert asked.check("files.put", A, "new")
    asked.swap(GateSnapshot.of(verdict(pack(B, State.SUSPENDED))))
    assert refused(asked, "files.put", A, "new").code == "pack.not_active"
    assert asked.snapshot.verdict.packs[0].status is State.SUSPENDED


def test_under_load_no_question_after_a_swap_sees_the_old_state():
    asked = gate(pack(B))
    swapped, late, rounds = threading.Event(), [], 2_000

    def ask():
        for _ in range(rounds):
            was_swapped = swapped.is_set()
            try:
                asked.check("files.put", A, "new")
            except PackError:
                continue
            if was_swapped:
                late.append("the old state")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    asked.swap(GateSnapshot.of(verdict(pack(B, State.REVOKED))))
    swapped.set()
    for thread in threads:
        thread.join()
    assert late == []


def test_what_a_program_registers_itself_runs_under_a_dev_root_only():
    local = [("mine.own", A)]
    assert gate(local=local, environment="dev").check("mine.own", A, "new") == "local"
    assert refused(gate(local=local), "mine.own", A, "new").code == "capability.unknown"


# ---------------------------------------------------------------------------------------- facades


def facade_error(asked, name, **how):
    with pytest.raises(AweError) as caught:
        asked.facade(name, **how)
    return caught.value


def test_an_active_facade_is_listed_and_callable():
    asked = gate(pack(B), facades=[facade()])
    entry = asked.facade("put_it", channel="cli", roles=["agent"])
    assert isinstance(entry, FacadeEntry)
    assert (entry.id, entry.record) == ("put_it", C)
    assert (("cli",), ("agent",)) == (entry.channels, entry.roles)
    assert (entry,) == asked.facades()


def test_a_facade_is_for_its_channels_and_roles():
    asked = gate(pack(B), facades=[facade()])
    assert facade_error(asked, "put_it", channel="rest").code == "facade.channel"
    assert facade_error(asked, "put_it", roles=["guest"]).code == "facade.caller"
    open_to_all = attrs.evolve(facade().record, facade={"id": "put_it", "channels": []})
    asked = gate(pack(B), facades=[facade(record=open_to_all)])
    assert asked.facade("put_it", roles=[])


def test_an_unknown_facade_names_the_nearest():
    error = facade_error(gate(pack(B), facades=[facade()]), "put_itt")
    assert error.code == "access.not_a_facade"
    assert error.details == ("did you mean put_it?",)


def test_a_facade_that_is_not_active_is_neither_listed_nor_callable():
    asked = gate(pack(B), facades=[facade(state=State.SUSPENDED)])
    assert asked.facades() == ()
    assert facade_error(asked, "put_it").code == "facade.not_active"


@pytest.mark.parametrize(
    "packs",
    [(pack(B, State.SUSPENDED),), (pack(B, contract=C),), ()],
    ids=["suspended", "contract", "absent"],
)
def test_a_facade_is_off_when_something_it_reaches_is(packs):
    asked = gate(*packs, facades=[facade()])
    assert asked.facades() == ()
    error = facade_error(asked, "put_it")
    assert error.code == "facade.not_active"
    assert error.details[0].startswith("files.put: ")


def test_a_facade_is_off_when_its_pack_is_off_at_this_home():
    why = PackError("pack.not_installed", distribution="x", version="1")
    asked = gate(pack(B), facades=[facade()], set_aside={B: why})
    assert asked.facades() == ()
    assert why.summary in facade_error(asked, "put_it").details[0]


def test_why_a_facade_is_refused_is_told():
    why = PackError("facade.target_changed", capability="files.put", facade="put_it")
    off = facade(permits=permits(State.NONE), refusals=(why,))
    error = facade_error(gate(pack(B), facades=[off]), "put_it")
    assert error.code == "facade.target_changed"
    assert error is not why


@pytest.mark.skipif(sys.gettrace() is not None, reason="a traced call is no measure")
def test_a_question_costs_a_few_look_ups():
    """Against the cheapest call there is, so that a slow machine is slow on both sides."""
    asked, table = gate(pack(B)), {("files.put", A): 1}

    def look_up(key):
        return table[key]

    def measured(function, *arguments):
        best = 1e9
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(5_000):
                function(*arguments)
            best = min(best, time.perf_counter() - start)
        return best

    cost = measured(asked.check, "files.put", A, "new") / measured(look_up, ("files.put", A))
    assert cost < 12
