"""What can be called here: the capabilities and workflows of verified packs, by reference.

Rules.  A pack is taken whole or not at all: its contracts are exactly those of its record, every
schema compiles, no id is another pack's.  Its code is imported at the first call of one of its
capabilities; what it then registers must be granted, and each handler must fit its contract.  A
pack that fails this is broken for the rest of the process; the others run on.  Whether something
*may* run is the gate's answer and not this module's.
"""

from __future__ import annotations

import copy
import difflib
import threading
from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import attrs

from awe_core import documents
from awe_core.binding import Binding, fitted, interpreting, structure, verified
from awe_core.contract import Schema
from awe_core.errors import AccessError, AweError, PackError, TrustError
from awe_core.events import PackRef
from awe_core.plugins import Plugins, SetAside

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from awe_core.binding import Handler
    from awe_core.capability import CapabilitySpec
    from awe_core.documents import Parsed
    from awe_core.packs import PinnedFiles, PinnedFinder, VerifiedPack
    from awe_core.values import Json
    from awe_core.workflow import WorkflowSpec

T = TypeVar("T")

_SKILLS = "awe_capabilities"
_PROGRAM = "local:"  #: and its id: the distribution of a capability that a program registers


@attrs.frozen(eq=False, kw_only=True)
class Capability:
    """One capability that can be called, with the pack it comes from."""

    spec: CapabilitySpec
    contract: str  #: digest of the contract, bare hex; what the gate is asked with
    pack: PackRef
    executor: str  #: granted by the record
    pinned: PinnedFiles | None = attrs.field(repr=False)  #: for executors that import elsewhere
    _load: Callable[[CapabilitySpec], Handler] = attrs.field(repr=False)
    input: Schema = attrs.field(init=False, repr=False)  #: of its arguments, compiled
    output: Schema = attrs.field(init=False, repr=False)  #: of its result, compiled

    def __attrs_post_init__(self) -> None:
        for side in ("input", "output"):
            where = f"{self.spec.full_reference}: {side}"
            schema = Schema.compile(getattr(self.spec, side), where=where)
            object.__setattr__(self, side, schema)

    @cached_property
    def _handler(self) -> Handler:
        return self._load(self.spec)

    def handler(self) -> Handler:
        """Give the function, importing its pack in this process if nobody has yet.

        :returns: called as ``handler(context, **arguments)``; a coroutine function or not
        :raises PackError: ``pack.handler``, ``pack.broken``, ``pack.hook_not_granted``,
            ``pack.already_imported``, ``pack.import_blocked``
        """
        return self._handler

    def structure(self, output: object) -> Json:
        """Give the JSON of what the handler returned."""
        return output if type(output) is dict else structure(output)


