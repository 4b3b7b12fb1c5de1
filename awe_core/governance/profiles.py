"""How a deployment begins: a development root with its keys, ready to work at once.

One person alone may approve what they propose; as soon as there are two, somebody else has to.
For production people fill in a root and sign it together (`unsigned_root`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.errors import UsageError
from awe_core.governance.releases import signed
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
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")


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
    files = {name: _key_file(home, name) for name in roles}
    signers = {name: generate(file, passphrase=None) for name, file in files.items()}
    keys = {
        each.keyid: Key(scheme=each.scheme, public=each.public.hex(), owner=name, kind="person")
        for name, each in signers.items()
    }
    thresholds = {}
    for role in ROLES:
        if held := tuple(sorted(signers[name].keyid for name in roles if role in roles[name])):
            thresholds[role] = Role(held, len(held) // 2 + 1 if role == "root" else 1)
    root = attrs.evolve(
        unsigned_root(deployment=deployment, keys=keys, now=now),
        environment="dev",
        roles=thresholds,
        policy=_policy(alone=len(roles) == 1, inproc=tuple(inproc)),
    )
    data = signed("trust-root", root, [s for name, s in signers.items() if "root" in roles[name]])
    pin = canonical.sha256_hex(canonical.document(root.to_json()))
    judge({root_file(1): data}, pin=pin, deployment=deployment, mark=None, now=now)
    store.add({root_file(1): data})
    store.replace(views({root_file(1): data}))
    return pin


def unsigned_root(*, deployment: str, keys: Mapping[Digest, Key], now: Seconds) -> Root:
    """Give a production root for people to fill in: roles are empty, the rules are strict."""
    return Root(
        deployment=deployment,
        environment="prod",
        version=1,
        issued=now,
        expires=now + _ROOT_DAYS * DAY_S,
        keys=keys,
        roles={role: Role((), 2 if role == "root" else 1) for role in ROLES},
        retired={},
        policy=_policy(alone=False, inproc=STDLIB),
    )


def load_person(home: Path, name: str) -> KeyFile:
    """Read a person's key of a development home.

    :raises TrustError: ``signer.unavailable``, ``signer.permissions``
    """
    return load(_key_file(home, name), passphrase=None)


def _key_file(home: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError("governance.person", name=ascii(name))
    return person_key_file(home, name)


def _policy(*, alone: bool, inproc: tuple[str, ...]) -> Policy:
    both = {"reviewer": 1} if alone else {"reviewer": 1, "security": 1}
    kinds = {"pack": both, "plugin": both, "declarative": both, "facade": {"reviewer": 1}}
    return Policy(
        approvals=tuple(ApprovalRule(When(kind=kind), need) for kind, need in kinds.items()),
        approval_days=365,
        manifest_days=30,
        on_expiry="drain",
        grace_days=7,
        warn_days=30,
        dependencies="versions",
        evidence=(),
        inproc=inproc,
        self_approval=alone,
        editable=alone,
        observe=False,
    )
