"""The commands on a real deployment: what they do, what they print, how they end."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from awe_core.cli import run
from awe_core.documents import load_deployment
from awe_core.errors import AccessError
from awe_core.packs import discover, rebuild_wheel
from awe_core.runtime import Runtime
from awe_core.testing import Deployment, me

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Awe = Callable[..., Any]

WORKFLOW = """\
awe: workflow/v1
id: notes
version: 1.0.0
summary: Write a note.
inputs:
  type: object
  required: [text]
  properties: {text: {type: string}, fails: {type: boolean, default: false}}
  additionalProperties: false
steps:
  - {id: write, capability: fs.write_text@1, with: {path: note.txt, text: "${inputs.text}"}}
  - id: fail
    capability: flow.fail@1
    when: "${inputs.fails}"
    needs: [write]
    with: {message: it must}
"""
SLEEPING = """\
awe: workflow/v1
id: sleeping
version: 1.0.0
summary: Sleep.
steps:
  - {id: sleep, capability: time.sleep@1, with: {seconds: 1}}
"""
PROGRAM = "from awe_core.__main__ import main; main()"


@pytest.fixture(scope="module")
def founded(tmp_path_factory) -> Deployment:
    folder = tmp_path_factory.mktemp("founded")
    with Deployment.create(folder, ["awe-pack-stdlib"], people=(me(),)) as place:
        yield place


@pytest.fixture
def place(founded, tmp_path, monkeypatch) -> Iterator[Deployment]:
    here = founded.copy(tmp_path / "here")
    monkeypatch.chdir(here.root)
    (here.root / "notes.yaml").write_text(WORKFLOW, encoding="utf-8")
    (here.root / "sleeping.yaml").write_text(SLEEPING, encoding="utf-8")
    yield here
    here.close()


@pytest.fixture
def awe(place, capsys) -> Awe:  # noqa: ARG001 - commands find the deployment in the folder
    """Run a command with ``--json``, check its exit code, give its data or its error."""

    def call(*words: str, expect: int = 0) -> Any:
        code = run([*words, "--json"])
        printed = capsys.readouterr().out
        assert expect == code, printed
        document = json.loads(printed)
        assert document["ok"] is (code == 0)
        return document.get("data", document.get("error"))

    return call


def spoken(capsys, *words: str) -> tuple[int, str, str]:
    code = run(words)
    return (code, *capsys.readouterr())


# ----------------------------------------------------------------------------------- runs and calls


def test_a_call_prints_its_output_and_its_progress_beside_it(place, capsys):
    code, out, err = spoken(capsys, "call", "fs.write_text", "path=a.txt", "text=hello")
    assert 0 == code
    assert "COMPLETED" in out
    assert '"bytes": 5' in out
    assert "call  completed in" in err
    assert "hello" == (place.workspace / "a.txt").read_text(encoding="utf-8")


def test_a_run_ends_by_the_table_of_exit_codes_and_can_be_taken_back(place, awe):
    done = awe("run", "notes.yaml", "text=hi")
    note = place.workspace / "note.txt"
    assert ("COMPLETED", "hi") == (done["state"], note.read_text(encoding="utf-8"))
    failed = awe("run", "notes.yaml", "text=other", "fails=true", expect=4)
    assert ("ROLLED_BACK", "flow_failed") == (failed["state"], failed["error"]["code"])
    assert "hi" == note.read_text(encoding="utf-8")
    assert "ROLLED_BACK" == awe("undo", done["run"][:6])["state"]
    assert not note.exists()
    illegal = awe("runs", "rollback", done["run"], expect=8)
    assert "run.illegal_state" == illegal["code"]
    listed = awe("runs", "list", "--state", "rolled_back")
    assert {done["run"], failed["run"]} == {row["run_id"] for row in listed}


def test_a_run_is_shown_whole_for_people(awe, capsys):
    done = awe("run", "notes.yaml", "text=hi")
    code, out, _ = spoken(capsys, "runs", "show", done["run"])
    assert 0 == code
    for part in ("COMPLETED", "fs.write_text@1", "note.txt", "APPLIED", "rollback"):
        assert part in out
    assert [] == awe("runs", "show", done["run"], "--residue")
    assert "error[run.unknown]" in spoken(capsys, "runs", "show", "nothing")[2]


def test_watching_a_closed_run_gives_its_records_a_document_a_line(awe, capsys):
    done = awe("run", "notes.yaml", "text=hi")
    assert 0 == run(["runs", "watch", done["run"], "--json"])
    kinds = [json.loads(line)["data"]["kind"] for line in capsys.readouterr().out.splitlines()]
    assert ("run.opened", "run.closed") == (kinds[0], kinds[-1])
    assert "write  completed in" in spoken(capsys, "runs", "watch", done["run"])[1]


def test_one_idempotency_key_is_one_run(awe):
    words = ("run", "notes.yaml", "text=hi", "--idempotency-key", "k1")
    assert awe(*words)["run"] == awe(*words)["run"]
    other = awe("run", "notes.yaml", "text=ho", "--idempotency-key", "k1", expect=8)
    assert "run.idempotency_conflict" == other["code"]


def test_a_run_is_detached_only_where_somebody_else_drives_it(place, awe):
    assert "cli.detached" == awe("run", "notes.yaml", "text=x", "--detach", expect=9)["code"]
    with Runtime.open(place.config) as owner:
        left = awe("run", "notes.yaml", "text=x", "--detach")
        assert owner.attach(left["run"]).wait(timeout=20).is_completed


def test_waiting_has_an_end_and_the_run_goes_on(place, awe):
    with Runtime.open(place.config) as owner:
        late = awe("run", "sleeping.yaml", "--wait", "10ms", expect=9)
        assert "run.still_running" == late["code"]
        (row,) = owner.runs()
        assert owner.attach(row.run_id).wait(timeout=20).is_completed


def test_what_does_not_exist_is_named_with_what_does(awe):
    unknown = awe("call", "fs.raed_text", "path=a", expect=8)
    assert "fs.read_text" in unknown["details"][0]
    assert "workflow.unknown" == awe("run", "nothing", expect=8)["code"]


# ------------------------------------------------------------------------------------ the handshake


def waiting(awe: Awe, place: Deployment) -> dict[str, Any]:
    (place.workspace / "old.txt").write_text("old", encoding="utf-8")
    paused = awe("call", "fs.delete", "path=old.txt", expect=6)
    assert "PAUSED" == paused["state"]
    return awe("approvals", "show", paused["waiting"][0])


def test_an_approval_names_the_call_and_the_run_goes_on(place, awe, capsys):
    asked = waiting(awe, place)
    assert [asked["id"]] == [each["id"] for each in awe("approvals", "list")]
    shown = spoken(capsys, "approvals", "show", asked["id"])[1]
    for part in ("fs.delete (1): old.txt", asked["digest"], asked["requester"], "captured"):
        assert part in shown
    assert "cli.digest_needed" == awe("approve", asked["id"], expect=2)["code"]
    other = awe("approve", asked["id"], "--digest", "sha256:00", expect=8)
    assert "cli.digest_differs" == other["code"]
    assert (place.workspace / "old.txt").exists()
    done = awe("approve", asked["id"], "--digest", asked["digest"], "--reason", "it is old")
    assert "COMPLETED" == done["state"]
    assert not (place.workspace / "old.txt").exists()
    assert [] == awe("approvals", "list")


def test_a_denial_ends_the_step_and_nothing_was_done(place, awe):
    asked = waiting(awe, place)
    assert "ROLLED_BACK" == awe("deny", asked["id"], "--reason", "keep it")["state"]
    assert (place.workspace / "old.txt").exists()


def test_an_agent_decides_nothing(place, awe):
    asked = waiting(awe, place)
    digest = ("--digest", asked["digest"])
    refused = awe("approve", asked["id"], *digest, "--as", "agent:helper", expect=3)
    assert "handshake.not_eligible" == refused["code"]
    assert (place.workspace / "old.txt").exists()


# ------------------------------------------------------------------------------------ at a terminal


def typed(words: Sequence[str], script: Sequence[tuple[str, str]]) -> tuple[int, str]:
    """Run a command at a terminal of its own; when a text appears, type the next."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite in the background ignores it
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, *words])  # noqa: S606
    shown, waits = b"", list(script)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                read = os.read(terminal, 65536)
            except OSError:
                break
            shown += read
        elif waits and waits[0][0].encode() in shown:  # it is quiet: the question stands there
            os.write(terminal, waits.pop(0)[1].encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def test_a_grave_call_takes_six_characters_of_its_digest_at_the_terminal(place, awe):
    asked = waiting(awe, place)
    question = "characters of the digest:"
    code, shown = typed(["approve", asked["id"]], [(question, "y\n")])
    assert 3 == code
    assert "cli.declined" in shown
    assert asked["digest"] in shown
    first = asked["digest"].removeprefix("sha256:")[:6]
    assert 0 == typed(["approve", asked["id"]], [(question, f"{first}\n")])[0]
    assert not (place.workspace / "old.txt").exists()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\x04", 4), ("\x03", 4)])
def test_the_policy_console_asks_in_the_foreground_and_no_is_the_default(place, answer, code):
    place.configure("confirm: [{policy: console}]\n")
    words = ["call", "fs.write_text", "path=a.txt", "text=x"]
    ended, shown = typed(words, [("approve? [y/N]", answer)])
    assert code == ended, shown
    assert (code == 0) is (place.workspace / "a.txt").exists()


@pytest.mark.parametrize(("answer", "code"), [("c\n", 5), ("r\n", 4), ("\x03", 130)])
def test_ctrl_c_asks_once_what_shall_become_of_the_run(place, awe, answer, code):  # noqa: ARG001
    script = [("run  ", "\x03"), ("[L/c/r]", answer)]
    ended, shown = typed(["call", "time.sleep", "seconds=1"], script)
    assert code == ended, shown
    (row,) = awe("runs", "list")
    assert {4: "ROLLED_BACK", 5: "FAILED", 130: "RUNNING"}[code] == row["state"]


def test_a_terminal_gets_tables_whose_ids_can_be_copied(place, awe):  # noqa: ARG001
    done = awe("run", "notes.yaml", "text=hi")
    code, shown = typed(["runs", "list"], [])
    assert 0 == code
    assert done["run"] in shown
    assert "\x1b[" in shown
    assert "\x1b[" not in typed(["runs", "list", "--color", "never"], [])[1]


# --------------------------------------------------------------------------------------- governance


def test_a_deployment_is_founded_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert 0 == run(["init", "--name", "fresh", "--person", me(), "--person", "lin", "--json"])
    made = json.loads(capsys.readouterr().out)["data"]
    assert ("fresh", "dev-local", [me(), "lin"]) == (made["name"], made["trust"], made["people"])
    assert 8 == run(["init"])
    assert "fresh" == load_deployment((tmp_path / "awe.yaml").read_bytes(), file="x").name
    assert "error[cli.exists]" in capsys.readouterr().err
    assert 0 == run(["status"])
    assert "dev-local" in capsys.readouterr().out
    assert 0 == run(["trust", "key", "--as", "ana", "--json"])
    assert json.loads(capsys.readouterr().out)["data"]["file"].endswith("ana.pem")


def test_a_name_that_cannot_be_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert 2 == run(["init", "--name", 'a" b: {c'])
    assert "error[document." in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())