class CapabilityRegistry:
    """The capabilities and workflows of this process."""

    def __init__(self, finder: PinnedFinder, plugins: Plugins, *, dev: bool = False) -> None:
        """Begin empty.

        :param finder: serves the pinned bytes; installed by whoever owns the process
        :param plugins: takes what packs register, within their grants
        :param dev: whether the root lets a program register capabilities of its own
        """
        self._finder = finder
        self._plugins = plugins
        self._is_dev = dev
        self._packs: dict[str, _Loaded] = {}
        self._capabilities: dict[str, Capability] = {}
        self._workflows: dict[str, WorkflowSpec] = {}
        self._owners: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        self._workflow_packs: dict[str, PackRef] = {}
        self.generation = 0  #: rises with every change of what is offered

    @property
    def capabilities(self) -> Mapping[str, CapabilitySpec]:
        """Every contract by ``id@major``."""
        return MappingProxyType({key: one.spec for key, one in self._capabilities.items()})

    @property
    def workflows(self) -> Mapping[str, WorkflowSpec]:
        """Every workflow of a pack by ``id@major``."""
        return MappingProxyType(self._workflows)

    def packs(self) -> tuple[VerifiedPack, ...]:
        """Every pack that was taken, by distribution."""
        return tuple(loaded.pack for _, loaded in sorted(self._packs.items()))

    def add(self, pack: VerifiedPack) -> None:
        """Take the capabilities and workflows of *pack*; nothing of it is imported.

        :raises AweError: why it cannot be taken; then nothing of it is
        """
        known = self._packs.get(pack.record.distribution)
        if known is not None and known.pack.digest == pack.digest and not pack.is_editable:
            return
        contents = pack.contents
        loaded = _Loaded(pack, self._plugins, self._interpreter)
        ref = PackRef(pack.record.distribution, pack.record.version, pack.digest)
        capabilities = [
            Capability(
                spec=one.spec,
                contract=one.digest,
                pack=ref,
                executor=pack.record.executor,
                pinned=pack.pinned,
                load=loaded.handler,
            )
            for one in contents.contracts
        ]
        for name in (*(one.spec.id for one in capabilities), *(w.id for w in pack.workflows())):
            self._check_owner(name, ref.dist)
        self._finder.admit(pack.pinned)
        self.remove(ref.dist)
        for one in capabilities:
            self._take(one)
        for flow in contents.workflows:
            self._owners[flow.spec.id] = ref.dist
            self._workflows[flow.spec.reference] = flow.spec
            self._workflow_packs[flow.spec.reference] = ref
        self._packs[ref.dist] = loaded
        self.generation += 1

    def remove(self, distribution: str) -> None:
        """Offer nothing of *distribution* any more.  Its modules cannot be unloaded."""
        self.generation += 1
        self._packs.pop(distribution, None)
        self._plugins.unregister(distribution)
        gone = {name for name, owner in self._owners.items() if owner == distribution}
        self._owners = {name: one for name, one in self._owners.items() if name not in gone}
        self._aliases = {old: new for old, new in self._aliases.items() if new not in gone}
        self._capabilities = _without(self._capabilities, gone)
        self._workflows = _without(self._workflows, gone)
        self._workflow_packs = _without(self._workflow_packs, gone)

    def register(self, spec: CapabilitySpec, handler: Handler) -> Capability:
        """Take a capability that a program brings itself: under a dev root only.

        :raises PackError: ``pack.not_governed`` under any other root; ``pack.handler``
        """
        if not self._is_dev:
            raise PackError("pack.not_governed", what=spec.full_reference)
        distribution = f"{_PROGRAM}{spec.id}"  # each is a pack of its own, its contract the record
        self._check_owner(spec.id, distribution)
        contract = documents.contract_digest(_plain(attrs.evolve(spec, examples=())))
        found = Capability(
            spec=spec,
            contract=contract,
            pack=PackRef(distribution, spec.version, contract),
            executor="inproc",
            pinned=None,
            load=lambda spec: fitted(handler, spec, distribution=distribution),
        )
        found.handler()
        self._take(found)
        return found

    @property
    def local(self) -> tuple[tuple[str, str], ...]:
        """(id, contract) of what the program registered itself, as the gate wants to know it."""
        mine = (one for one in self._capabilities.values() if one.pack.dist.startswith(_PROGRAM))
        return tuple((one.spec.id, one.contract) for one in mine)

    def resolve(self, reference: str) -> Capability:
        """Give the capability of ``id@major``, of an ``id`` (its highest version), or of an alias.

        :raises AccessError: ``capability.unknown`` with the nearest names
        """
        found = self._capabilities.get(reference)
        if found is not None:
            return found
        name, _, major = reference.partition("@")
        name = self._aliases.get(name, name)
        versions = [one for one in self._capabilities.values() if one.spec.id == name]
        fitting = [one for one in versions if major in {"", str(one.spec.major)}]
        if not fitting:
            raise self._unknown(name, reference, versions)
        return max(fitting, key=lambda one: one.spec.major)

    def document(self, spec: CapabilitySpec) -> Parsed | None:
        """Read a pack's contract once more, with its lines; None: a program brought it itself."""
        if (loaded := self._packs.get(self._owners[spec.id])) is None:
            return None
        contracts = loaded.pack.contents.contracts
        path = next(one.path for one in contracts if one.spec.reference == spec.reference)
        return documents.read("capability", loaded.pack.pinned.files[path], file=path)

    def pack_of_workflow(self, reference: str) -> PackRef:
        """Tell which pack brought the workflow ``id@major``.

        :raises KeyError: none did
        """
        return self._workflow_packs[reference]

    def load_plugins(self, *, only: Collection[str] | None = None) -> tuple[SetAside, ...]:
        """Import every pack that is granted more than skills, and register what it offers.

        :param only: distributions whose code may run; None: all that were taken
        :returns: those that could not, with the reason; the others are registered
        """
        aside = []
        for distribution, loaded in sorted(self._packs.items()):
            may_run = only is None or distribution in only
            if may_run and set(loaded.pack.record.hooks) - {_SKILLS}:
                try:
                    loaded.register()
                except AweError as error:
                    aside.append(SetAside(distribution, error))
        return tuple(aside)

    def _check_owner(self, name: str, distribution: str) -> None:
        owner = self._owners.get(name, distribution)
        if owner != distribution:
            raise TrustError("trust.duplicate", what=name, by=f"{owner} and {distribution}")

    def _take(self, one: Capability) -> None:
        self.generation += 1
        self._owners[one.spec.id] = one.pack.dist
        self._capabilities[one.spec.reference] = one
        for alias in one.spec.aliases:
            self._aliases.setdefault(alias, one.spec.id)

    def _unknown(self, name: str, reference: str, versions: Iterable[Capability]) -> AccessError:
        known = [one.spec.reference for one in versions]
        ids = {one.spec.id for one in self._capabilities.values()} | self._aliases.keys()
        near = known or difflib.get_close_matches(name, ids, n=3)
        details = [f"did you mean {' or '.join(sorted(near))}?"] if near else []
        return AccessError("capability.unknown", capability=reference, details=details)

    def _interpreter(self, distribution: str) -> VerifiedPack | None:
        loaded = self._packs.get(distribution)
        return loaded.pack if loaded else None


