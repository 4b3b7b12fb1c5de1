"""``awe packs`` and ``awe facades``: who lets what run.

They work on the store alone and open no journal: they serve an approver's laptop as well as a
server, whose running engine finds the news by itself, and at once where it runs on this home.
"""

from __future__ import annotations

import tempfile
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from awe_core import canonical
from awe_core import governance as govern
from awe_core.cli.asking import confirm
from awe_core.cli.opening import (
    actor,
    deployment,
    documents,
    governance,
    now_s,
    poke,
    settings,
    signer,
)
from awe_core.cli.render import Answer, block, details, listing
from awe_core.cli.shared import group, options
from awe_core.documents import load_facade, read
from awe_core.errors import PackError, UsageError
from awe_core.lifecycle import State
from awe_core.packs import (
    Written,
    discover,
    facade_record,
    inspect_wheel,
    normalised,
    rebuild_wheel,
)
from awe_core.runtime.proposals import draft, inspected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from awe_core.governance import Governance, Subject, SubjectState
    from awe_core.runtime.proposals import Proposal

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
with_reason = click.option(
    "--reason", required=True, metavar="T", help="Signed, and kept for ever."
)


# ----------------------------------------------------------------------------- packs and facades
@group()
def packs() -> None:
    """Decide which packs may run.  A NAME is NAME, NAME@VERSION, or begins a digest."""


@group()
def facades() -> None:
    """Decide what is exposed on channels.  A NAME is an id, or begins a digest."""


def _on_both(name: str, function: Callable[..., Answer], **settings: str) -> None:
    """Make a verb of ``awe packs`` and ``awe facades`` alike."""
    facades.add_command(packs.command(name, **settings)(function))


def _find(name: str) -> tuple[Governance, SubjectState]:
    """Look a record up; the command's group tells whether a pack or a facade is meant."""
    store = governance()
    return store, store.find(name, now=now_s(), kind="facade" if _is_facades() else "pack")


def _is_facades() -> bool:
    parent = click.get_current_context().parent
    return parent is not None and parent.info_name == "facades"


def _list() -> Answer:
    """List every record and where it stands."""
    states = governance().states(now=now_s())
    found = [_said(s) for s in states if (s.subject.record.kind == "facade") == _is_facades()]
    return listing(found, "title state digest why")


@click.argument("name")
def _show(name: str) -> Answer:
    """Show a record: who said what about it, what it lacks, what is in it."""
    _, found = _find(name)
    said = [
        {"who": one.owner, **{k: getattr(one.statement, k) for k in ("decision", "role", "reason")}}
        for one in found.signed
    ]
    record = found.subject.record.to_json()
    shown = details({**_said(found), "statements": said}, *block(record))
    return shown._replace(data={**shown.data, "record": record})


@click.argument("before")
@click.argument("after")
def _diff(before: str, after: str) -> Answer:
    """Show what record AFTER has otherwise than BEFORE."""
    old, new = (_find(name)[1].subject.record for name in (before, after))
    return listing(govern.differences(old, new), "about name before after")


_on_both("list", _list)
_on_both("show", _show)
_on_both("diff", _diff)


@packs.command()
@click.argument("wheel", type=_FILE)
def inspect(wheel: Path) -> Answer:
    """Look through a WHEEL without importing it: contents, effects, refusals, what is new."""
    is_governed = settings().trust.root_sha256 is not None
    report = inspected(deployment(), wheel) if is_governed else inspect_wheel(wheel)
    if report.refusals or not is_governed:
        return details(report, exit_code=2 if report.refusals else 0)
    record = _drafted(wheel, "looked at").record
    before = governance().in_force(govern.subject_of(record), now_s())
    if before is None:
        return details(report)
    changes = govern.differences(before, record)
    shown = {**report.as_json(), "active_now": f"{before.name}@{before.version}"}
    return details({**shown, "changes": changes})


@packs.command()
@click.argument("wheel")
@click.option("--proposal", type=_FILE, help="What to grant; else what pack.yaml asks for.")
@click.option("--deps", type=_FOLDER, metavar="DIR", help="Pin the wheels of what it requires.")
@click.option("--provenance", type=_FILE, help="The attestations of its index, verified offline.")
@click.option("--from", "other", type=_FOLDER, metavar="STORE", help="Copy NAME@V from there.")
@with_reason
def propose(wheel: str, other: Path | None, reason: str, **more: Path | None) -> Answer:
    """Put a WHEEL and the facades it brings before people.

    With --from it is NAME@VERSION in another deployment's STORE: its record and report are copied,
    and people approve anew, since what they signed there was said about that deployment.
    """
    desk = governance()
    if other is None:
        return _proposed(desk.propose, _drafted(_file(wheel), reason, **more), reason)
    copied = govern.copied(govern.StoreFolder(other), wheel, desk, proposed_by=_proposer())
    return _listed(desk.propose(*copied, signer=signer(), reason=reason, now=now_s()))


@packs.command("trust-local")
@click.argument("name")
@click.option("--reason", default="trusted locally", metavar="T", help="Signed.")
def trust_local(name: str, reason: str) -> Answer:
    """Propose, approve and activate an installed pack, or a wheel, under a development root."""
    with tempfile.TemporaryDirectory() as folder:
        made = _drafted(_wheel(name, Path(folder)), reason)
    return _proposed(governance().trust_local, made, reason)