def test_a_pack_goes_from_proposal_to_revocation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def awe(*words: str, expect: int = 0) -> Any:
        assert expect == run([*words, "--json"]), capsys.readouterr()
        found = json.loads(capsys.readouterr().out)
        return found.get("data", found.get("error"))

    awe("init", "--person", me(), "--person", "lin", "--person", "kim")
    (found,) = (each for each in discover() if each.name == "awe-pack-stdlib")
    wheel = str(rebuild_wheel(found, tmp_path / "wheels"))
    assert "stdlib" == awe("packs", "inspect", wheel)["name"]
    (subject,) = awe("packs", "propose", wheel, "--reason", "files")
    say = ("--reason", "read it", "--digest", subject["digest"])
    own = awe("packs", "approve", "stdlib", "--role", "reviewer", *say, expect=3)
    assert "pack.self_approval" == own["code"]
    assert 2 == run(["packs", "approve", "stdlib", "--role", "reviewer", "--reason", "x", "--json"])
    capsys.readouterr()
    awe("packs", "approve", "stdlib", "--role", "reviewer", *say, "--as", "lin")
    asked = awe("packs", "approve", "stdlib", "--role", "security", *say, "--as", "kim")
    assert "APPROVED" == asked["state"]
    assert not awe("packs", "activate", "stdlib", "--digest", subject["digest"])["is_pending"]
    assert ["ACTIVE"] == [each["state"] for each in awe("packs", "list")]
    assert "text" == awe("call", "text.template", "template=text", "values:={}")["output"]["text"]
    stop = ("packs", "suspend", "stdlib", "--reason", "look", "--as", "lin")
    assert "SUSPENDED" == awe(*stop)["state"]
    assert 3 == run(["call", "text.template", "template=x", "values:={}"])
    capsys.readouterr()
    assert "REVOKED" == awe("packs", "revoke", "stdlib", "--reason", "bad", "--as", "kim")["state"]
    said = awe("packs", "show", subject["digest"])["statements"]
    assert {"propose", "approve", "suspend", "revoke"} == {each["decision"] for each in said}


