"""``awe init``, ``awe trust``, ``awe verify``: the root of trust and the store as a whole.

They work on the store alone, as an approver's laptop has it.  A root is written by people in
``root.yaml`` and signed by them in any order; nothing is signed that was not shown first.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from awe_core import canonical, signing
from awe_core import governance as govern
from awe_core.cli.asking import confirm
from awe_core.cli.governing import released, with_reason
from awe_core.cli.opening import (
    actor,
    deployment,
    documents,
    governance,
    is_dev,
    key_file,
    now_s,
    opener,
    passphrase,
    settings,
    signer,
)
from awe_core.cli.render import Answer, answer, details, listing
from awe_core.cli.shared import command, group, invocation
from awe_core.documents import load_deployment, read
from awe_core.errors import AweError, TrustError, UsageError
from awe_core.governance import Governance, StoreFolder
from awe_core.health.startup import hardening_unit
from awe_core.packs import check_requirements, foreign_top_levels
from awe_core.records import Manifest, Root, timestamp
from awe_core.runtime import repin as repin_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from awe_core.runtime.deployment import Deployment

_ROOT = Path("root.yaml")
_DOCUMENT = """\
awe: deployment/v1
name: {name}
home: {home}
trust: {{{pin}store: {store}}}
confirm: [{{policy: auto}}]
"""
_PEOPLE = """\
# Who is who beside the keys in the root: logins, roles of the handshake.  The manifest pins it.
awe: people/v1
people: []
"""


@command()
@click.option("--prod", is_flag=True, help="A root for people to fill in and sign.")
@click.option("--name", metavar="NAME", help="Of the deployment; else the folder's.")
@click.option("--person", "people", multiple=True, metavar="NAME", help="Make this person's key.")
def init(prod: bool, name: str | None, people: tuple[str, ...]) -> Answer:  # noqa: FBT001 - click's
    """Found a deployment in this folder: awe.yaml, a home, a root of trust."""
    file, config, here = Path("awe.yaml"), settings(), Path.cwd()
    for made in (file, _ROOT) if prod else (file,):
        if made.exists():
            raise UsageError("cli.exists", file=made.absolute())
    name = name or re.sub(r"[^a-z0-9-]+", "-", here.name.lower()).strip("-") or "local"
    store, pin, who = StoreFolder(config.trust.store), "", people or (actor().id,)
    places = {"home": config.home, "store": store.folder}
    near = {k: p.relative_to(here) if p.is_relative_to(here) else p for k, p in places.items()}
    shown = {"name": name, **{key: str(path) for key, path in near.items()}}
    quoted = {key: json.dumps(value) for key, value in shown.items()}
    load_deployment(_DOCUMENT.format(**quoted, pin=""), file=str(file))  # before anything is made
    if prod:
        root = govern.unsigned_root(deployment=name, keys={}, now=now_s())
        store.add({})
        _ROOT.write_bytes(govern.write_root(root, file=_ROOT.name))
        if not (people_file := Path("people.yaml")).exists():
            people_file.write_text(_PEOPLE, encoding="utf-8")
    else:
        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        pin = govern.init_dev(store, config.home, deployment=name, people=who, now=now_s())
    with file.open("x", encoding="utf-8") as out:
        out.write(_DOCUMENT.format(**quoted, pin=pin and f'root_sha256: "{pin}", '))
    if prod:
        key = "next: awe trust key    (each person: the line that root.yaml takes)"
        then = "then: awe trust sign root.yaml; awe trust repin --reason T"
        return details({**shown, "trust": "nothing yet", "root": str(_ROOT)}, key, then)
    with opener():
        pass  # the log begins with who is trusted
    more = "next: awe packs trust-local NAME    (an installed pack), then: awe status"
    return details({**shown, "trust": "dev-local", "people": who, "pin": pin}, more)


# ---------------------------------------------------------------------------------------- trust
@group()
def trust() -> None:
    """See the root of trust, change it, sign for it."""


@trust.command("show")
@click.option("--history", is_flag=True, help="All roots and manifests that the store has.")
def show_trust(history: bool) -> Answer:  # noqa: FBT001 - click's
    """Show the root in force: people, roles, expiry."""
    desk = governance()
    if history:
        return listing(desk.history(), "file issued expires signed_by digest")
    root, manifest, phase, warnings = desk.root(), None, "none", []
    try:
        verdict = desk.verdict(now=now_s())
        manifest, phase, warnings = verdict.manifest, verdict.phase, [*verdict.warnings]
    except TrustError as error:
        warnings = [error]
    roles = [
        {"role": name, "needed": role.threshold, "people": sorted(root.owners(name))}
        for name, role in root.roles.items()
    ]
    shown = {name: getattr(root, name) for name in ("deployment", "environment", "version")}
    shown |= {"expires": timestamp(root.expires), "pin": desk.pin, "phase": phase}
    if manifest is not None:
        shown |= {"manifest": manifest.version, "manifest_expires": timestamp(manifest.expires)}
    waiting = sorted(desk.store.read_pending())
    return details(
        {**shown, "waiting": waiting, "roles": roles},
        *(f"warning: {one.summary}" for one in warnings),
        *(f"next: awe trust sign {one}" for one in waiting),
    )


@trust.command("key")
def trust_key() -> Answer:
    """Show your own public key; make it if there is none."""
    file = key_file()
    if not file.exists() and invocation().signer is None:
        phrase = passphrase(f"passphrase for {file}")
        if not phrase and not is_dev():
            raise TrustError("signer.unencrypted", file=file)
        signing.generate(file, passphrase=phrase or None)
    key = signer()
    line = f'{actor().id}: [{{key: "{key.scheme}:{key.public.hex()}", roles: [reviewer]}}]'
    public = {"keyid": key.keyid, "scheme": key.scheme, "public": key.public.hex()}
    public["file"] = invocation().signer or str(file)
    return details(public, f"in root.yaml, under people: {line}")


@trust.command()
@click.argument("file")
@click.option("--digest", metavar="D", help="What you sign; needed without a terminal.")
def sign(file: str, digest: str | None) -> Answer:
    """Add your signature to root.yaml, or to a FILE of the store that waits for more."""
    name, document, desk = _signable(file)
    found = canonical.sha256_hex(canonical.document(document.to_json()))
    changes = govern.differences(desk.before(document, now=now_s()), document)
    lines = [f"sign {file}", *map(str, (*changes, *_losses(desk, document))), f"digest {found}"]
    look = "awe trust rotate" if name is None else f"awe trust show, and read {file}"
    confirm(lines, digest=found, given=digest, look=look, is_grave=True)
    key, now = signer(), now_s()
    if isinstance(document, Root) and name is None:
        done = desk.rotate(document, signers=[key], now=now)
    else:
        done = desk.sign(name or file, signer=key, now=now)
    if isinstance(document, Root) and not done.is_pending:
        is_first = document.version == 1
        return released(done, f"next: awe trust {'repin --reason T' if is_first else 'renew'}")
    return released(done)


@trust.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=_ROOT)
def rotate(file: Path) -> Answer:
    """Write the next root to root.yaml; where it lies there, check it and say what it changes."""
    if not file.exists():
        file.write_bytes(governance().next_root(now=now_s(), file=file.name))
        return details({"file": file}, f"next: edit {file}, then again: awe trust rotate {file}")
    root, desk = _written(str(file))
    digest = canonical.sha256_hex(canonical.document(root.to_json()))
    changes = govern.differences(desk.before(root, now=now_s()), root)
    found = {"digest": digest, "changes": changes, "loses_its_approvals": _losses(desk, root)}
    signers = ", ".join(sorted(root.owners("root")))
    return details(found, f"next: awe trust sign {file}    (each of: {signers})")


@trust.command()
def renew() -> Answer:
    """Sign the next manifest with the same contents, before the old one expires."""
    desk = governance()
    return released(desk.renew(signers=[signer()], now=now_s(), documents=documents(desk)))


@trust.command()
@with_reason
@click.option("--digest", metavar="D", help="Of the first root; needed without a terminal.")
def repin(reason: str, digest: str | None) -> Answer:
    """Trust the root that the store begins with: write its digest to awe.yaml."""
    config = settings()
    if config.file is None:
        raise TrustError("trust.not_pinned", file="awe.yaml")
    store = StoreFolder(config.trust.store)
    pin = govern.first_root(store.read())
    root = Governance(store, pin, config.name).root()
    before = config.trust.root_sha256 or "nothing"
    lines = [f"trusted so far: {before}", *map(str, govern.differences(None, root))]
    look = "awe trust repin in a terminal, or compare root/00001.dsse with those who signed it"
    confirm([*lines, f"digest {pin}"], digest=pin, given=digest, look=look, is_grave=True)
    if pin != before:
        _write_pin(config.file, pin)
    repin_home(settings(), by=str(actor()), reason=reason)
    with opener():
        pass  # the log says from here on who is trusted
    return details({"deployment": root.deployment, "pin": pin, "before": before})


@trust.command()
def hardening() -> Answer:
    """Print a systemd unit that starts AWE before any startup file could run."""
    unit = hardening_unit(settings())
    return answer({"unit": unit}, *unit.splitlines())


def _signable(file: str) -> tuple[str | None, Root | Manifest, Governance]:
    """Read what *file* asks to be signed: its name in the store, if it lies there, and its desk."""
    if file.endswith((".yaml", ".yml")):
        return None, *_written(file)
    name, waiting = govern.pending(StoreFolder(settings().trust.store), file)
    if waiting.kind == "manifest":
        return name, waiting.document(Manifest), governance()
    root = waiting.document(Root)
    return name, root, _desk_of(root)


def _written(file: str) -> tuple[Root, Governance]:
    """Read root.yaml: the first root, or the one that follows."""
    text = Path(file).read_bytes()
    if settings().trust.root_sha256 is None:
        root = govern.read_root(text, file=file, chain=None)
    else:
        root = governance().read_root(text, file=file)
    return root, _desk_of(root)


def _desk_of(root: Root) -> Governance:
    """Give the store under its pin; a first root that nobody has pinned yet is its own."""
    config = settings()
    if config.trust.root_sha256 is not None:
        return governance()
    pin = canonical.sha256_hex(canonical.document(root.to_json()))
    return Governance(StoreFolder(config.trust.store), pin, config.name)


def _losses(desk: Governance, document: Root | Manifest) -> list[str]:
    lost = desk.losses(document, now=now_s()) if isinstance(document, Root) else ()
    return [f"! {name} would lose its approvals: {why.summary}" for name, why in lost]


def _write_pin(file: Path, pin: str) -> None:
    """Change one value of awe.yaml and no other byte of it."""
    text = file.read_text(encoding="utf-8")
    parsed, value = read("deployment", text, file=str(file)), f'root_sha256: "{pin}"'
    if "trust" not in parsed.value:
        text = f"{text.rstrip()}\ntrust: {{{value}}}\n"
    else:
        is_there = parsed.has(("trust", "root_sha256"))
        line, column = parsed.position_of(("trust", "root_sha256") if is_there else ("trust",))
        at = sum(map(len, text.splitlines(keepends=True)[: line - 1])) + column - 1
        if is_there:
            text = text[:at] + re.sub(r"""["']?[0-9a-f]{64}["']?""", f'"{pin}"', text[at:], count=1)
        elif text[at] == "{":
            text = f"{text[: at + 1]}{value}, {text[at + 1 :]}"
        else:
            text = f"{text[:at]}{value}\n{' ' * (column - 1)}{text[at:]}"
    load_deployment(text, file=str(file))
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


# --------------------------------------------------------------------------------------- verify
@command()
@click.option("--deep", is_flag=True, help="Also what packs require, and whose modules are whose.")
@click.option("--store", "is_whole", is_flag=True, help="Also every file and view of the store.")
@click.option("--write-views", is_flag=True, help="Write the views anew.")
def verify(deep: bool, is_whole: bool, write_views: bool) -> Answer:  # noqa: FBT001 - click's
    """Check the store and the installed packs, importing nothing."""
    here = deployment()
    if write_views:
        here.governance.write_views()
    found = {  # what two checks find is said once
        (name, error.summary): {
            "name": name,
            "why": f"{error.code}: {error.summary}",
            "next": error.hint,
        }
        for name, error in _faults(here, deep, is_whole)
    }
    good = [{"name": one.record.name, "why": "as approved"} for one in here.packs]
    return listing([*good, *found.values()], "name why next", exit_code=7 if found else 0)


def _faults(here: Deployment, deep: bool, is_whole: bool) -> Iterator[tuple[str, AweError]]:  # noqa: FBT001 - private
    if here.failure is not None:
        yield "trust", here.failure
    yield from here.refused
    for facade in here.verdict.facades if here.verdict else ():
        yield from ((facade.name, error) for error in facade.refusals)
    for pack in here.packs if deep else ():
        yield from _fault(pack.record.name, partial(check_requirements, pack.record, deep=True))
        yield from ((pack.record.name, error) for error in foreign_top_levels(pack.record))
    if is_whole:
        yield from here.governance.faults(now=now_s())


def _fault(name: str, check: Callable[[], None]) -> Iterator[tuple[str, AweError]]:
    try:
        check()
    except AweError as error:
        yield name, error
