"""``awe init``, ``awe packs``, ``awe facades``, ``awe trust``, ``awe verify``: who may let what run.

These work on the store alone and open no journal: they serve an approver's laptop as well as a
server, whose running engine finds the news by itself.
"""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from awe_core import canonical, signing
from awe_core.cli.asking import confirmed, terminal
from awe_core.cli.opening import actor, deployment, governance, settings, signer
from awe_core.cli.render import Answer, Table, answer, block
from awe_core.cli.shared import command, group
from awe_core.documents import load_facade, load_proposal, read
from awe_core.errors import AweError, TrustError, UsageError
from awe_core.governance import StoreFolder, check_views, differences, init_dev, unsigned_root
from awe_core.packs import Written, check_requirements, facade_record, inspect_wheel
from awe_core.runtime.proposals import draft
from awe_core.trust import needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.governance import Governance, Released, SubjectState
    from awe_core.runtime.deployment import Deployment

_DOCUMENT = """\
awe: deployment/v1
name: {name}
workspace: .
home: {home}
trust: {{{pin}store: {store}}}
confirm: [{{policy: auto}}]
"""
_reason = click.option("--reason", required=True, metavar="T", help="Signed, and kept for ever.")
_digest = click.option("--digest", metavar="D", help="What you sign; needed without a terminal.")
_subject = click.argument("name", metavar="NAME[@V]")


def _now() -> int:
    return int(time.time())


# ------------------------------------------------------------------------------------------- init
@command()
@click.option("--prod", is_flag=True, help="An unsigned root to fill in, instead of a working one.")
@click.option("--name", metavar="NAME", help="Of the deployment; else the folder's.")
@click.option(
    "--person", "people", multiple=True, metavar="NAME", help="Whose key to make; else yours."
)
def init(prod: bool, name: str | None, people: tuple[str, ...]) -> Answer:  # noqa: FBT001 - click's
    """Found a deployment in this folder: awe.yaml, a home, a root of trust."""
    file = Path("awe.yaml").absolute()
    if file.exists():
        raise UsageError("cli.exists", file=file)
    fitting = re.sub(r"[^a-z0-9-]+", "-", Path.cwd().name.lower()).strip("-")
    config = attrs.evolve(settings(), name=name or fitting or "local")
    store = StoreFolder(config.trust.store)
    if prod:
        root = unsigned_root(deployment=config.name, keys={}, now=_now())
        store.add({"root/unsigned.json": canonical.document(root.to_json())})
        pin, says = "", f"fill in and sign {config.trust.store / 'root/unsigned.json'}"
    else:
        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        who = people or (actor().id,)
        digest = init_dev(store, config.home, deployment=config.name, people=who, now=_now())
        pin, says = f'root_sha256: "{digest}", ', f"trust=dev-local for {', '.join(who)}"
    shown = {"name": config.name, "home": _relative(config.home), "store": _relative(store.folder)}
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as out:
        out.write(_DOCUMENT.format(**shown, pin=pin))
    return answer(
        {**shown, "file": str(file), "prod": prod},
        f"deployment {config.name} founded in {file.parent}",
        says,
        "next: awe packs trust-local WHEEL    (offers a pack's capabilities), then: awe status",
    )


def _relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# ----------------------------------------------------------------------------- packs and facades
@group()
def packs() -> None:
    """Decide which packs may run.  NAME may leave out its version where one is left."""


@group()
def facades() -> None:
    """Decide what is exposed on channels."""


def _on_both(*names: str) -> Callable[[Callable[..., Answer]], click.Command]:
    """Make a verb of ``awe packs`` and of ``awe facades`` alike."""

    def make(function: Callable[..., Answer]) -> click.Command:
        made: click.Command = packs.command(*names)(function)
        facades.add_command(made)
        return made

    return make


def _kind() -> Any:  # noqa: ANN401 - the word that `Governance.find` takes
    """Tell by the command's group whether a pack or a facade is meant."""
    parent = click.get_current_context().parent
    return "facade" if parent is not None and parent.info_name == "facades" else "pack"