def test_a_facade_of_the_deployment_s_own_is_governed_alike(place, awe):
    (place.root / "reader.yaml").write_text(
        "awe: facade/v1\nid: reader\nsummary: Read a text.\n"
        "exposes: {capability: fs.read_text@1}\nchannels: [cli]\n",
        encoding="utf-8",
    )
    (subject,) = awe("facades", "propose", "reader.yaml", "--reason", "reading")
    sign = ("--digest", subject["digest"])
    awe("facades", "approve", "reader", "--role", "reviewer", *sign, "--reason", "small")
    awe("facades", "activate", "reader", *sign)
    assert ["reader"] == [each["title"].partition("@")[0] for each in awe("facades", "list")]
    (place.workspace / "a.txt").write_text("hello", encoding="utf-8")
    assert "hello" == awe("run", "reader", "path=a.txt")["output"]["text"]
    assert "stdlib@0.1.0" in [each["title"] for each in awe("packs", "list")]


def test_the_root_and_what_is_installed_can_be_looked_at(awe):
    assert {"release", "security"} <= {role["role"] for role in awe("trust", "show")["roles"]}
    assert ["as approved"] == [each["why"] for each in awe("verify", "--deep", "--store")]
    assert any(c["id"] == "fs.read_text@1.0.0" for c in awe("capabilities", "list"))
    assert "fs.read" in awe("capabilities", "show", "fs.read_text")["effects"]
    assert [] == awe("workflows", "list")
    assert 2 == awe("trust", "renew")["is_pending"] + 2


