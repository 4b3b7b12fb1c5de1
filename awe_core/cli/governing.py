"""``awe init``, ``awe packs``, ``awe facades``, ``awe trust``, ``awe verify``: who lets what run.

All but init work on the store alone and open no journal: they serve an approver's laptop as well
as a server, whose running engine finds the news by itself.
"""

from __future__ import annotations

import json
import re
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from awe_core import canonical, signing
from awe_core import governance as govern
from awe_core.cli.asking import confirm, terminal
from awe_core.cli.opening import (
    actor,
    deployment,
    governance,
    now_s,
    opener,
    settings,
    signer,
)
from awe_core.cli.render import Answer, block, details, listing
from awe_core.cli.shared import command, group, options
from awe_core.documents import load_deployment, load_facade, load_proposal, read
from awe_core.errors import AweError, PackError, UsageError
from awe_core.packs import (
    Written,
    check_requirements,
    discover,
    facade_record,
    inspect_wheel,
    normalised,
    rebuild_wheel,
)
from awe_core.runtime.proposals import draft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from awe_core.governance import Governance, SubjectState
    from awe_core.runtime.deployment import Deployment
    from awe_core.runtime.proposals import Proposal

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DOCUMENT = """\
awe: deployment/v1
name: {name}
home: {home}
trust: {{{pin}store: {store}}}
confirm: [{{policy: auto}}]
"""
_reason = click.option("--reason", required=True, metavar="T", help="Signed, and kept for ever.")


@command()
@click.option("--prod", is_flag=True, help="An unsigned root to fill in, instead of a working one.")
@click.option("--name", metavar="NAME", help="Of the deployment; else the folder's.")
@click.option("--person", "people", multiple=True, metavar="NAME", help="Make this person's key.")
def init(prod: bool, name: str | None, people: tuple[str, ...]) -> Answer:  # noqa: FBT001 - click's
    """Found a deployment in this folder: awe.yaml, a home, a root of trust."""
    file, config, here = Path("awe.yaml"), settings(), Path.cwd()
    if file.exists():
        raise UsageError("cli.exists", file=file.absolute())
    name = name or re.sub(r"[^a-z0-9-]+", "-", here.name.lower()).strip("-") or "local"
    store, pin, who = govern.StoreFolder(config.trust.store), "", people or (actor().id,)
    places = {"home": config.home, "store": store.folder}
    near = {k: p.relative_to(here) if p.is_relative_to(here) else p for k, p in places.items()}
    shown = {"name": name, **{key: str(path) for key, path in near.items()}}
    quoted = {key: json.dumps(value) for key, value in shown.items()}
    load_deployment(_DOCUMENT.format(**quoted, pin=""), file=str(file))  # before anything is made
    if prod:
        root = govern.unsigned_root(deployment=name, keys={}, now=now_s())
        store.add({"root/unsigned.json": canonical.document(root.to_json())})
    else:
        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        pin = govern.init_dev(store, config.home, deployment=name, people=who, now=now_s())
    with file.open("x", encoding="utf-8") as out:
        out.write(_DOCUMENT.format(**quoted, pin=pin and f'root_sha256: "{pin}", '))
    with opener():
        pass  # the log begins with who is trusted
    trusts = "nothing yet: fill in and sign root/unsigned.json" if prod else "dev-local"
    more = "next: awe packs trust-local NAME    (an installed pack), then: awe status"
    return details({**shown, "trust": trusts, "people": [] if prod else who, "pin": pin}, more)


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
    """Look through a WHEEL without importing it: contents, effects, refusals."""
    report = inspect_wheel(wheel)
    return details(report, exit_code=2 if report.refusals else 0)


@packs.command()
@click.argument("wheel", type=_FILE)
@click.option("--proposal", type=_FILE, help="What to grant; else what pack.yaml asks for.")
@_reason
def propose(wheel: Path, proposal: Path | None, reason: str) -> Answer:
    """Put a WHEEL and the facades it brings before people."""
    made, store = _drafted(wheel, proposal, reason)
    key, now = signer(), now_s()
    return _proposed(store.propose(made.record, made.facades, signer=key, reason=reason, now=now))


