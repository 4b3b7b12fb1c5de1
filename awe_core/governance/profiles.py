"""How a deployment begins: a development root with its keys, ready to work at once.

One person alone may approve what they propose; as soon as there are two, somebody else has to.
For production people fill in a root and sign it together (`unsigned_root`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.errors import UsageError
from awe_core.governance.documents import public_key, sign_payload
from awe_core.governance.views import views
from awe_core.records import ApprovalRule, Key, Policy, Role, Root, When
from awe_core.signing import KeyFile, generate, load, person_key_file
from awe_core.trust import DAY_S, judge, root_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from awe_core.governance.store import StoreFolder
    from awe_core.records import Digest, Seconds

ROLES = ("root", "release", "reviewer", "security", "operator", "proposer")
STDLIB = ("awe-pack-stdlib",)  #: may run in process unless a root says otherwise

_ROOT_DAYS = 365
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@+-")


def init_dev(  # noqa: PLR0913 - what a deployment begins with
    store: StoreFolder,
    home: Path,
    *,
    deployment: str,
    people: Sequence[str] | Mapping[str, Sequence[str]],
    now: Seconds,
    inproc: Sequence[str] = STDLIB,
) -> Digest:
    """Create keys and the first root of a development deployment; gives the pin.

    :param people: names, each with every role; or name → roles
    :raises UsageError: ``governance.person``
    :raises TrustError: ``signer.exists``, ``trust.root_threshold``, ``store.taken``
    """
    roles = people if isinstance(people, dict) else dict.fromkeys(people, ROLES)
    for name in roles:
        _check_name(name)
    signers = {name: _key(home, name) for name in roles}
    keys = dict(public_key(each, owner=name, kind="person") for name, each in signers.items())
    root = Root(
        deployment=deployment,
        environment="dev",
        version=1,
        issued=now,
        expires=now + _ROOT_DAYS * DAY_S,
        keys=keys,
        roles=_roles(roles, signers),
        retired={},
        policy=_policy(alone=len(roles) == 1, inproc=tuple(inproc)),
    )
    payload = canonical.document(root.to_json())
    pin = canonical.sha256_hex(payload)
    holders = [each for name, each in signers.items() if "root" in roles[name]]
    files = {root_file(1): sign_payload("trust-root", payload, holders)}
    judge(files, pin=pin, deployment=deployment, mark=None, now=now)
    store.add(files)
    store.replace(views(files))
    return pin


def unsigned_root(*, deployment: str, keys: Mapping[Digest, Key], now: Seconds) -> Root:
    """Give a production root for people to fill in: roles are empty, the rules are strict."""
    policy = attrs.evolve(_policy(alone=False, inproc=STDLIB), self_approval=False)
    return Root(
        deployment=deployment,
        environment="prod",
        version=1,
        issued=now,
        expires=now + _ROOT_DAYS * DAY_S,
        keys=keys,
        roles={role: Role((), 2 if role == "root" else 1) for role in ROLES},
        retired={},
        policy=policy,
    )


def people_of(root: Root) -> tuple[str, ...]:
    """Name the people whose keys stand in *root*."""
    return tuple(sorted({key.owner for key in root.keys.values() if key.kind == "person"}))


def load_person(home: Path, name: str) -> KeyFile:
    """Read a person's key of a development home.

    :raises TrustError: ``signer.unavailable``, ``signer.permissions``
    """
    _check_name(name)
    return load(person_key_file(home, name), passphrase=None)


def _key(home: Path, name: str) -> KeyFile:
    return generate(person_key_file(home, name), passphrase=None)


def _check_name(name: str) -> None:
    if not name or not name[0].isalnum() or not _NAME_CHARACTERS.issuperset(name):
        raise UsageError("governance.person", name=ascii(name))


def _roles(people: Mapping[str, Sequence[str]], signers: Mapping[str, KeyFile]) -> dict[str, Role]:
    held = {
        role: tuple(sorted(signers[name].keyid for name in people if role in people[name]))
        for role in ROLES
    }
    majority = len(held["root"]) // 2 + 1
    return {
        role: Role(keys, majority if role == "root" else 1) for role, keys in held.items() if keys
    }


def _policy(*, alone: bool, inproc: tuple[str, ...]) -> Policy:
    both = {"reviewer": 1} if alone else {"reviewer": 1, "security": 1}
    return Policy(
        approvals=(
            *(ApprovalRule(When(kind=kind), both) for kind in ("pack", "plugin", "declarative")),
            ApprovalRule(When(kind="facade"), {"reviewer": 1}),
        ),
        approval_days=365,
        manifest_days=30,
        on_expiry="drain",
        grace_days=7,
        warn_days=7,
        dependencies="versions",
        evidence=(),
        inproc=inproc,
        self_approval=alone,
        editable=alone,
        observe=False,
    )