class _Loaded:
    """A pack that was taken; imported once, at the first call of one of its capabilities."""

    def __init__(
        self,
        pack: VerifiedPack,
        plugins: Plugins,
        interpreters: Callable[[str], VerifiedPack | None],
    ) -> None:
        self.pack = pack
        self._plugins = plugins
        self._interpreters = interpreters
        self._lock = threading.RLock()
        self._is_registered = False
        self._bindings: dict[str, Binding] = {}
        self._failure: AweError | None = None

    def handler(self, spec: CapabilitySpec) -> Handler:
        """Give the function that performs *spec*, fitted to it."""
        if self.pack.record.kind == "declarative":
            return self._interpreted(spec)
        self.register()
        bound = self._bindings.get(spec.full_reference)
        function = self._bound(bound, spec) if bound else self.pack.handler(spec.handler)
        return fitted(function, spec, distribution=self.pack.record.distribution)

    def register(self) -> None:
        """Import the pack's modules and register what they implement; a failure is for good."""
        with self._lock:
            if self._failure is not None:
                raise copy.copy(self._failure)
            if self._is_registered:
                return
            try:
                self._register()
            except AweError as error:
                self._failure = error
                self._plugins.unregister(self.pack.record.distribution)
                raise
            self._is_registered = True

    def _register(self) -> None:
        record = self.pack.record
        for module in self.pack.modules():
            self._plugins.register(module, distribution=record.distribution, hooks=record.hooks)
        contents = self.pack.contents
        specs = [one.spec for one in contents.contracts]
        declared = {spec.full_reference for spec in specs}
        with verified(contents.package, specs):
            answers = self._plugins.capabilities(record.distribution)
        for answer in answers:
            if not isinstance(answer, Binding) or answer.capability not in declared:
                shown = answer.capability if isinstance(answer, Binding) else repr(answer)
                raise PackError(
                    "pack.capability_undeclared",
                    distribution=record.distribution,
                    version=record.version,
                    capability=shown,
                    why="is offered, and is in none of its contracts",
                )
            self._bindings[answer.capability] = answer

    def _interpreted(self, spec: CapabilitySpec) -> Handler:
        record, contents = self.pack.record, self.pack.contents
        interpreter = self._interpreters(record.interpreter or "")
        if interpreter is None:
            raise PackError("pack.interpreter", name=record.name, interpreter=record.interpreter)
        path = f"{contents.package}/{spec.binding}"
        parsed = documents.read("binding", self.pack.pinned.files[path], file=path)
        return interpreting(interpreter.handler(spec.handler), parsed.value)

    def _bound(self, bound: Binding, spec: CapabilitySpec) -> Handler:
        try:
            return bound.load()
        except AweError:
            raise
        except (Exception, SystemExit) as error:  # foreign code: its failure is an outcome
            raise PackError(
                "pack.broken",
                distribution=self.pack.record.distribution,
                doing=f"importing {spec.handler}",
                why=f"{type(error).__name__}: {error}",
            ) from error


def _without(table: dict[str, T], gone: set[str]) -> dict[str, T]:
    return {key: one for key, one in table.items() if key.partition("@")[0] not in gone}


def _plain(value: Json) -> Json:
    """Give a spec as JSON, for the digest of a contract that stands in no document."""
    match value:
        case Enum():
            return value.value
        case Mapping():
            return {str(key): _plain(one) for key, one in value.items()}
        case tuple() | list():
            return [_plain(one) for one in value]
        case _ if attrs.has(type(value)):
            names = (field.name for field in attrs.fields(type(value)))
            return {name: _plain(getattr(value, name)) for name in names}
        case _:
            return value