def _find(name: str) -> tuple[Governance, SubjectState]:
    store = governance()
    return store, store.find(name, now=_now(), kind=_kind())


@_on_both("list")
def list_() -> Answer:
    """List every record and where it stands."""
    found = [s for s in governance().states(now=_now()) if _is_kind(s)]
    rows = [(s.subject.title, s.state.value, s.subject.digest[:12], _why(s)) for s in found]
    return answer([_said(each) for each in found], Table(("record", "state", "digest", ""), rows))


@_on_both()
@_subject
def show(name: str) -> Answer:
    """Show a record: who said what about it, what it lacks, what is in it."""
    _, found = _find(name)
    rows = [
        (s.owner, s.statement.decision, s.statement.role, s.statement.reason) for s in found.signed
    ]
    lacks = [f"lacks: {error.summary}" for error in found.lacking]
    return answer(
        {**_said(found), "record": found.subject.record.to_json()},
        f"{found.subject.title} {found.state.value}",
        f"digest {found.subject.digest}",
        Table(("who", "decision", "role", "reason"), rows, empty="nobody has said anything"),
        *lacks,
        *block(found.subject.record.to_json()),
    )


@packs.command()
@click.argument("wheel", type=click.Path(exists=True, path_type=Path))
def inspect(wheel: Path) -> Answer:
    """Look through a wheel without importing it: contents, effects, refusals."""
    report = inspect_wheel(wheel)
    lines = [f"refused[{error.code}]: {error.summary}" for error in report.refusals]
    return answer(report, *block(report.as_json()), *lines, exit_code=2 if lines else 0)


@packs.command()
@click.argument("wheel", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--proposal",
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE",
    help="A proposal.yaml: what to grant; else what pack.yaml asks for.",
)
@_reason
def propose(wheel: Path, proposal: Path | None, reason: str) -> Answer:
    """Put a wheel and the facades it brings before people."""
    return answer(*_proposed(wheel, proposal, reason))


@packs.command("trust-local")
@click.argument("wheel", type=click.Path(exists=True, path_type=Path))
def trust_local(wheel: Path) -> Answer:
    """Propose, approve and activate a wheel and its facades; under a development root only."""
    here = deployment(_now())
    if here.verdict is None or not here.verdict.is_dev:
        raise here.failure or TrustError("trust.dev_only", what="packs trust-local")
    subjects, _ = _proposed(wheel, None, "trusted locally")
    store, key = here.governance, signer()
    for title in (each["title"] for each in subjects):
        for role in _roles_asked(store, title):
            store.approve(title, role=role, signer=key, reason="trusted locally", now=_now())
        store.activate(title, signers=[key], now=_now())
    titles = [each["title"] for each in subjects]
    return answer(titles, *(f"{title} ACTIVE" for title in titles))


@facades.command("propose")
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@_reason
def propose_facade(file: Path, reason: str) -> Answer:
    """Put a facade of the deployment's own, a YAML FILE, before people."""
    text = file.read_bytes()
    spec, document = load_facade(text, file=str(file)), read("facade", text, file=str(file)).value
    offers = [pack.contents for pack in deployment(_now()).packs]
    written = Written(spec, canonical.sha256_hex(canonical.document(document)), document)
    record = facade_record(written, offers, pack=None, proposed_by=actor().id)
    store = governance()
    record = attrs.evolve(record, revision=store.next_revision(record.name, record.version))
    subject = store.propose_facade(record, signer=signer(), reason=reason, now=_now())
    return answer({"title": subject.title, "digest": subject.digest}, f"{subject.title} PROPOSED")


@_on_both()
@_subject
@click.option("--role", required=True, metavar="R", help="Under which of your roles.")
@_reason
@_digest
def approve(name: str, role: str, reason: str, digest: str | None) -> Answer:
    """Approve a record under one role."""
    store, found = _find(name)
    _confirm(found, digest, f"approve {found.subject.title} as {role}")
    return _state(
        store.approve(found.subject, role=role, signer=signer(), reason=reason, now=_now())
    )


