"""Files people write: text in, specs out, or an error with file, line and column.

Pure: nothing is opened here, and ``file`` is only a name for messages.  The road is the same for
every kind: `parse` (strict YAML 1.2) → the closed schema of `awe_core.schemas` → what no schema can
say → a frozen value.  Nothing but `AweError` is raised, whatever the bytes.

What people sign is the digest of the *parsed* document (`contract_digest`): RFC 8785 bytes of the
value as parsed, so comments, order, quoting and line ends change nothing, and every word does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from awe_core import canonical
from awe_core.capability import CapabilitySpec
from awe_core.documents.capabilities import capability
from awe_core.documents.governance import (
    AllowList,
    AllowListEntry,
    ChannelKey,
    DeploymentSpec,
    Login,
    People,
    Person,
    ProposalSpec,
    PublicKey,
    allow_list,
    deployment,
    people,
    proposal,
)
from awe_core.documents.packs import facade, pack
from awe_core.documents.quantities import duration_us, size_bytes, written_bytes, written_us
from awe_core.documents.reading import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_WORKFLOW_BYTES,
    Parsed,
    Pointer,
    Position,
    parse,
)
from awe_core.documents.shape import check, kind_of, nearest, value_misfit
from awe_core.documents.workflows import workflow
from awe_core.errors import CanonicalError
from awe_core.pack import FacadeSpec, PackSpec
from awe_core.schemas import KINDS, schema
from awe_core.workflow import WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.values import Json

__all__ = [
    "KINDS",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_WORKFLOW_BYTES",
    "AllowList",
    "AllowListEntry",
    "ChannelKey",
    "DeploymentSpec",
    "Document",
    "Login",
    "Parsed",
    "People",
    "Person",
    "Pointer",
    "Position",
    "ProposalSpec",
    "PublicKey",
    "contract_digest",
    "duration_us",
    "kind_of",
    "load",
    "load_allow_list",
    "load_capability",
    "load_deployment",
    "load_facade",
    "load_pack",
    "load_people",
    "load_proposal",
    "load_workflow",
    "nearest",
    "parse",
    "read",
    "schema",
    "size_bytes",
    "value_misfit",
    "written_bytes",
    "written_us",
]

Document: TypeAlias = (
    CapabilitySpec
    | WorkflowSpec
    | FacadeSpec
    | PackSpec
    | DeploymentSpec
    | People
    | ProposalSpec
    | AllowList
)

#: Kinds that enter signed documents whole: integers only, ASCII keys.
_SIGNED_WHOLE = frozenset({"facade", "people", "proposal", "pack"})


def read(kind: str, text: bytes | str, *, file: str) -> Parsed:
    """Parse and check a document of *kind*, one of `KINDS`, and leave it JSON.

    :raises DocumentError: with file, line and column
    """
    limit = MAX_WORKFLOW_BYTES if kind == "workflow" else MAX_BYTES
    return _checked(kind, parse(text, file=file, max_bytes=limit))


def load(text: bytes | str, *, file: str) -> Document | Parsed:
    """Load a document of whatever kind it says it is; ``review`` and ``binding`` stay JSON.

    :raises DocumentError: with file, line and column
    """
    parsed = parse(text, file=file, max_bytes=MAX_WORKFLOW_BYTES)
    kind = kind_of(parsed)
    checked = _checked(kind, parsed)
    build = _BUILDERS.get(kind)
    return checked if build is None else build(checked)


def load_capability(text: bytes | str, *, file: str) -> CapabilitySpec:
    """Load a contract.

    :raises DocumentError: ``document.…`` or ``capability.…``
    """
    return capability(read("capability", text, file=file))


def load_workflow(text: bytes | str, *, file: str) -> WorkflowSpec:
    """Load a workflow; whether its steps fit together is for `awe_core.analysis`.

    :raises DocumentError: ``document.…`` or ``workflow.…``
    """
    return workflow(read("workflow", text, file=file))


def load_facade(text: bytes | str, *, file: str) -> FacadeSpec:
    """Load a facade.

    :raises DocumentError: ``document.…``
    """
    return facade(read("facade", text, file=file))


def load_pack(text: bytes | str, *, file: str) -> PackSpec:
    """Load a ``pack.yaml``.

    :raises DocumentError: ``document.…``
    """
    return pack(read("pack", text, file=file))


def load_deployment(text: bytes | str, *, file: str) -> DeploymentSpec:
    """Load an ``awe.yaml``; `awe_core.config` resolves it.

    :raises DocumentError: ``document.…``
    """
    return deployment(read("deployment", text, file=file))


def load_people(text: bytes | str, *, file: str) -> People:
    """Load a ``people.yaml``.

    :raises DocumentError: ``document.…``
    """
    return people(read("people", text, file=file))


def load_proposal(text: bytes | str, *, file: str) -> ProposalSpec:
    """Load a ``proposal.yaml``.

    :raises DocumentError: ``document.…``
    """
    return proposal(read("proposal", text, file=file))


def load_allow_list(text: bytes | str, *, file: str) -> AllowList:
    """Load an allow list.

    :raises DocumentError: ``document.…``
    """
    return allow_list(read("allow-list", text, file=file))


def contract_digest(value: Json) -> str:
    """Give the bare hex digest that records name a parsed document by."""
    return canonical.sha256_hex(canonical.value(value))


_BUILDERS: dict[str, Callable[[Parsed], Document]] = {
    "capability": capability,
    "workflow": workflow,
    "facade": facade,
    "pack": pack,
    "deployment": deployment,
    "people": people,
    "proposal": proposal,
    "allow-list": allow_list,
}


def _checked(kind: str, parsed: Parsed) -> Parsed:
    size, limit = parsed.size_bytes, MAX_WORKFLOW_BYTES if kind == "workflow" else MAX_BYTES
    if size > limit:
        raise parsed.error("document.too_large", (), size_bytes=size, limit_bytes=limit)
    check(kind, parsed)
    if kind in _SIGNED_WHOLE:
        _check_signable(parsed)
    return parsed


def _check_signable(parsed: Parsed) -> None:
    try:
        canonical.document(parsed.value)
    except CanonicalError as error:
        at = _pointer(str(error.attributes.get("pointer", "")), parsed.value)
        raise parsed.error("document.not_signable", at, why=error.summary) from None


def _pointer(text: str, value: Json) -> Pointer:
    """Read a JSON pointer as far as *value* has its places."""
    at: list[str | int] = []
    for step in text.split("/")[1:]:
        if isinstance(value, list):
            at.append(int(step))
            value = value[int(step)]
        elif isinstance(value, dict):
            at.append(step.replace("~1", "/").replace("~0", "~"))
            value = value.get(at[-1])
    return tuple(at)