def test_a_workflow_is_checked_without_running_anything(place, awe, capsys):
    assert "saga.undo_coverage" in [
        found["code"] for found in awe("workflows", "check", "notes.yaml")
    ]
    (place.root / "bad.yaml").write_text(WORKFLOW.replace("inputs.text", "inputs.txet"))
    code, out, _ = spoken(capsys, "workflows", "check", "bad.yaml")
    assert 7 == code
    assert "bad.yaml:" in out
    assert "write --> fail" in spoken(capsys, "workflows", "graph", "notes.yaml")[1]
    assert [] == awe("runs", "list") if place.home.joinpath("journal.db").exists() else True


def test_a_warning_fails_a_strict_check_unless_it_is_accepted_with_a_reason(place, awe):
    steps = "".join(
        f"  - {{id: {name}, capability: fs.write_text@1, with: {{path: x, text: {name}}}ACCEPT}}\n"
        for name in ("one", "two")
    )
    text = f"awe: workflow/v1\nid: race\nversion: 1.0.0\nsummary: A race.\nsteps:\n{steps}"
    check = ("workflows", "check", "race.yaml")
    (place.root / "race.yaml").write_text(text.replace("ACCEPT", ""))
    assert "saga.race" in [one["code"] for one in awe(*check)]
    assert "saga.race" in [one["code"] for one in awe(*check, "--strict", expect=7)]
    accept = ', accept: {saga.race: "the last one may win"}'
    (place.root / "race.yaml").write_text(text.replace("ACCEPT", accept))
    accepted = {one["code"]: one.get("accepted") for one in awe(*check, "--strict")}
    assert "the last one may win" == accepted["saga.race"]


