"""Files people write: text in, specs out, or an error with file, line and column.

Pure: nothing is opened here, and ``file`` is only a name for messages.  The road is the same for
every kind: `parse` (strict YAML 1.2) → the closed schema of `awe_core.schemas` → what no schema can
say → a frozen value.  Nothing but `AweError` is raised, whatever the bytes.

What people sign is the digest of the *parsed* document (`contract_digest`): RFC 8785 bytes of the
value as parsed, so comments, order, quoting and line ends change nothing, and every word does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import attrs

from awe_core import canonical
from awe_core.capability import CapabilitySpec
from awe_core.documents import specs
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
)
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
from awe_core.errors import CanonicalError
from awe_core.pack import FacadeSpec, PackSpec
from awe_core.schemas import KINDS, schema
from awe_core.workflow import WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.values import Json

__all__ = [
    "CAPABILITY",
    "FACADE",
    "KINDS",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_WORKFLOW_BYTES",
    "PACK",
    "WORKFLOW",
    "AllowList",
    "AllowListEntry",
    "ChannelKey",
    "DeploymentSpec",
    "Document",
    "Kind",
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
T = TypeVar("T")

#: Kinds that enter signed documents whole: integers only, ASCII keys.
_SIGNED_WHOLE = frozenset({"facade", "people", "proposal", "pack"})


@attrs.frozen
class Kind(Generic[T]):
    """A kind of document, and the value that it becomes."""

    name: str  #: one of `KINDS`
    build: Callable[[Parsed], T] = attrs.field(repr=False)

    def load(self, text: bytes | str, *, file: str) -> T:
        """Load a document of this kind.

        :raises DocumentError: ``document.…``, ``capability.…`` or ``workflow.…``
        """
        return self.build(read(self.name, text, file=file))


CAPABILITY = Kind("capability", specs.capability)
WORKFLOW = Kind("workflow", specs.workflow)
FACADE = Kind("facade", specs.facade)
PACK = Kind("pack", specs.pack)
_DEPLOYMENT = Kind("deployment", specs.deployment)
_PEOPLE = Kind("people", specs.people)
_PROPOSAL = Kind("proposal", specs.proposal)
_ALLOW_LIST = Kind("allow-list", specs.allow_list)

load_capability = CAPABILITY.load
load_workflow = WORKFLOW.load
load_facade = FACADE.load
load_pack = PACK.load
load_deployment = _DEPLOYMENT.load
load_people = _PEOPLE.load
load_proposal = _PROPOSAL.load
load_allow_list = _ALLOW_LIST.load

_BUILT: tuple[Kind[Any], ...] = (
    *(CAPABILITY, WORKFLOW, FACADE, PACK, _DEPLOYMENT, _PEOPLE, _PROPOSAL, _ALLOW_LIST),
)
_BUILDERS: dict[str, Callable[[Parsed], Document]] = {kind.name: kind.build for kind in _BUILT}


@lru_cache(maxsize=1024)
def read(kind: str, text: bytes | str, *, file: str) -> Parsed:
    """Parse and check a document of *kind*, one of `KINDS`, and leave it JSON: read-only.

    It is remembered: a pack's documents are read when it is verified, and again when it binds.

    :raises DocumentError: with file, line and column
    """
    limit = MAX_WORKFLOW_BYTES if kind == "workflow" else MAX_BYTES
    parsed = parse(text, file=file, max_bytes=limit)
    check(kind, parsed)
    if kind in _SIGNED_WHOLE:
        _check_signable(parsed)
    return parsed


def load(text: bytes | str, *, file: str) -> Document | Parsed:
    """Load a document of whatever kind it says it is; ``review`` and ``binding`` stay JSON.

    :raises DocumentError: with file, line and column
    """
    kind = kind_of(parse(text, file=file, max_bytes=MAX_WORKFLOW_BYTES))
    parsed = read(kind, text, file=file)
    return _BUILDERS[kind](parsed) if kind in _BUILDERS else parsed


def contract_digest(value: Json) -> str:
    """Give the bare hex digest that records name a parsed document by."""
    return canonical.sha256_hex(canonical.value(value))


def _check_signable(parsed: Parsed) -> None:
    try:
        canonical.document(parsed.value)
    except CanonicalError as error:
        steps = str(error.attributes.get("pointer", "")).split("/")[1:]
        at: Pointer = ()
        for step in (step.replace("~1", "/").replace("~0", "~") for step in steps):
            index = (*at, int(step)) if step.isdecimal() else at
            at = index if parsed.has(index) and index != at else (*at, step)
        raise parsed.error("document.not_signable", at, why=error.summary) from None
