"""A production deployment from an empty folder to a lost key, by the commands alone."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from awe_core.cli import run
from awe_core.journal import JournalReader
from awe_core.packs import discover, rebuild_wheel
from awe_core.signing import generate

if TYPE_CHECKING:
    from pathlib import Path

ROLES = {
    "alice": ["root", "release", "proposer"],
    "bob": ["root", "reviewer", "operator"],
    "carol": ["root", "security"],
}
CALL = ("call", "text.template", "template=hi", "values:={}")


class Firm:
    """Three people at one folder, and the commands they type."""

    def __init__(self, folder: Path, capsys: Any) -> None:
        self.folder = folder
        self._capsys = capsys

    def awe(self, *words: str, expect: int = 0) -> Any:
        code = run([*words, "--json"])
        printed = self._capsys.readouterr().out
        assert expect == code, printed
        document = json.loads(printed)
        return document.get("data", document.get("error"))

    def edit(self, change: Any) -> str:
        """Change root.yaml as a person would; gives the digest that everybody signs then."""
        yaml, file = YAML(typ="safe", pure=True), self.folder / "root.yaml"
        root = yaml.load(file)
        change(root)
        with file.open("w") as out:
            yaml.dump(root, out)
        return self.awe("trust", "rotate")["digest"]

    def key(self, name: str, roles: list[str]) -> list[dict[str, Any]]:
        public = self.awe("trust", "key", "--as", name)
        return [{"key": f"{public['scheme']}:{public['public']}", "roles": roles}]

    def found(self, roles: dict[str, list[str]] = ROLES, name: str = "acme-prod") -> str:
        self.awe("init", "--prod", "--name", name)
        keys = {who: self.key(who, held) for who, held in roles.items()}

        def filled_in(root: Any) -> None:
            root["people"] = keys
            root["policy"]["inproc"].append("awe-pack-load-test")

        pin = self.edit(filled_in)
        self.sign("root.yaml", pin, "alice", "bob")
        self.awe("trust", "repin", "--reason", "founded", "--digest", pin)
        return pin

    def sign(self, file: str, digest: str, *people: str) -> None:
        for last, who in zip((False, True), people, strict=True):
            done = self.awe(
                *("trust", "sign", file, "--digest", digest, "--as", who), expect=0 if last else 6
            )
            assert done["is_pending"] is not last
            file = done["file"]

    def activate(self) -> str:
        (stdlib,) = (one for one in discover() if one.name == "awe-pack-stdlib")
        wheel = str(rebuild_wheel(stdlib, self.folder / "wheels"))
        (subject,) = self.awe("packs", "propose", wheel, "--reason", "files", "--as", "alice")
        self.approve(subject["digest"], "bob", "reviewer")
        self.approve(subject["digest"], "carol", "security")
        self.awe("packs", "activate", "stdlib", "--digest", subject["digest"], "--as", "alice")
        return str(subject["digest"])

    def approve(self, digest: str, who: str, role: str) -> None:
        by = ("--role", role, "--reason", "read it", "--digest", digest, "--as", who)
        self.awe("packs", "approve", digest, *by)


@pytest.fixture
def firm(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "acme"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("AWE_KEY_PASSPHRASE", "correct horse")
    yield Firm(folder, capsys)
    for name in [one for one in sys.modules if one.startswith("awe_pack_")]:
        del sys.modules[name]  # another deployment has the same pack by another record


def test_nothing_runs_before_enough_people_have_signed_the_root(firm):
    firm.awe("init", "--prod", "--name", "acme-prod")
    assert "trust.not_pinned" == firm.awe("trust", "show", expect=3)["code"]
    assert "trust.not_pinned" == firm.awe(*CALL, expect=3)["code"]
    error = firm.awe("trust", "rotate", expect=3)
    assert ("trust.root_threshold", 3) == (error["code"], 3)
    keys = {name: firm.key(name, roles) for name, roles in ROLES.items()}
    pin = firm.edit(lambda root: root.update(people=keys))
    signed = ("trust", "sign", "root.yaml", "--digest", pin, "--as", "alice")
    first = firm.awe(*signed, expect=6)["file"]
    again = firm.awe("trust", "repin", "--reason", "x", "--digest", pin, expect=3)
    assert "store.missing" == again["code"]
    stranger = ("trust", "sign", first, "--digest", pin, "--as", "mallory")
    firm.awe("trust", "key", "--as", "mallory")
    assert "signer.not_in_role" == firm.awe(*stranger, expect=3)["code"]
    assert "trust.not_pinned" == firm.awe(*CALL, expect=3)["code"]


def test_three_people_found_a_deployment_and_activate_a_pack(firm):
    pin = firm.found()
    shown = firm.awe("trust", "show")
    assert ("prod", pin, []) == (shown["environment"], shown["pin"], shown["waiting"])
    digest = firm.activate()
    assert "hi" == firm.awe(*CALL)["output"]["text"]
    assert "prod" == firm.awe("status")["trust"]
    assert ["as approved"] == [one["why"] for one in firm.awe("verify", "--deep", "--store")]
    beside = sorted(path.name for path in firm.folder.glob("governance/packs/*/*/*"))
    assert ["proposal.yaml", f"record-{digest}.json"] == beside[:2]
    assert beside[2].startswith("report-")
    history = firm.awe("trust", "show", "--history")
    assert [["alice", "bob"], ["alice"]] == [one["signed_by"] for one in history]


def test_who_approves_a_pack_is_told_of_the_facades_it_brings(firm, wheels):
    firm.found()
    firm.activate()
    wheel = str(next(wheels.glob("awe_pack_load_test-*.whl")))
    proposed = firm.awe("packs", "propose", wheel, "--reason", "load", "--as", "alice")
    pack, *brought = proposed
    by = ("--reason", "read it", "--digest", pack["digest"])
    role = ("--role", "reviewer", "--as", "bob")
    commands = firm.awe("packs", "approve", pack["digest"], *by, *role)["facades"]
    firm.approve(pack["digest"], "carol", "security")
    for facade, command in zip(brought, commands, strict=True):
        assert command.startswith(f"awe facades approve {facade['title']} --role reviewer")
        sure = ("--digest", facade["digest"], "--as", "bob")
        firm.awe(*command.replace(" T", " read").split()[1:], *sure)
    firm.awe("packs", "activate", pack["digest"], "--digest", pack["digest"], "--as", "alice")
    assert {"ACTIVE"} == {one["state"] for one in firm.awe("facades", "list")}


def test_a_key_that_only_its_mode_protects_signs_nothing_here(firm, monkeypatch):
    firm.found()
    naked = firm.folder / "naked.pem"
    generate(naked, passphrase=None)
    refused = firm.awe("trust", "renew", "--signer", f"file:{naked}", expect=3)
    assert "signer.unencrypted" == refused["code"]
    held = firm.folder / ".awe" / "keys" / "people" / "alice.pem"
    held = held.rename(firm.folder / "elsewhere.pem")
    assert not firm.awe("trust", "renew", "--signer", f"file:{held}")["is_pending"]
    monkeypatch.setenv("AWE_SIGNER", str(held))
    assert not firm.awe("trust", "renew")["is_pending"]
    monkeypatch.delenv("AWE_KEY_PASSPHRASE")
    assert "signer.unavailable" == firm.awe("trust", "renew", expect=9)["code"]
    monkeypatch.delenv("AWE_SIGNER")
    assert "signer.unencrypted" == firm.awe("trust", "key", "--as", "dan", expect=3)["code"]


def test_what_decides_beside_the_root_is_pinned_by_the_manifest(firm):
    firm.found()
    firm.activate()
    with (firm.folder / "people.yaml").open("a") as out:
        out.write("# a line more\n")
    assert "trust.document" == firm.awe(*CALL, expect=3)["code"]
    firm.awe("trust", "renew", "--as", "alice")
    assert "hi" == firm.awe(*CALL)["output"]["text"]


def test_a_stolen_key_is_rotated_out_and_its_approvals_with_it(firm):
    firm.found()
    digest = firm.activate()
    assert (
        "trust.root_version" == firm.awe("trust", "rotate", expect=3)["code"]
    )  # the draft of root 1
    (firm.folder / "root.yaml").unlink()
    firm.awe("trust", "rotate")

    def without_bob(root: Any) -> None:
        del root["people"]["bob"]
        root["people"]["carol"][0]["roles"] += ["reviewer", "operator"]

    with pytest.raises(AssertionError, match="write retired"):
        firm.edit(without_bob)
    changed = firm.edit(lambda root: root.update(retired={"bob": "compromised"}))
    (loss,) = firm.awe("trust", "rotate")["loses_its_approvals"]
    assert "stdlib@0.1.0 would lose its approvals" in loss
    firm.sign("root.yaml", changed, "alice", "carol")
    assert "trust.root_mismatch" == firm.awe(*CALL, expect=3)["code"]
    (refused,) = firm.awe("trust", "renew", "--as", "alice")["refused"]
    assert "0 of 1 from role reviewer" in refused
    assert "pack.approvals_missing" == firm.awe(*CALL, expect=3)["code"]
    dan = firm.key("dan", ["reviewer"])
    (firm.folder / "root.yaml").unlink()
    firm.awe("trust", "rotate")
    changed = firm.edit(lambda root: root["people"].update(dan=dan))
    firm.sign("root.yaml", changed, "alice", "carol")
    firm.awe("trust", "renew", "--as", "alice")
    firm.approve(digest, "dan", "reviewer")
    firm.awe("trust", "renew", "--as", "alice")
    assert "hi" == firm.awe(*CALL)["output"]["text"]


def test_a_person_who_left_keeps_what_they_had_approved(firm):
    firm.found()
    firm.activate()
    (firm.folder / "root.yaml").unlink()
    firm.awe("trust", "rotate")

    def without_bob(root: Any) -> None:
        del root["people"]["bob"]
        root["people"]["carol"][0]["roles"] += ["reviewer", "operator"]
        root["retired"] = {"bob": "left"}

    changed = firm.edit(without_bob)
    assert [] == firm.awe("trust", "rotate")["loses_its_approvals"]
    firm.sign("root.yaml", changed, "alice", "carol")
    firm.awe("trust", "renew", "--as", "alice")
    assert "hi" == firm.awe(*CALL)["output"]["text"]
    assert ["as approved"] == [one["why"] for one in firm.awe("verify", "--store")]


def test_a_store_that_was_put_back_is_refused_with_and_without_a_journal(firm, tmp_path):
    firm.found()
    firm.activate()
    firm.awe(*CALL)
    newest = max(firm.folder.glob("governance/manifests/*"))
    firm.awe("trust", "renew", "--as", "alice")
    firm.awe("status")
    firm.awe(*CALL)
    later = max(firm.folder.glob("governance/manifests/*"))
    assert later != newest
    later.rename(tmp_path / later.name)
    assert "trust.rollback" == firm.awe(*CALL, expect=3)["code"]
    laptop = ("--home", str(tmp_path / "laptop"))
    (tmp_path / later.name).rename(later)
    firm.awe("packs", "list", *laptop)
    later.rename(tmp_path / later.name)
    (found,) = firm.awe("verify", *laptop, expect=7)
    assert found["why"].startswith("trust.rollback")


def test_a_home_follows_another_root_only_when_somebody_says_so_and_it_is_recorded(firm):
    firm.found()
    firm.activate()
    firm.awe(*CALL)
    for name in ("root", "manifests", "views", "packs", "statements"):
        (firm.folder / "governance" / name).rename(firm.folder / f"old-{name}")
    (firm.folder / "root.yaml").unlink()
    text = (firm.folder / "awe.yaml").read_text()
    old = text[text.index("root_sha256") + 14 :][:64]
    (firm.folder / "awe.yaml").write_text(text.replace(f'root_sha256: "{old}", ', ""))
    (firm.folder / "awe.yaml").rename(firm.folder / "awe.keep")
    (firm.folder / "people.yaml").unlink()
    pin = firm.found(ROLES | {"carol": ["root", "security", "reviewer"]})
    assert pin != old
    with JournalReader(firm.folder / ".awe") as journal:
        events = [one.event for one in journal.read(kinds=["trust.root_changed"])]
    (change,) = [event for event in events if event.get("reason") == "founded"]
    assert (old, pin) == (change["from"]["digest"], change["to"]["digest"])
    assert change["by"].startswith("person:")


def test_a_record_travels_between_deployments_and_no_signature_does(firm, tmp_path, monkeypatch):
    firm.found()
    first = firm.activate()
    there = firm.folder / "governance"
    firm.folder = tmp_path / "other"
    firm.folder.mkdir()
    monkeypatch.chdir(firm.folder)
    roles = {"alice": ["root", "release"], "bob": [*ROLES["bob"], "proposer"]}
    firm.found(ROLES | roles, "acme-test")
    shutil.copytree(there / "statements", firm.folder / "governance" / "statements")
    copying = ("packs", "propose", "stdlib@0.1.0", "--from", str(there), "--reason", "as there")
    (subject,) = firm.awe(*copying, "--as", "bob")
    assert first != subject["digest"]
    shown = firm.awe("packs", "show", "stdlib")
    assert ("PROPOSED", ["propose"]) == (
        shown["state"],
        [one["decision"] for one in shown["statements"]],
    )
    assert 2 == len(list(firm.folder.glob("governance/packs/*/*/[pr]*"))) - 1
    faults = firm.awe("verify", "--store", expect=7)
    assert {"trust.statement"} == {one["why"].partition(":")[0] for one in faults}
    unknown = ("packs", "propose", "none@1", "--from", str(there), "--reason", "x", "--as", "bob")
    assert "governance.unknown" == firm.awe(*unknown, expect=8)["code"]


@pytest.mark.parametrize(
    "text",
    [
        "awe: deployment/v1\nname: acme\n",
        "awe: deployment/v1\nname: acme\ntrust: {store: g}  # mine\nhome: .awe\n",
        "awe: deployment/v1\nname: acme\ntrust:\n  # mine\n  store: g\nhome: .awe\n",
        'awe: deployment/v1\nname: acme\ntrust: {root_sha256: "' + "0" * 64 + '", store: g}\n',
        "awe: deployment/v1\nname: acme\ntrust:\n  root_sha256: a" + "0" * 63 + " # old\n",
        'awe: deployment/v1\nname: "ü"\n'.replace("ü", "u") + "# ü\ntrust: {}\n",
    ],
)
def test_the_pin_is_written_into_awe_yaml_and_nothing_else_changes(tmp_path, text):
    from awe_core.cli.trusting import _write_pin  # noqa: PLC0415
    from awe_core.documents import load_deployment  # noqa: PLC0415

    file, pin = tmp_path / "awe.yaml", "ab" * 32
    file.write_text(text, encoding="utf-8")
    _write_pin(file, pin)
    now = file.read_text(encoding="utf-8")
    assert pin == load_deployment(now, file="awe.yaml").settings["trust"]["root_sha256"]
    for comment in ("# mine", "# old", "# ü"):
        assert (comment in text) is (comment in now)