@_on_both()
@_subject
@click.option("--role", required=True, metavar="R", help="Under which of your roles.")
@_reason
def reject(name: str, role: str, reason: str) -> Answer:
    """End a proposal."""
    store, found = _find(name)
    return _state(
        store.reject(found.subject, role=role, signer=signer(), reason=reason, now=_now())
    )


def _plain_verb(verb: str, says: str, *, is_confirmed: bool = False) -> None:
    """Make a verb that takes a name and a reason and signs one statement."""

    def decide(name: str, reason: str, digest: str | None = None) -> Answer:
        store, found = _find(name)
        if is_confirmed:
            _confirm(found, digest, f"{verb} {found.subject.title}")
        say = getattr(store, verb)
        return _state(say(found.subject, signer=signer(), reason=reason, now=_now()))

    decide.__doc__ = says
    _on_both(verb)(_subject(_reason(_digest(decide) if is_confirmed else decide)))


_plain_verb("withdraw", "Take your own proposal back.")
_plain_verb("suspend", "Stop new calls at once.  Open runs can still be undone.")
_plain_verb("revoke", "Stop a record for ever, at once.")
_plain_verb("resume", "Lift what stopped a record; activate then releases it.", is_confirmed=True)


@_on_both()
@_subject
@click.option(
    "--now", "at_once", is_flag=True, help="Supersede what it replaces, without a sunset."
)
@_digest
def activate(name: str, at_once: bool, digest: str | None) -> Answer:  # noqa: FBT001 - click's
    """Release an approved record: sign the next manifest."""
    store, found = _find(name)
    _confirm(found, digest, f"activate {found.subject.title}")
    key = signer()
    subject = found.subject
    return _released(found, store.activate(subject, signers=[key], now=_now(), at_once=at_once))


@_on_both()
@_subject
@click.option(
    "--sunset",
    required=True,
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The last day on which new runs may begin, in UTC.",
)
def deprecate(name: str, sunset: datetime) -> Answer:
    """Let a record take new runs until its sunset only."""
    store, found = _find(name)
    until = int(sunset.replace(tzinfo=UTC).timestamp())
    key = signer()
    released = store.deprecate(found.subject, sunset=until, signers=[key], now=_now())
    return _released(found, released)


def _proposed(
    wheel: Path, proposal: Path | None, reason: str
) -> tuple[list[dict[str, str]], str, *tuple[str, ...]]:
    """Propose a wheel; gives its subjects, and a line for each."""
    here = deployment(_now())
    asked = None if proposal is None else load_proposal(proposal.read_bytes(), file=str(proposal))
    made = draft(here, wheel, proposed_by=actor().id, reason=reason, asked=asked)
    store = here.governance
    subjects = store.propose(made.record, made.facades, signer=signer(), reason=reason, now=_now())
    shown = [{"title": each.title, "digest": each.digest} for each in subjects]
    return shown, *(f"{each['title']} PROPOSED, digest {each['digest']}" for each in shown)


def _confirm(found: SubjectState, given: str | None, what: str) -> None:
    changes = [f"  {each}" for each in differences(None, found.subject.record)]
    lines = [what, *changes, f"digest {found.subject.digest}"]
    if not confirmed(lines, digest=found.subject.digest, given=given, is_grave=False):
        raise UsageError("cli.declined", what=what)


def _is_kind(found: SubjectState) -> bool:
    return (found.subject.record.kind == "facade") == (_kind() == "facade")


def _why(found: SubjectState) -> str:
    errors = found.refusals or found.lacking
    return errors[0].summary if errors and found.state.value != "REVOKED" else ""


def _said(found: SubjectState) -> dict[str, Any]:
    subject = found.subject
    lacking = [error.as_json() for error in (*found.lacking, *found.refusals)]
    return {
        "title": subject.title,
        "digest": subject.digest,
        "state": found.state.value,
        "lacking": lacking,
    }


