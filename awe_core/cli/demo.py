"""``awe demo``: the whole story in one terminal, offline, by the real commands, each claim checked.

A deployment is founded, a pack is proposed, approved by other people and activated; a workflow
turns change fragments into release notes, stops for a person before it deletes the fragments, goes
on, fails at its last step and takes everything back.  Then the log is proved, and a copy with one
changed byte is refused.  A claim that does not hold ends the demo as a failed check.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

import awe_core
from awe_core.cli.opening import actor
from awe_core.cli.render import Answer, answer, note
from awe_core.cli.shared import command, invocation
from awe_core.errors import AuditError, PackError
from awe_core.packs import discover, rebuild_wheel

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_PACK = "awe-pack-stdlib"
_OTHERS = ("reviewer", "security")  #: the other people of the demo, named by what they do


@attrs.define
class _Story:
    """What has been shown so far."""

    pauses: bool
    claims: list[str] = attrs.field(factory=list)

    def run(self, line: str, *words: str, expect: int = 0) -> Any:  # noqa: ANN401 - a command's own document
        """Run one real command in this process, check its exit code and give its document."""
        from awe_core.cli import run  # noqa: PLC0415 - the table of commands imports this module

        words = (*line.split(), *words)
        note("", invocation())
        note(f"$ awe {' '.join(words)}", invocation())
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = run([*words, "--json"])
        found = json.loads(printed.getvalue() or "{}")
        shown = found.get("error") or {}
        if code != expect:
            wrong = f"awe {words[0]} ended with {code}, not {expect}: {shown.get('message')}"
            raise AuditError("cli.demo", claim=wrong, details=shown.get("details", ()))
        if shown:
            note(f"  refused[{shown['code']}]: {shown['message']}", invocation())
        return found.get("data") or shown

    def claim(self, text: str, *, holds: bool = True) -> None:
        """Say what was just shown; stop if it is not so."""
        if not holds:
            raise AuditError("cli.demo", claim=text)
        self.claims.append(text)
        note(f"  ✓ {text}", invocation())
        if self.pauses:
            click.pause(err=True)


@command()
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="DIR", help="Work in DIR and leave it."
)
@click.option("--pause", is_flag=True, help="Wait for a key after each claim.")
def demo(keep: Path | None, pause: bool) -> Answer:  # noqa: FBT001 - click's
    """Show the whole story in one terminal, offline; every claim is checked."""
    started, before = time.monotonic(), Path.cwd()
    folder = Path(tempfile.mkdtemp(prefix="awe-demo-")) if keep is None else keep.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        story = _Story(pause and sys.stdin.isatty())
        _govern(story)
        _act(story)
        _prove(story)
    finally:
        os.chdir(before)
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    took = time.monotonic() - started
    return answer(
        {"claims": story.claims, "seconds": round(took, 1)},
        "",
        f"{len(story.claims)} claims held, in {took:.1f} s",
        "next: awe init                       (a deployment of your own, in this folder)",
        f"      awe packs trust-local {_PACK}    (its capabilities, at once)",
        "      awe call fs.write_text path=hello.txt text=hello    then: awe undo RUN",
    )


def _govern(story: _Story) -> None:
    """From an installed pack that nobody approved to an ACTIVE one."""
    story.run("init --name demo", *(w for who in (actor().id, *_OTHERS) for w in ("--person", who)))
    found = next((one for one in discover() if one.name == _PACK), None)
    if found is None:
        raise PackError("pack.not_installed", distribution=_PACK, version=awe_core.__version__)
    before = set(sys.modules)
    story.run("call fs.read_text path=RELEASE.md", expect=8)
    imported = [name for name in set(sys.modules) - before if name.startswith("awe_pack_stdlib")]
    story.claim(
        "an installed pack that nobody approved is refused, and not imported", holds=not imported
    )
    wheel = str(rebuild_wheel(found, Path("wheels")))
    proposed = story.run("packs propose", wheel, "--reason", "files and texts for the demo")
    sign = ("--digest", proposed[0]["digest"])
    read = ("--reason", "read the contracts", *sign)
    story.run("packs approve stdlib --role reviewer", *read, expect=3)
    story.claim("who proposes does not approve")
    for role in _OTHERS:
        story.run(f"packs approve stdlib --role {role} --as {role}", *read)
    story.run("packs activate stdlib", *sign)
    story.claim("two other people approved these very bytes, and they are ACTIVE")


def _act(story: _Story) -> None:
    """A run that waits for a person, fails at its last step and is taken back."""
    _lay_out()
    before, written = _digest(), Path("RELEASE.md")
    run = story.run("run release.yaml --input inputs.json", expect=6)
    count = len([*Path("changes").iterdir()])
    story.claim(
        f"RELEASE.md is written from {count} fragments; deleting them waits for a person",
        holds=run["state"] == "PAUSED" and "- " in written.read_text(encoding="utf-8"),
    )
    asked = story.run(f"approvals show {run['waiting'][0]}")
    for effect in asked["effects"]:
        note(f"  would do: {json.dumps(effect)}", invocation())
    digest = ("--digest", asked["digest"])
    story.run(f"approve {asked['id']}", *digest, "--reason", "they are in the notes")
    ended = story.run(f"runs show {run['run']}")
    story.claim(
        "it went on, and its last step failed", holds=ended["error"]["code"] == "flow_failed"
    )
    story.claim(
        "everything was taken back: the workspace digest is as before",
        holds=ended["state"] == "ROLLED_BACK" and _digest() == before,
    )


def _prove(story: _Story) -> None:
    """The log verifies; a copy with one changed byte fails at the record that was changed."""
    report = story.run("audit verify")[0]
    story.claim(f"{report['records']} records: chain, root and signature hold")
    Path("pins.txt").write_text(story.run("audit key")["vkey"] + "\n", encoding="utf-8")
    story.run("audit export log --bundle")
    story.run("audit verify log.awelog --key pins.txt")
    lines = Path("log.awelog").read_bytes().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if b'"kind":"handshake.granted"' in line)
    seq = json.loads(lines[place])["seq"]
    lines[place] = lines[place].replace(b'"handshake.granted"', b'"handshake.grantes"')
    Path("forged.awelog").write_bytes(b"".join(lines))
    forged = story.run("audit verify forged.awelog --key pins.txt", expect=7)[0]
    story.claim(
        f"a copy with one changed byte fails, at record {seq}", holds=forged["first_bad"] == seq
    )


def _lay_out() -> None:
    """Put the workflow and this awe-core's own change fragments into the workspace.

    They were built in; a checkout has its own.
    """
    own: Traversable = resources.files("awe_core") / "cli"
    shipped = own / "changes"
    source = shipped if shipped.is_dir() else Path(awe_core.__file__).parents[1] / "changes.d"
    Path("changes").mkdir()
    for entry in source.iterdir():
        if entry.name.endswith(".md"):
            Path("changes", entry.name).write_bytes(entry.read_bytes())
    Path("RELEASE.md").write_text("# Last release\n\nNothing yet.\n", encoding="utf-8")
    Path("release.yaml").write_bytes((own / "demo.yaml").read_bytes())
    fragments = sorted(path.as_posix() for path in Path("changes").iterdir())
    inputs = {"fragments": fragments, "folder": "changes"}
    Path("inputs.json").write_text(json.dumps(inputs), encoding="utf-8")


def _digest() -> str:
    """Digest names and bytes of the workspace, without AWE's own folders."""
    whole = hashlib.sha256()
    for path in sorted(Path().rglob("*")):
        if path.parts[0] not in {".awe", "governance"} and path.is_file():
            whole.update(f"{path}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()