# ------------------------------------------------------------------------------------------ the log


def test_the_log_is_shown_exported_and_proved(place, awe, capsys):
    done = awe("run", "notes.yaml", "text=hi")
    kinds = spoken(capsys, "audit", "show", "--run", done["run"], "--kind", "step.*")[1]
    assert ["step.started", "step.completed"] == [
        line.split("  ")[2] for line in kinds.splitlines() if "write" in line
    ]
    assert "log.opened" == awe("audit", "show", "0")["kind"]
    assert "audit.no_records" == awe("audit", "show", "99999", expect=8)["code"]
    assert "verified" == awe("audit", "verify", "--payloads")[0]["verdict"]
    (place.root / "pins").write_text(awe("audit", "key")["vkey"], encoding="utf-8")
    assert awe("audit", "export", "log", "--bundle")["is_recorded"]
    assert 9 == run(["audit", "verify", "log.awelog"])
    assert "verified" in spoken(capsys, "audit", "verify", "log.awelog", "--key", "pins")[1]
    forged = (place.root / "log.awelog").read_bytes().replace(b'"run.closed"', b'"run.clozed"', 1)
    (place.root / "forged.awelog").write_bytes(forged)
    code, out, _ = spoken(capsys, "audit", "verify", "forged.awelog", "--key", "pins")
    assert 7 == code
    assert "error[audit." in out
    assert [] == awe("audit", "sinks")


def test_a_run_with_a_log_of_its_own_is_shown_exported_and_proved(place, awe, capsys):
    (place.root / "notes.yaml").write_text(WORKFLOW, encoding="utf-8")
    with place.config.open("a", encoding="utf-8") as settings:
        settings.write("engine: {isolation: run}\n")
    run_id = awe("run", "notes.yaml", "text=hi")["run"]
    assert "COMPLETED" == awe("runs", "show", run_id)["state"]
    kinds = spoken(capsys, "audit", "show", "--run", run_id)[1]
    assert "step.completed" in kinds
    assert "step.completed" not in spoken(capsys, "audit", "show")[1]
    (report,) = awe("audit", "verify", "--payloads")
    assert ("verified", 1) == (report["verdict"], report["logs"])
    assert "logs of runs beside it: 1" in spoken(capsys, "audit", "verify")[1]
    origin, _, public = awe("audit", "key")["vkey"].split("+", 2)
    pins = place.root / "pins"
    pins.write_text(f"{origin.rpartition('/')[0]}/* {public}", encoding="utf-8")
    found = awe("audit", "export", "one", "--run", run_id, "--bundle")
    assert ("run", True) == (found["form"], found["is_recorded"])
    assert "audit.exported" in spoken(capsys, "audit", "show")[1]  # by the workspace
    assert "verified" in spoken(capsys, "audit", "verify", "one.awelog", "--key", str(pins))[1]
    (file,) = place.home.glob("logs/*/journal.db")
    file.write_bytes(b"garbage")
    code, out, _ = spoken(capsys, "audit", "verify")
    assert 7 == code
    assert f"error[audit.log_lost]: the log of run {run_id} in {file.parent}" in out