@packs.command("trust-local")
@click.argument("name")
@click.option("--reason", default="trusted locally", metavar="T", help="Signed.")
def trust_local(name: str, reason: str) -> Answer:
    """Propose, approve and activate an installed pack, or a wheel, under a development root."""
    with tempfile.TemporaryDirectory() as folder:
        made, store = _drafted(_wheel(name, Path(folder)), None, reason)
    trusted = store.trust_local(
        made.record, made.facades, signer=signer(), reason=reason, now=now_s()
    )
    return _proposed(trusted)


@facades.command("propose")
@click.argument("file", type=_FILE)
@_reason
def propose_facade(file: Path, reason: str) -> Answer:
    """Put a facade of the deployment's own, a YAML FILE, before people."""
    text, here = file.read_bytes(), deployment()
    document = read("facade", text, file=str(file)).value
    digest = canonical.sha256_hex(canonical.document(document))
    written = Written(str(file), load_facade(text, file=str(file)), document, digest)
    offers = [pack.contents for pack in here.packs]
    record = facade_record(written, offers, pack=None, proposed_by=actor().id)
    store = here.governance
    record = attrs.evolve(record, revision=store.next_revision(record.name, record.version))
    key = signer()
    return _proposed([store.propose_facade(record, signer=key, reason=reason, now=now_s())])


def _drafted(wheel: Path, proposal: Path | None, reason: str) -> tuple[Proposal, Governance]:
    here, file = deployment(), str(proposal)
    asked = None if proposal is None else load_proposal(proposal.read_bytes(), file=file)
    made = draft(here, wheel, proposed_by=actor().id, reason=reason, asked=asked)
    record, store = made.record, here.governance
    revision = store.next_revision(record.name, record.version)
    return attrs.evolve(made, record=attrs.evolve(record, revision=revision)), store


def _wheel(name: str, folder: Path) -> Path:
    if Path(name).is_file():
        return Path(name)
    found = next((one for one in discover() if one.name == normalised(name)), None)
    if found is None:
        raise PackError("pack.not_installed", distribution=name, version="any version")
    return rebuild_wheel(found, folder)


def _proposed(subjects: Any) -> Answer:  # noqa: ANN401 - a sequence of governance's subjects
    return listing([{"title": one.title, "digest": one.digest} for one in subjects], "title digest")


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
    "approve": ("Approve a record under one role.", (_ROLE, _reason, _DIGEST)),
    "reject": ("End a proposal.", (_ROLE, _reason)),
    "withdraw": ("Take your own proposal back.", (_reason,)),
    "suspend": ("Stop new calls at once.  Open runs can still be undone.", (_reason,)),
    "revoke": ("Stop a record for ever, at once.", (_reason,)),
    "resume": ("Lift what stopped a record; activate then releases it.", (_reason, _DIGEST)),
    "activate": ("Release an approved record: sign the next manifest.", (_NOW, _DIGEST)),
    "deprecate": ("Let a record take new runs until its sunset only.", (_SUNSET,)),
}


def _decider(verb: str, *, is_confirmed: bool) -> Callable[..., Answer]:
    """Make a verb that signs; it takes the options that the store's method of its name takes."""

    def decide(name_: str, **asked: Any) -> Answer:  # noqa: ANN401 - click's
        store, found = _find(name_)
        subject = found.subject
        if is_confirmed:
            changes = map(str, govern.differences(None, subject.record))
            lines = [f"{verb} {subject.title}", *changes, f"digest {subject.digest}"]
            look = f"awe {'facades' if _is_facades() else 'packs'} show {subject.title}"
            confirm(lines, digest=subject.digest, given=asked.pop("digest"), look=look)
        key = signer()
        keys = {"signer": key} if "reason" in asked else {"signers": [key]}
        done = getattr(store, verb)(subject, **keys, now=now_s(), **asked)
        return details(_said(done)) if "reason" in asked else _released(done)

    return decide


