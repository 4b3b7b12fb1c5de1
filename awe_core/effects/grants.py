"""What one call may do: the contract's declared effects, narrowed to this very call's arguments.

A contract's templates are parsed once (`GrantPlan`); at the call they are filled in with the
*validated* arguments before the handler starts (`Grant`).  A substituted value is always literal: a
star in an argument matches a star, and it can never add a segment to a pattern.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.errors import EffectRefusedError, ExpressionError
from awe_core.expressions import Expression
from awe_core.expressions.scan import Source, pieces
from awe_core.workspace import Literal, Pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from awe_core.capability import CapabilitySpec
    from awe_core.values import Json, JsonObject

ROOTS = frozenset({"input", "config"})

#: Kinds the core performs itself; plugins add others.
CORE_KINDS = frozenset(
    {"fs.read", "fs.list", "fs.write", "fs.delete", "env.read", "clock", "random"}
)
_WITHOUT_TARGETS = frozenset({"clock", "random"})
_CHANGING = frozenset({"fs.write", "fs.delete"})


@attrs.frozen
class Goal:
    """One target of a narrowed effect."""

    shown: str  #: as people read it
    pattern: Pattern | None  #: None: exactly what is shown

    @classmethod
    def of(cls, filled: Sequence[str | Literal]) -> Goal:
        """Build it from declared text and, as literals, arguments."""
        shown = "".join(part.text if isinstance(part, Literal) else part for part in filled)
        declared = "".join(part for part in filled if isinstance(part, str))
        is_open = any(special in declared for special in "*?[")
        return cls(shown, Pattern.compile_parts(filled) if is_open else None)


#: One declared path or name: what needs no arguments, or text and expressions in turn.
_Target: TypeAlias = Goal | tuple[str | Expression, ...]


@attrs.frozen
class Narrowed:
    """One declared effect, narrowed to one call."""

    kind: str
    key: str  #: the field that holds the targets: paths, names
    goals: tuple[Goal, ...]
    fields: Mapping[str, Json]  #: limits and modes

    def covers(self, target: str) -> bool:
        """Whether *target* is granted."""
        return self.kind in _WITHOUT_TARGETS or any(
            target == goal.shown if goal.pattern is None else goal.pattern.matches(target)
            for goal in self.goals
        )


@attrs.frozen
class Grant:
    """Everything one call may do."""

    effects: tuple[Narrowed, ...]

    def find(self, kind: str, target: str, *others: str) -> Narrowed:
        """Give the narrowed effect that covers *target*, or one of the *others*.

        :raises EffectRefusedError: ``effect.undeclared``
        """
        of_kind = [effect for effect in self.effects if effect.kind == kind]
        for effect in of_kind:
            if any(effect.covers(one) for one in (target, *others)):
                return effect
        granted = ", ".join(goal.shown for effect in of_kind for goal in effect.goals)
        details = [f"granted to this call for {kind}: {granted or 'nothing'}"]
        raise EffectRefusedError("effect.undeclared", kind=kind, target=target, details=details)

    @property
    def as_json(self) -> tuple[JsonObject, ...]:
        """The grant as ``step.started`` and the handshake show it."""
        return tuple(
            {e.kind: {**({e.key: [g.shown for g in e.goals]} if e.goals else {}), **e.fields}}
            for e in self.effects
        )

    @property
    def may_change(self) -> tuple[str, ...]:
        """The literal paths this call may change, sorted, each once."""
        goals = (g for e in self.effects if e.kind in _CHANGING for g in e.goals)
        return tuple(sorted({goal.shown for goal in goals if goal.pattern is None}))

    @property
    def is_closed(self) -> bool:
        """Whether every target is known by name, so that the grant is the plan of the call."""
        return all(goal.pattern is None for effect in self.effects for goal in effect.goals)


@attrs.frozen
class _Declared:
    kind: str
    key: str
    targets: tuple[_Target, ...]
    fields: Mapping[str, Json]

    def narrow(self, scope: Mapping[str, Json]) -> Narrowed:
        try:
            goals = tuple(goal for target in self.targets for goal in _goals(target, scope))
        except ExpressionError:
            goals = ()  # what cannot be evaluated grants nothing; the broker then refuses by name
        return Narrowed(self.kind, self.key, goals, self.fields)


@attrs.frozen
class GrantPlan:
    """A contract's effects with their templates parsed; made once, when a pack becomes ACTIVE."""

    declared: tuple[_Declared, ...]

    @classmethod
    def compile(cls, spec: CapabilitySpec, *, kinds: frozenset[str] = CORE_KINDS) -> GrantPlan:
        """Parse the templates of *spec*.

        :raises EffectRefusedError: ``effect.kind_unavailable`` for a kind nobody here performs
        :raises ExpressionError: for a template that does not parse
        """
        declared = []
        for effect in spec.effects:
            if effect.kind not in kinds:
                raise EffectRefusedError(
                    "effect.kind_unavailable", kind=effect.kind, capability=spec.full_reference
                )
            fields = dict(effect.fields)
            key = "paths" if "paths" in fields else "names"
            where = f"{spec.id}: {effect.kind}"
            targets = tuple(_target(text, where=where) for text in fields.pop(key, None) or ())
            declared.append(_Declared(effect.kind, key, targets, fields))
        return cls(tuple(declared))

    def narrow(self, arguments: JsonObject, config: JsonObject) -> Grant:
        """Fill the templates in with one call's validated *arguments*."""
        scope: dict[str, Json] = {"input": arguments, "config": config}
        return Grant(tuple(declared.narrow(scope) for declared in self.declared))


def _target(text: str, *, where: str) -> _Target:
    parts = [
        Expression.compile(f"${{{piece}}}", where=where, roots=ROOTS)
        if isinstance(piece, Source)
        else piece
        for piece in pieces(text, where=where)
    ]
    fixed = [part for part in parts if isinstance(part, str)]
    return Goal.of(fixed) if len(fixed) == len(parts) else tuple(parts)


def _goals(target: _Target, scope: Mapping[str, Json]) -> Iterator[Goal]:
    match target:
        case Goal():
            yield target
        case (Expression() as whole,):
            found = whole.evaluate(scope)
            for one in found if isinstance(found, list) else [found]:
                if isinstance(one, str) and one:
                    yield Goal(one, None)
        case parts:
            filled = [_filled(part, scope) for part in parts]
            if all(filled):
                yield Goal.of(filled)


def _filled(part: str | Expression, scope: Mapping[str, Json]) -> str | Literal:
    """Give declared text as it is, an argument as a literal; what is no string grants nothing."""
    if isinstance(part, str):
        return part
    found = part.evaluate(scope)
    return Literal(found) if isinstance(found, str) and found else ""