def test_a_reader_that_stops_reading_is_no_fault(place, awe):  # noqa: ARG001
    awe("run", "notes.yaml", "text=hi")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", PROGRAM, "audit", "show"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, env=environ, check=False
    )
    os.close(writing)
    assert (141, b"") == (ended.returncode, ended.stderr)


def test_an_export_beside_the_owner_says_that_it_is_not_recorded(place, awe):
    awe("run", "notes.yaml", "text=hi")
    with Runtime.open(place.config):
        assert not awe("audit", "export", "log")["is_recorded"]


def test_a_range_is_two_numbers(awe):
    awe("run", "notes.yaml", "text=hi")
    assert "cli.argument" == awe("audit", "show", "--range", "x", expect=2)["code"]


# ----------------------------------------------------------------------------------- the deployment


def test_status_doctor_and_settings(awe, capsys):
    awe("run", "notes.yaml", "text=hi")
    found = awe("status")
    assert ("demo", [["COMPLETED", 1]]) == (found["deployment"], found["runs"])
    assert "red" not in {check["level"] for check in awe("doctor", "disk", "keys")}
    assert "awe.yaml:2:7" in {s["origin"] for s in awe("config", "show") if s["key"] == "name"}
    assert awe("config", "check")["file"].endswith("awe.yaml")
    assert "deployment/v1" in json.dumps(awe("config", "schema"))
    assert "_AWE_COMPLETE" in spoken(capsys, "completion", "bash")[1]


def test_bad_settings_are_2_with_their_place(place, capsys):
    place.configure("engine: {durabilty: full}\n")
    code, _, err = spoken(capsys, "config", "check")
    assert 2 == code
    assert "awe.yaml:6:10" in err


def test_a_fault_of_ours_is_1_one_line_and_a_report_file_in_the_home(place, capsys):
    run(["call", "time.now"])
    capsys.readouterr()
    fault = ("audit", "show", "--kind", "\ud800")  # what no database takes
    code, out, err = spoken(capsys, *fault)
    assert (1, "") == (code, out)
    (report,) = place.home.glob("report-*.txt")
    assert "UnicodeEncodeError" in report.read_text(encoding="utf-8")
    assert 0o600 == report.stat().st_mode & 0o777
    assert str(report) in err
    assert "Traceback" not in err
    assert "Traceback" in spoken(capsys, *fault, "--debug")[2]


