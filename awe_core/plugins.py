"""Asking installed distributions what they offer: a typed face over pluggy, with grants.

Rules.  A module is looked through once, before anything of it is registered, and only what was
seen then is registered: one implementation outside the granted hooks, and nothing of it counts (in
plain pluggy a pack of skills can answer the handshake).  Nobody wraps a policy hook, since a
wrapper can turn a denial into a grant.  Each distribution is asked alone, so that one which raises
silences only itself.  This is the only module that touches pluggy's ``pm.hook``; it imports nothing
of a pack.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import attrs
import pluggy

from awe_core import hookspecs
from awe_core.errors import AweError, PackError
from awe_core.hookspecs import (
    PROJECT,
    AuditSink,
    ConfirmationPolicy,
    Executor,
    UndoStrategy,
)

if TYPE_CHECKING:
    from pluggy import HookimplOpts

    from awe_core.values import Json

T = TypeVar("T")

#: The table of ``awe.yaml`` of each distribution.
Configs = Mapping[str, Mapping[str, "Json"]]

#: Every hook this core knows.
HOOKS = frozenset(name for name in vars(hookspecs) if name.startswith("awe_"))
#: Hooks whose answers decide something; nobody stands between them and the core.
POLICY_HOOKS = frozenset({"awe_confirmation_policies"})


@attrs.frozen
class SetAside:
    """A distribution that does not count, and why."""

    distribution: str
    error: AweError


@attrs.frozen
class Offers(Generic[T]):
    """What distributions offered, and those which could not be asked."""

    found: tuple[tuple[str, T], ...] = ()  #: (distribution, object), by distribution name
    set_aside: tuple[SetAside, ...] = ()

    @property
    def objects(self) -> tuple[T, ...]:
        """What was offered, without by whom."""
        return tuple(one for _, one in self.found)


class Plugins:
    """The registered distributions, each with the hooks its record grants."""

    def __init__(self) -> None:
        self._registry = _Registry(PROJECT)
        self._registry.add_hookspecs(hookspecs)
        self._modules: dict[str, list[_Vetted]] = {}

    def register(self, module: object, *, distribution: str, hooks: Iterable[str]) -> None:
        """Take the implementations of one module (or object) of *distribution*.

        :param hooks: the hookspecs its signed record grants
        :raises PackError: ``pack.hook_not_granted``, ``pack.hook_wrapper``, or ``pack.broken`` if
            one does not fit its spec; then nothing of the module is registered
        """
        vetted = _vet(self._registry, module, distribution=distribution, granted=frozenset(hooks))
        siblings = self._modules.setdefault(distribution, [])
        name = f"pack:{distribution}" + (f":{len(siblings) + 1}" if siblings else "")
        try:
            self._registry.register(vetted, name)
        except pluggy.PluginValidationError as error:
            if self._registry.is_registered(vetted):  # pluggy 1.6 checks while it registers
                self._registry.unregister(vetted)
            raise _broken(distribution, "registering its hooks", error) from error
        siblings.append(vetted)

    def unregister(self, distribution: str) -> None:
        """Ask *distribution* no more.  A call in progress is not stopped; the gate does that."""
        for vetted in self._modules.pop(distribution, []):
            self._registry.unregister(vetted)

    def implements(self, distribution: str, hook: str) -> bool:
        """Whether a registered module of *distribution* answers *hook*."""
        return any(hook in vetted.hooks for vetted in self._modules.get(distribution, []))

    def capabilities(self, distribution: str) -> tuple[object, ...]:
        """Give what *distribution* alone answers; empty if it does not implement the hook.

        :raises PackError: ``pack.broken``
        """
        return self._ask_one(distribution, "awe_capabilities", object, {})

    def confirmation_policies(self, configs: Configs) -> Offers[ConfirmationPolicy]:
        """Give the policies that ``confirm:`` may name."""
        return self._ask("awe_confirmation_policies", ConfirmationPolicy, configs)

    def audit_sinks(self, configs: Configs) -> Offers[AuditSink]:
        """Give the sinks that ``audit.sinks`` may name."""
        return self._ask("awe_audit_sinks", AuditSink, configs)

    def undo_strategies(self, configs: Configs) -> Offers[UndoStrategy]:
        """Give the strategies that can take an effect back."""
        return self._ask("awe_undo_strategies", UndoStrategy, configs)

    def executors(self, configs: Configs) -> Offers[Executor]:
        """Give the isolation tiers."""
        return self._ask("awe_executors", object, configs)

    def effect_channels(self, configs: Configs) -> Offers[object]:
        """Give further kinds of effect."""
        return self._ask("awe_effect_channels", object, configs)

    def redactors(self, configs: Configs) -> Offers[object]:
        """Give the redactors, in the order in which they mask."""
        return self._ask("awe_redactors", object, configs)

    def proposal_sources(self, configs: Configs) -> Offers[object]:
        """Give the kinds of source that can be proposed from."""
        return self._ask("awe_proposal_sources", object, configs)

    def cli_commands(self) -> Offers[object]:
        """Give click commands."""
        return self._ask("awe_cli_commands", object, None)

    def _ask(self, hook: str, kind: type[Any], configs: Configs | None) -> Offers[Any]:
        found: list[tuple[str, Any]] = []
        aside: list[SetAside] = []
        for distribution in sorted(self._modules):
            arguments = {} if configs is None else {"config": _table(configs, distribution)}
            try:
                answers = self._ask_one(distribution, hook, kind, arguments)
            except PackError as error:
                aside.append(SetAside(distribution, error))
            else:
                found += [(distribution, answer) for answer in answers]
        return Offers(tuple(found), tuple(aside))

    def _ask_one(
        self, distribution: str, hook: str, kind: type[Any], arguments: Mapping[str, object]
    ) -> tuple[Any, ...]:
        answers: list[object] = []
        for vetted in self._modules.get(distribution, []):
            if hook in vetted.hooks:
                try:
                    answers += self._registry.ask(vetted, hook, arguments)
                except (Exception, SystemExit) as error:  # foreign code: its failure is an outcome
                    raise _broken(distribution, f"answering {hook}", error) from error
        for answer in answers:
            if not isinstance(answer, kind):
                wrong = TypeError(f"{type(answer).__name__} is not a {kind.__name__}")
                raise _broken(distribution, f"answering {hook}", wrong)
        return tuple(answers)


class _Vetted:
    """The implementations of one module, as they were when they were looked through."""

    def __init__(
        self, functions: Mapping[str, object], options: Mapping[str, HookimplOpts]
    ) -> None:
        self.options = options
        self.hooks = frozenset(found["specname"] for found in options.values())
        vars(self).update(functions)


class _Registry(pluggy.PluginManager):
    """Registers vetted implementations and nothing else, and asks one plugin at a time."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> HookimplOpts | None:
        if isinstance(plugin, _Vetted):
            return plugin.options.get(name)
        return super().parse_hookimpl_opts(plugin, name)

    def ask(self, plugin: object, hook: str, arguments: Mapping[str, object]) -> list[object]:
        others = [other for other in self.get_plugins() if other is not plugin]
        answers = self.subset_hook_caller(hook, others)(**arguments)
        return [item for answer in answers for item in cast("Iterable[object]", answer)]