@facades.command("propose")
@click.argument("file", type=_FILE)
@with_reason
def propose_facade(file: Path, reason: str) -> Answer:
    """Put a facade of the deployment's own, a YAML FILE, before people."""
    text, here = file.read_bytes(), deployment()
    document = read("facade", text, file=str(file)).value
    digest = canonical.sha256_hex(canonical.document(document))
    written = Written(str(file), load_facade(text, file=str(file)), document, digest)
    offers = [pack.contents for pack in here.packs]
    store = governance()
    record = facade_record(written, offers, pack=None, proposed_by=_proposer())
    record = attrs.evolve(record, revision=store.next_revision(record.name, record.version))
    papers = {"proposal.yaml": text}
    found = store.propose(record, (), papers, signer=signer(), reason=reason, now=now_s())
    return _listed(found)


def _drafted(wheel: Path, reason: str, **more: Path | None) -> Proposal:
    return draft(deployment(), wheel, proposed_by=_proposer(), reason=reason, **more)


def _proposed(propose: Callable[..., Iterable[Subject]], made: Proposal, reason: str) -> Answer:
    by = {"signer": signer(), "reason": reason, "now": now_s()}
    return _listed(propose(made.record, made.facades, made.papers, **by))


def _listed(subjects: Iterable[Subject]) -> Answer:
    return listing([{"title": one.title, "digest": one.digest} for one in subjects], "title digest")


def _proposer() -> str:
    """Name whose key signs; whom the root does not know signs in vain, and is told so then."""
    key = governance().root().keys.get(signer().keyid)
    return key.owner if key else actor().id


def _file(name: str) -> Path:
    if not Path(name).is_file():
        raise UsageError("cli.input", file=name, why="it is no file")
    return Path(name)


def _wheel(name: str, folder: Path) -> Path:
    if Path(name).is_file():
        return Path(name)
    found = next((one for one in discover() if one.name == normalised(name)), None)
    if found is None:
        raise PackError("pack.not_installed", distribution=name, version="any version")
    return rebuild_wheel(found, folder)


# --------------------------------------------------------------------------------------- verdicts
_DIGEST = click.option("--digest", metavar="D", help="What you sign; needed without a terminal.")
_ROLE = click.option("--role", required=True, metavar="R", help="Under which of your roles.")
_NOW = click.option("--now", "at_once", is_flag=True, help="Supersede what it replaces at once.")
_SUNSET = click.option(
    "--sunset",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    callback=lambda _ctx, _param, day: int(day.replace(tzinfo=UTC).timestamp()),
    help="From this day on, in UTC, no run begins.",
)
_VERBS: dict[str, tuple[str, tuple[Callable[..., Any], ...]]] = {  # each takes what it signs
    "approve": ("Approve a record under one role.", (_ROLE, with_reason, _DIGEST)),
    "reject": ("End a proposal.", (_ROLE, with_reason)),
    "withdraw": ("Take your own proposal back.", (with_reason,)),
    "suspend": ("Stop new calls at once.  Open runs can still be undone.", (with_reason,)),
    "revoke": ("Stop a record for ever, at once.", (with_reason,)),
    "resume": ("Lift what stopped a record; activate then releases it.", (with_reason, _DIGEST)),
    "activate": ("Release an approved record: sign the next manifest.", (_NOW, _DIGEST)),
    "deprecate": ("Let a record take new runs until its sunset only.", (_SUNSET,)),
}


def _decider(verb: str, *, is_confirmed: bool) -> Callable[..., Answer]:
    """Make a verb that signs; it takes the options that the store's method of its name takes."""

    def decide(name_: str, **asked: Any) -> Answer:  # noqa: ANN401 - click's
        store, found = _find(name_)
        subject = found.subject
        if is_confirmed:
            changes = map(str, govern.differences(store.in_force(subject, now_s()), subject.record))
            lines = [f"{verb} {subject.title}", *changes, f"digest {subject.digest}"]
            look = f"awe {'facades' if _is_facades() else 'packs'} show {subject.title}"
            confirm(lines, digest=subject.digest, given=asked.pop("digest"), look=look)
        key, act = signer(), getattr(store, verb)
        if "reason" in asked:
            said = _said(act(subject, signer=key, now=now_s(), **asked))
            more = _waiting(store, subject) if verb == "approve" else []
            done = details({**said, "facades": more}, *(f"next: {one}" for one in more))
        else:
            pinned = documents(store)
            done = released(act(subject, signers=[key], documents=pinned, now=now_s(), **asked))
        poke()
        return done

    return decide


for _verb, (_says, _options) in _VERBS.items():
    _on_both(
        _verb,
        options(click.argument("name_", metavar="NAME"), *_options)(
            _decider(_verb, is_confirmed=_DIGEST in _options)
        ),
        help=_says,
    )


def _waiting(store: Governance, pack: Subject) -> list[str]:
    """Name the facades that came with a pack and lack approvals, by what approves them."""
    brought = getattr(pack.record, "facades", ())
    return [
        f"awe facades approve {each.subject.title} --role {error.attributes['role']} --reason T"
        for each in store.states(now=now_s())
        if each.subject.digest in brought and each.state is State.PROPOSED
        for error in each.lacking
        if error.code == "pack.approvals_missing"
    ]


def _said(found: SubjectState) -> dict[str, Any]:
    subject, is_open = found.subject, found.state in {State.PROPOSED, State.APPROVED}
    why = [error.summary for error in (*found.refusals, *(found.lacking if is_open else ()))]
    state = {"title": subject.title, "state": found.state.value, "digest": subject.digest}
    return {**state, "why": "; ".join(why)}


def released(done: govern.Released, *more: str) -> Answer:
    """Say what became of a signed document, and who comes next."""
    if done.is_pending:
        more = (f"it lacks signatures; next: awe trust sign {done.file}",)
    return details(done, *more, exit_code=6 if done.is_pending else 0)