def test_what_the_machine_does_not_give_is_9_and_no_fault_of_ours(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = spoken(capsys, "init", "--home", "/proc/nowhere")
    assert 9 == code
    assert "error[cli.file]: /proc/nowhere cannot be used" in err
    code, _, err = spoken(capsys, "call", "time.now", "--home", "/proc/nowhere")
    assert 9 == code
    assert "error[journal.unwritable]" in err


def test_a_doctor_can_look_at_a_log_that_nobody_can_read(place, awe, capsys):
    awe("call", "time.now")
    (place.home / "journal.db").write_bytes(b"garbage")
    assert "journal.unreadable" == awe("status", expect=9)["code"]
    code, out, _ = spoken(capsys, "doctor", "journal", "clock")
    assert 7 == code
    assert "cannot be read" in out
    assert "not known" in out


@pytest.mark.parametrize(
    "words",
    [
        *(["run", "notes.yaml", "--wait", text] for text in ("soon", "-5s", "")),
        ["audit", "show", "--since", "yesterday"],
        ["audit", "show", "9" * 30],
        ["runs", "list", "--limit", "0"],
        ["status", "--as", "agent:"],
    ],
)
def test_numbers_durations_and_names_that_are_none_are_bad_usage(awe, words):
    assert "cli.usage" == awe(*words, expect=2)["code"]


def test_a_facade_into_a_pack_that_is_off_says_why_that_is_off(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "awe_pack_stdlib", type(sys)("awe_pack_stdlib"))
    with pytest.raises(AccessError) as caught:
        place.propose("awe-pack-load-test")
    assert "facade.unknown_target" == caught.value.code
    assert "awe-pack-stdlib is off: " in caught.value.details[0]


def test_what_a_rollback_would_do_is_shown_and_not_done(place, awe, capsys):
    done = awe("run", "notes.yaml", "text=hi")
    would = awe("runs", "rollback", done["run"], "--dry-run")
    assert ["note.txt"] == [item["target"] for item in would["undo"]]
    assert would == awe("undo", done["run"], "--dry-run")
    assert 0 == run(["runs", "retry", done["run"], "--from", "write", "--dry-run"])
    said = capsys.readouterr().out
    assert "takes back\n  1. fs.write note.txt (step write)\nruns anew\n  write\n" in said
    assert (place.workspace / "note.txt").exists()
    assert "COMPLETED" == awe("runs", "show", done["run"])["state"]


def test_what_a_retry_would_do_twice_needs_a_reason(place, awe):
    done = awe("run", "notes.yaml", "text=hi")
    note = place.workspace / "note.txt"
    note.write_text("theirs")
    assert "FAILED" == awe("undo", done["run"], expect=5)["state"]
    again = ("runs", "retry", done["run"], "--from", "write")
    would = awe(*again, "--dry-run")
    assert ["note.txt"] == [item["target"] for item in would["twice"]]
    refused = awe(*again, expect=8)
    assert ("run.repeats", ["fs.write note.txt (step write)"]) == (
        refused["code"],
        refused["details"],
    )
    assert "theirs" == note.read_text()
    assert "COMPLETED" == awe(*again, "--reason", "theirs was a mistake")["state"]
    assert "hi" == note.read_text()


@pytest.mark.parametrize(("more", "heard"), [([], ""), (["--debug"], "a step is slow\n")])
def test_warnings_are_heard_with_debug(more, heard):
    code = (
        "import sys; from awe_core.cli import run; from awe_core.invoke import inprocess;"
        "run(['version', *sys.argv[1:]]); inprocess._LOG.warning('a step is slow')"
    )
    ended = subprocess.run([sys.executable, "-c", code, *more], capture_output=True, check=True)
    assert heard == ended.stderr.decode()


def alone(*words: str) -> tuple[str, str]:
    """Run a command that founds a deployment of its own, in a process that has loaded no pack."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, *words]
    ended = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert 0 == ended.returncode, ended
    return ended.stdout, ended.stderr


def test_the_demo_tells_its_story():
    assert 7 < len(json.loads(alone("demo", "--json")[0])["data"]["claims"])


def test_bench_torments_and_says_what_came_of_it(tmp_path):
    page = tmp_path / "page.html"
    said, beside = alone("bench", "chaos", "--runs", "2", "--seed", "7", "--html", str(page))
    assert "rolled back" in said
    assert "verifying the log" in beside
    assert "seed 7" in page.read_text()


@pytest.mark.parametrize("isolation", ["workspace", "session", "run"])
def test_bench_measures_a_load_and_shows_it(tmp_path, isolation):
    page = tmp_path / "page.html"
    words = ["bench", "load", "--runs", "2", "--isolation", isolation, "--html", str(page)]
    said = json.loads(alone(*words, "--json")[0])["data"]
    assert isolation == said["isolation"]
    assert 0 < said["modes"][0]["barriers"]
    assert said["modes"][0]["records"] == {"workspace": 14, "session": 16, "run": 17}[isolation]
    assert all(mode["cpu_parts"] for mode in said["modes"])
    assert "</svg>" in page.read_text()


def test_ctrl_c_while_the_program_still_imports_says_nothing_and_ends():
    code = (
        "import os, signal, sys\n"
        "from awe_core import __main__ as program\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'awe_core.cli':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "program.main()\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (-signal.SIGINT, b"", b"") == (found.returncode, found.stdout, found.stderr)
