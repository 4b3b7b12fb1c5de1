"""Several processes on one home: one owns it, the others ask it over the control socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import struct
from contextlib import contextmanager

import pytest

from awe_core.errors import EngineError, RunError

_WRITE = '  - {id: w, capability: fs.write_text@1, with: {path: "${inputs.path}", text: x}}\n'
_ASK = '  - {id: ask, capability: flow.approve@1, with: {question: "go?"}}\n'
_HOLD = (
    "  - {id: hold, capability: drill.hold@1,"
    ' with: {path: held.txt, text: x, fifo: "${inputs.fifo}"}}\n'
)


@contextmanager
def owned(host, place):
    """Have another process own the home; gives its process id and what lets it go."""
    until = place.fifo("until")
    pid = host.spawn("own", place, until=str(until))
    hold = until.open("w")  # opens once the owner waits at the other end
    try:
        assert [{"role": "owner"}] == host.said(place)
        yield pid, hold
    finally:
        hold.close()
        if pid not in _reaped:
            host.reap(pid)


_reaped: set[int] = set()


def _kill(host, pid):
    os.kill(pid, signal.SIGKILL)
    _reaped.add(pid)
    assert -signal.SIGKILL == host.reap(pid)


def test_a_guest_submits_approves_cancels_lists_and_follows(host, place):
    asks = place.workflow(_ASK + _WRITE.replace("id: w,", "id: w, needs: [ask],"))
    with owned(host, place), place.open() as rt:
        assert "guest" == rt.role
        run = rt.submit(asks, {"path": "a.txt"})
        assert "PAUSED" == run.wait().state
        (asked,) = rt.approvals()
        run.approve(asked.id, asked.digest, asked.version, "fine")
        assert "COMPLETED" == run.wait().state
        assert "x" == (place.work / "a.txt").read_text()
        other = rt.submit(asks, {"path": "b.txt"})
        assert "PAUSED" == other.wait().state
        other.cancel()
        assert "ROLLED_BACK" == other.wait().state
        assert {run.run_id, other.run_id} == {row.run_id for row in rt.runs()}
        kinds = [event.kind for event in run.events()]
        assert ("run.opened", "run.closed") == (kinds[0], kinds[-1])
        with pytest.raises(RunError, match="cancel"):
            run.cancel()


def test_events_of_a_guest_end_with_the_runs_end(host, place):
    fifo = place.fifo("gate")
    with owned(host, place), place.open() as rt:
        run = rt.submit(place.workflow(_HOLD), {"fifo": str(fifo)})
        events = run.events()
        assert "run.opened" == next(events).kind
        fifo.open("w").close()
        assert "run.closed" == [event.kind for event in events][-1]


def test_a_guest_whose_owner_was_killed_hears_it_and_the_next_open_takes_over(host, place):
    fifo = place.fifo("gate")
    with owned(host, place) as (pid, _), place.open() as rt:
        run = rt.submit(place.workflow(_HOLD), {"fifo": str(fifo)})
        with fifo.open("w"):
            _kill(host, pid)
        with pytest.raises(EngineError) as caught:
            run.wait()
        assert caught.value.code in {"engine.owner_gone", "engine.no_owner"}
        with pytest.raises(EngineError) as caught:
            rt.submit_call("fs.read_text", {"path": "a.txt"})
        assert "engine.owner_gone" == caught.value.code
        assert "RUNNING" == run.status().state
    with place.open() as rt:
        assert "owner" == rt.role
        with fifo.open("w"):
            pass
        assert "COMPLETED" == rt.attach(run.run_id).wait().state


def submit_until_refused(rt):
    for _ in range(100):
        rt.submit_call("fs.stat", {"path": "a.txt"}).wait()


def test_a_guest_that_waits_hears_that_the_owner_has_left(host, place):
    with owned(host, place) as (_, hold), place.open() as rt:
        run = rt.submit(place.workflow(_ASK))
        assert "PAUSED" == run.wait().state
        hold.close()
        with pytest.raises(EngineError) as caught:
            submit_until_refused(rt)
        assert caught.value.code in {"engine.owner_gone", "engine.no_owner", "engine.closing"}


def test_an_observer_reads_and_can_ask_for_nothing(host, place):
    asks = place.workflow(_ASK)
    with owned(host, place), place.open() as guest, place.open(observer=True) as rt:
        run = guest.submit(asks)
        assert "PAUSED" == run.wait().state
        assert "observer" == rt.role
        assert ["PAUSED"] == [row.state for row in rt.runs()]
        assert 1 == len(rt.approvals())
        for refused in (
            lambda: rt.submit(asks),
            lambda: rt.attach(run.run_id).cancel(),
            lambda: rt.attach(run.run_id).wait(),
        ):
            with pytest.raises(EngineError) as caught:
                refused()
            assert "engine.observer" == caught.value.code


def test_an_observer_of_a_home_that_nobody_owns_reads(host, place):
    flow = place.workflow(_WRITE)
    host.run("submit", place, workflow=str(flow), inputs=[{"path": "a.txt"}])
    with place.open(observer=True) as rt:
        assert ["COMPLETED"] == [row.state for row in rt.runs()]
        assert "COMPLETED" == rt.attach(rt.runs()[0].run_id).result().state


def test_the_socket_belongs_to_its_user_alone(place):
    with place.open():
        mode = (place.home / "control.sock").stat()
        assert stat.S_ISSOCK(mode.st_mode)
        assert 0o600 == stat.S_IMODE(mode.st_mode)
    assert not (place.home / "control.sock").exists()


@pytest.fixture(scope="module")
def opened(place_of, tmp_path_factory):
    """Give one open runtime to all who try to upset it."""
    place = place_of(tmp_path_factory.mktemp("opened") / "deployment")
    with place.open() as rt:
        yield place, rt


def _frame(body: bytes, *, kind: int = 1, length: int | None = None) -> bytes:
    return struct.pack(">IBI", len(body) if length is None else length, kind, 7) + body


_DEEP = b'{"method":"poke","params":' + b"[" * 500_000 + b"]" * 500_000 + b"}"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(4096),
        _frame(b"", length=0xFFFFFFFF),
        _frame(b"{}", kind=2),
        _frame(b"\xff\xfe"),
        _frame(b"[1]"),
        _frame(b'{"method":"poke","method":"submit"}'),
        _frame(b'{"method":NaN}'),
        _frame(_DEEP),
        _frame(b"{", length=900_000),
    ],
    ids=["http", "noise", "huge", "kind", "no-utf8", "list", "twice", "nan", "deep", "cut-off"],
)
def test_garbage_ends_its_connection_and_nothing_else(opened, sent):
    place, rt = opened
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(place.home / "control.sock"))
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        assert b"" == _all(raw)
    assert "COMPLETED" == rt.run(place.workflow(_WRITE), {"path": "a.txt"}).state


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"method": "settled"},
        {"method": "settled", "params": [1]},
        {"method": "nothing", "params": {}},
        {"method": "submit", "params": {"actor": 5, "call": "fs.stat"}},
        {"method": "submit", "params": {"call": "fs.stat", "inputs": "no table"}},
        {"method": "decide", "params": {"decision": {"request": 1}}},
        {"method": "control", "params": {"run": "x", "verb": "cancel", "actor": None}},
        {"method": {"a": 1}, "params": "x"},
    ],
    ids=lambda asked: json.dumps(asked)[:40],
)
def test_a_question_of_no_known_form_is_answered_with_an_error(opened, asked):
    place, rt = opened
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(str(place.home / "control.sock"))
        raw.sendall(_frame(json.dumps(asked).encode()))
        raw.shutdown(socket.SHUT_WR)
        answer = json.loads(_all(raw)[9:])
    assert {"code", "message"} <= answer["error"].keys()
    assert "COMPLETED" == rt.run(place.workflow(_WRITE), {"path": "a.txt"}).state


def _all(raw: socket.socket) -> bytes:
    found = b""
    with_reset = True
    while with_reset:
        try:
            piece = raw.recv(65536)
        except ConnectionResetError:  # what we sent was not read to its end
            return found
        found += piece
        with_reset = bool(piece)
    return found


def test_what_a_guest_asks_is_bounded_before_it_is_sent(host, place):
    with owned(host, place), place.open() as rt:
        with pytest.raises(EngineError) as caught:
            rt.submit_call("fs.write_text", {"path": "a.txt", "text": "x" * 1_100_000})
        assert "engine.control_frame" == caught.value.code
        assert "COMPLETED" == rt.submit_call("fs.stat", {"path": "a.txt"}).wait().state


def test_many_guests_submit_at_once(host, place):
    flow = str(place.workflow(_WRITE))
    with owned(host, place):
        pids = [
            host.spawn(
                "submit",
                place,
                workflow=flow,
                inputs=[{"path": f"{guest}-{number}.txt"} for number in range(3)],
            )
            for guest in range(4)
        ]
        assert [0] * 4 == [host.reap(pid) for pid in pids]
    said = host.said(place)
    assert 4 == [one.get("role") for one in said].count("guest")
    assert 12 == [one.get("state") for one in said].count("COMPLETED")
    assert 12 == len(place.tree())
    assert "verified" == place.proof().verdict


def test_one_key_names_one_run_whoever_submits_it_at_once(host, place):
    flow = place.workflow(_WRITE)

    async def submit(count: int):
        async with place.open() as rt:
            asked = [
                rt.submit(flow, {"path": "a.txt"}, idempotency_key="rel-7") for _ in range(count)
            ]
            runs = await asyncio.gather(*asked)
            return {run.run_id for run in runs}, [(await run.wait()).state for run in runs]

    with owned(host, place):
        runs, states = asyncio.run(submit(1))
        assert 1 == len(runs)
        with place.open() as rt:
            same = rt.submit(flow, {"path": "a.txt"}, idempotency_key="rel-7")
            assert runs == {same.run_id}
            with pytest.raises(RunError) as caught:
                rt.submit(flow, {"path": "b.txt"}, idempotency_key="rel-7")
            assert "run.idempotency_conflict" == caught.value.code
    assert ["COMPLETED"] == states


def test_one_key_submitted_several_times_before_any_is_durable_names_one_run(place):
    flow = place.workflow(_WRITE)

    async def submit():
        async with place.open() as rt:
            asked = [rt.submit(flow, {"path": "a.txt"}, idempotency_key="k") for _ in range(4)]
            runs = await asyncio.gather(*asked)
            states = [(await run.wait()).state for run in runs]
            other = await asyncio.gather(
                rt.submit(flow, {"path": "b.txt"}, idempotency_key="l"),
                rt.submit(flow, {"path": "c.txt"}, idempotency_key="l"),
                return_exceptions=True,
            )
            return {run.run_id for run in runs}, states, other

    runs, states, (first, second) = asyncio.run(submit())
    assert (1, ["COMPLETED"] * 4) == (len(runs), states)
    assert "run.idempotency_conflict" == second.code
    assert first.run_id not in runs
    with place.open(observer=True) as rt:
        assert 2 == len(rt.runs())


def test_a_guest_hears_the_owners_refusal_in_its_own_words(host, place):
    with owned(host, place), place.open() as rt:
        run = rt.submit(place.workflow(_WRITE), {"path": "a.txt"})
        run.wait()
        with pytest.raises(RunError) as caught:
            run.resume()
    assert f"run {run.run_id} is COMPLETED" in str(caught.value)
