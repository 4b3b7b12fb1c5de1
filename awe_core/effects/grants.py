"""What one call may do: the contract's declared effects, narrowed to this very call's arguments.

A contract's templates are parsed once (`GrantPlan`); at the call they are filled in with the
*validated* arguments before the handler starts (`Grant`).  A substituted value is always literal: a
star in an argument matches a star, and it can never add a segment to a pattern.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectRefusedError, ExpressionError
from awe_core.expressions import Expression
from awe_core.expressions.scan import Source, pieces
from awe_core.workspace import Literal as LiteralText
from awe_core.workspace import Pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from awe_core.capability import CapabilitySpec
    from awe_core.values import Json, JsonObject

ROOTS = frozenset({"input", "config"})

#: Kinds the core performs itself; plugins add others.
CORE_KINDS = frozenset(
    {"fs.read", "fs.list", "fs.write", "fs.delete", "env.read", "clock", "random"}
)

_SPECIAL = "*?["
_CHANGING = frozenset({"fs.write", "fs.delete"})


@attrs.frozen
class Goal:
    """One target of a narrowed effect."""

    shown: str  #: as people read it
    pattern: Pattern | None  #: None: exactly what is shown

    def covers(self, target: str) -> bool:
        """Whether *target* is granted."""
        return target == self.shown if self.pattern is None else self.pattern.matches(target)


@attrs.frozen
class _Target:
    """One declared path or name: text and expressions in turn."""

    parts: tuple[str | Expression, ...]

    def values(self, scope: Mapping[str, Json]) -> Iterator[Goal]:
        """Give the narrowed forms: what is granted, as shown to people and as matched."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Expression):
            found = self.parts[0].evaluate(scope)
            for one in found if isinstance(found, list) else [found]:
                if isinstance(one, str) and one:
                    yield Goal(one, None)
            return
        filled = [_filled(part, scope) for part in self.parts]
        if all(filled):
            shown = "".join(part.text if isinstance(part, LiteralText) else part for part in filled)
            declared = "".join(part for part in filled if isinstance(part, str))
            is_open = any(special in declared for special in _SPECIAL)
            yield Goal(shown, Pattern.compile_parts(filled) if is_open else None)


def _filled(part: str | Expression, scope: Mapping[str, Json]) -> str | LiteralText:
    """Give declared text as it is, an argument as a literal; what is no string grants nothing."""
    if isinstance(part, str):
        return part
    found = part.evaluate(scope)
    return LiteralText(found) if isinstance(found, str) and found else ""


@attrs.frozen
class _Declared:
    kind: str
    key: str  #: the field that holds the targets: paths, names
    targets: tuple[_Target, ...]
    fields: Mapping[str, Json]


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
        for effect in spec.effects:
            if effect.kind not in kinds:
                raise EffectRefusedError(
                    "effect.kind_unavailable", kind=effect.kind, capability=spec.full_reference
                )
        return cls(tuple(_declared(e.kind, e.fields, spec.id) for e in spec.effects))

    def narrow(self, arguments: JsonObject, config: JsonObject) -> Grant:
        """Fill the templates in with one call's validated *arguments*."""
        scope: dict[str, Json] = {"input": arguments, "config": config}
        return Grant(tuple(_narrowed(declared, scope) for declared in self.declared))


def _declared(kind: str, fields: Mapping[str, Json], capability: str) -> _Declared:
    key = "paths" if "paths" in fields else "names"
    texts = fields.get(key) or []
    targets = tuple(_target(text, where=f"{capability}: {kind}") for text in texts)
    rest = {k: v for k, v in fields.items() if k != key}
    return _Declared(kind, key, targets, rest)


def _target(text: str, *, where: str) -> _Target:
    return _Target(
        tuple(
            Expression.compile(f"${{{piece}}}", where=where, roots=ROOTS)
            if isinstance(piece, Source)
            else piece
            for piece in pieces(text, where=where)
        )
    )


def _narrowed(declared: _Declared, scope: Mapping[str, Json]) -> Narrowed:
    try:
        found = tuple(goal for target in declared.targets for goal in target.values(scope))
    except ExpressionError:
        found = ()  # what cannot be evaluated grants nothing; the broker then refuses by name
    return Narrowed(
        kind=declared.kind,
        key=declared.key,
        goals=found,
        fields=declared.fields,
    )


@attrs.frozen
class Narrowed:
    """One declared effect, narrowed to one call."""

    kind: str
    key: str
    goals: tuple[Goal, ...]
    fields: Mapping[str, Json]  #: limits and modes

    def covers(self, target: str) -> bool:
        """Whether *target* is granted."""
        return any(goal.covers(target) for goal in self.goals)

    @property
    def shown(self) -> list[str]:
        """The targets as people read them."""
        return [goal.shown for goal in self.goals]


@attrs.frozen
class Grant:
    """Everything one call may do."""

    effects: tuple[Narrowed, ...]

    def find(self, kind: str, target: str, *others: str) -> Narrowed:
        """Give the narrowed effect that covers *target*, or one of the *others*.

        :raises EffectRefusedError: ``effect.undeclared``
        """
        granted = []
        for effect in self.effects:
            if effect.kind != kind:
                continue
            if any(effect.covers(one) for one in (target, *others)):
                return effect
            granted += effect.shown
        raise EffectRefusedError(
            "effect.undeclared",
            kind=kind,
            target=target,
            details=[f"granted to this call for {kind}: {', '.join(granted) or 'nothing'}"],
        )

    def find_kind(self, kind: str) -> Narrowed:
        """Give the narrowed effect of a kind that has no targets (clock, random)."""
        for effect in self.effects:
            if effect.kind == kind:
                return effect
        raise EffectRefusedError("effect.undeclared", kind=kind, target="", details=[])

    @property
    def as_json(self) -> tuple[JsonObject, ...]:
        """The grant as ``step.started`` and the handshake show it."""
        return tuple(
            {
                effect.kind: {
                    **({effect.key: effect.shown} if effect.goals else {}),
                    **effect.fields,
                }
            }
            for effect in self.effects
        )

    @property
    def may_change(self) -> tuple[str, ...]:
        """The literal paths this call may change, sorted, each once."""
        return tuple(
            sorted(
                {
                    goal.shown
                    for effect in self.effects
                    if effect.kind in _CHANGING
                    for goal in effect.goals
                    if goal.pattern is None
                }
            )
        )

    @property
    def is_closed(self) -> bool:
        """Whether every target is known by name, so that the grant is the plan of the call."""
        return all(goal.pattern is None for effect in self.effects for goal in effect.goals)