def _state(found: SubjectState) -> Answer:
    lacks = [f"  lacks: {error.summary}" for error in found.lacking]
    return answer(_said(found), f"{found.subject.title} {found.state.value}", *lacks)


def _released(found: SubjectState, released: Released) -> Answer:
    data = {"title": found.subject.title, "file": released.file, "pending": released.is_pending}
    if released.is_pending:
        text = f"{released.file} lacks signatures; next: awe trust sign {released.file}"
        return answer(data, text, exit_code=6)
    return answer(data, f"{found.subject.title} released in {released.file}")


# ------------------------------------------------------------------------------ trust and verify
@group()
def trust() -> None:
    """See the root of trust; make one's own key."""


@trust.command("show")
def show_trust() -> Answer:
    """Show the root in force: people, roles, days to expiry."""
    verdict = governance().verdict(now=_now())
    root, manifest = verdict.root, verdict.manifest
    roles = [
        (name, role.threshold, ", ".join(sorted(root.owners(name))))
        for name, role in root.roles.items()
    ]
    return answer(
        {
            "root": root.to_json(),
            "manifest": manifest and manifest.to_json(),
            "phase": verdict.phase,
        },
        f"{root.deployment}: {root.environment} root {root.version}, {_days(root.expires)}",
        f"manifest {manifest.version}, {verdict.phase}, {_days(manifest.expires)}"
        if manifest
        else "no manifest",
        Table(("role", "needed", "people"), roles),
        *(f"warning: {warning.summary}" for warning in verdict.warnings),
    )


@trust.command("key")
def trust_key() -> Answer:
    """Show your own public key; make it if there is none."""
    file = signing.person_key_file(settings().home, actor().id)
    if not file.exists():
        with terminal() as tty:
            phrase = tty.secret(f"passphrase for {file} (empty: none): ") if tty else None
        signing.generate(file, passphrase=phrase or None)
    key = signer()
    data = {"keyid": key.keyid, "scheme": key.scheme, "public": key.public.hex(), "file": str(file)}
    return answer(data, Table((), tuple(data.items())))


@command()
@click.option("--deep", is_flag=True, help="Also the versions of what packs require.")
@click.option("--store", "views", is_flag=True, help="Also the generated views of the store.")
@click.option("--write-views", is_flag=True, help="Write the views anew.")
def verify(deep: bool, views: bool, write_views: bool) -> Answer:  # noqa: FBT001 - click's
    """Check the store and the installed packs, importing nothing."""
    here = deployment(_now())
    found = [("trust", here.failure)] if here.failure else list(here.refused)
    if here.verdict is not None:
        found += [
            (facade.name, error) for facade in here.verdict.facades for error in facade.refusals
        ]
        found += _checked(here, deep=deep, views=views, write_views=write_views)
    rows = [(pack.record.name, pack.record.version, "as approved") for pack in here.packs]
    rows += [(name, error.code, error.summary) for name, error in found]
    data = [{"name": name, "error": error.as_json()} for name, error in found]
    return answer(
        data,
        Table(("what", "", ""), rows, empty="nothing is in force"),
        exit_code=7 if found else 0,
    )


def _checked(
    here: Deployment, *, deep: bool, views: bool, write_views: bool
) -> list[tuple[str, AweError]]:
    store, found = here.governance, []
    if write_views:
        store.write_views()
    checks: list[tuple[str, Callable[[], None]]] = [
        (pack.record.name, lambda pack=pack: check_requirements(pack.record))
        for pack in here.packs
        if deep
    ]
    if views:
        folder = store.store
        checks.append(("views", lambda: check_views(folder.read(), folder.read_one)))
    for name, check in checks:
        try:
            check()
        except AweError as error:
            found.append((name, error))
    return found


def _roles_asked(store: Governance, title: str) -> list[str]:
    """Name the roles whose approval a record still needs."""
    state = store.find(title, now=_now())
    return sorted(needs(store.verdict(now=_now()).root.policy, state.subject.record))


def _days(expires: int) -> str:
    return f"expires in {(expires - _now()) // 86_400} days"