def _vet(
    registry: _Registry, module: object, *, distribution: str, granted: frozenset[str]
) -> _Vetted:
    functions: dict[str, object] = {}
    options: dict[str, HookimplOpts] = {}
    for name in dir(module):
        found = registry.parse_hookimpl_opts(module, name)
        if found is None:
            continue
        hook = found.get("specname") or name
        _check_grant(hook, found, distribution=distribution, granted=granted)
        if hook in HOOKS:
            slot = f"implementation_{len(functions)}"
            functions[slot], options[slot] = getattr(module, name), {**found, "specname": hook}
    return _Vetted(functions, options)


def _check_grant(
    hook: str, options: HookimplOpts, *, distribution: str, granted: frozenset[str]
) -> None:
    """Refuse what is not granted; a hook of a newer core may be there if it is marked optional."""
    if hook not in granted or (hook not in HOOKS and not options.get("optionalhook")):
        raise PackError(
            "pack.hook_not_granted",
            distribution=distribution,
            hook=hook,
            details=[f"granted: {', '.join(sorted(granted & HOOKS)) or 'no hook'}"],
        )
    if hook in POLICY_HOOKS and (options.get("wrapper") or options.get("hookwrapper")):
        raise PackError("pack.hook_wrapper", distribution=distribution, hook=hook)


def _table(configs: Configs, distribution: str) -> Mapping[str, Json]:
    return MappingProxyType(copy.deepcopy(dict(configs.get(distribution, {}))))


def _broken(distribution: str, doing: str, error: BaseException) -> PackError:
    return PackError(
        "pack.broken",
        distribution=distribution,
        doing=doing,
        why=f"{type(error).__name__}: {error}",
    )