for _verb, (_says, _options) in _VERBS.items():
    _on_both(
        _verb,
        options(click.argument("name_", metavar="NAME"), *_options)(
            _decider(_verb, is_confirmed=_DIGEST in _options)
        ),
        help=_says,
    )


def _said(found: SubjectState) -> dict[str, Any]:
    lacks = [error.summary for error in (*found.refusals, *found.lacking)]
    subject = found.subject
    state = {"title": subject.title, "state": found.state.value, "digest": subject.digest}
    return {**state, "why": "" if found.state.value == "ACTIVE" else "; ".join(lacks)}


def _released(done: govern.Released) -> Answer:
    more = (f"it lacks signatures; next: awe trust sign {done.file}",) if done.is_pending else ()
    return details(done, *more, exit_code=6 if done.is_pending else 0)


# ------------------------------------------------------------------------------- trust and verify
@group()
def trust() -> None:
    """See the root of trust; make your own key."""


@trust.command("show")
def show_trust() -> Answer:
    """Show the root in force: people, roles, expiry."""
    verdict = governance().verdict(now=now_s())
    root, manifest = verdict.root, verdict.manifest
    roles = [
        {"role": name, "needed": role.threshold, "people": sorted(root.owners(name))}
        for name, role in root.roles.items()
    ]
    facts = {name: getattr(root, name) for name in ("deployment", "environment", "version")}
    ends = {
        "manifest": manifest and manifest.version,
        "manifest_expires": manifest and _day(manifest),
    }
    warnings = [warning.summary for warning in verdict.warnings]
    return details(
        {**facts, "expires": _day(root), "phase": verdict.phase, **ends, "roles": roles},
        *(f"warning: {one}" for one in warnings),
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
    public = {"keyid": key.keyid, "scheme": key.scheme, "public": key.public.hex()}
    return details({**public, "file": file})


@trust.command()
@click.argument("file")
def sign(file: str) -> Answer:
    """Add your signature to a FILE of the store that waits for more."""
    return _released(governance().sign(file, signer=signer(), now=now_s()))


@trust.command()
def renew() -> Answer:
    """Sign the next manifest with the same contents, before the old one expires."""
    return _released(governance().renew(signers=[signer()], now=now_s()))


@command()
@click.option("--deep", is_flag=True, help="Also the versions of what packs require.")
@click.option("--store", "views", is_flag=True, help="Also the generated views of the store.")
@click.option("--write-views", is_flag=True, help="Write the views anew.")
def verify(deep: bool, views: bool, write_views: bool) -> Answer:  # noqa: FBT001 - click's
    """Check the store and the installed packs, importing nothing."""
    here = deployment()
    if write_views:
        here.governance.write_views()
    found = [{"name": name, **error.as_json()} for name, error in _faults(here, deep, views)]
    found = [{"name": one["name"], "why": f"{one['code']}: {one['message']}"} for one in found]
    good = [{"name": one.record.name, "why": "as approved"} for one in here.packs]
    return listing([*good, *found], "name why", exit_code=7 if found else 0)


def _faults(here: Deployment, deep: bool, views: bool) -> Iterator[tuple[str, AweError]]:  # noqa: FBT001 - private
    if here.failure is not None:
        yield "trust", here.failure
    yield from here.refused
    for facade in here.verdict.facades if here.verdict else ():
        yield from ((facade.name, error) for error in facade.refusals)
    for pack in here.packs if deep else ():
        yield from _fault(pack.record.name, partial(check_requirements, pack.record))
    if views:
        store = here.governance.store
        yield from _fault("views", lambda: govern.check_views(store.read(), store.read_one))


def _fault(name: str, check: Callable[[], None]) -> Iterator[tuple[str, AweError]]:
    try:
        check()
    except AweError as error:
        yield name, error


def _day(ends: Any) -> str:  # noqa: ANN401 - a root or a manifest
    return datetime.fromtimestamp(ends.expires, UTC).date().isoformat()
