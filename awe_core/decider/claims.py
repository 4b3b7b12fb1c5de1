"""Who may change what: the claims of one run's steps on the resources they change.

Rules: a resource is a path of segments between slashes, its kind first (``fs/notes/a.txt``); a
claim covers everything below it and conflicts with claims above.  A step keeps its claims until it
has ended; then the scope around it keeps them, if that may be taken back alone, and lends them to
the steps in it.  A step that would close a cycle of waits is told so at once and waits for nobody
(30-engine, section 3: why LIFO undo is right for branches that overlap).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectError

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_inside(step: str, outer: str) -> bool:
    """Tell whether *step* stands in the scope or fan-out with the path *outer*."""
    return step.startswith(outer) and step[len(outer) :].startswith((".", "["))


def covering(resource: str) -> Iterator[str]:
    """Give *resource* and everything above it, from below."""
    while resource:
        yield resource
        resource = resource.rpartition("/")[0]


@attrs.define(eq=False)
class Claims:
    """The table of one run; its driver alone holds it."""

    _held: dict[str, str] = attrs.field(factory=dict, init=False)  #: resource → step
    _below: dict[str, dict[str, int]] = attrs.field(factory=dict, init=False)  #: step → how many
    _of: dict[str, dict[str, None]] = attrs.field(factory=dict, init=False)  #: step → its own
    _waits: dict[str, dict[str, str]] = attrs.field(factory=dict, init=False)  #: step → resource →

    def acquire(self, step: str, resource: str) -> str | None:
        """Claim *resource* for *step*; ask again when the step that is given back has ended.

        :returns: who may change it now; None: *step* itself, until it has ended
        :raises EffectError: ``effect.deadlock``: waiting would never end; *step* waits for nobody
        """
        self.withdraw(step, resource)
        holder = self._holder(step, resource)
        if holder is None:
            self._hold(step, resource)
            return None
        if cycle := self._cycle(step, holder):
            way = " waits for ".join(cycle)
            raise EffectError("effect.deadlock", step=step, target=resource, cycle=way)
        self._waits.setdefault(step, {})[resource] = holder
        return holder

    def release(self, step: str, *, to: str | None = None) -> None:
        """Give up all claims and waits of *step*, which has ended, and all waits for it.

        :param to: the scope around it that keeps the claims
        """
        for resource in tuple(self._of.get(step, ())):
            self._let_go(step, resource)
            if to is not None:
                self._hold(to, resource)
        self._waits.pop(step, None)
        for waits in self._waits.values():
            for resource in [wanted for wanted, holder in waits.items() if holder == step]:
                del waits[resource]

    def withdraw(self, step: str, resource: str) -> None:
        """Stop waiting for *resource*: the effect was given up."""
        self._waits.get(step, {}).pop(resource, None)

    def _holder(self, step: str, resource: str) -> str | None:
        for above in covering(resource):
            other = self._held.get(above, step)
            if other != step and not is_inside(step, other):
                return other
        for other in self._below.get(resource, ()):
            if other != step and not is_inside(step, other):
                return other
        return None

    def _hold(self, step: str, resource: str) -> None:
        if (before := self._held.get(resource)) is not None:
            if before == step:
                return
            self._let_go(before, resource)  # lent by the scope around it
        self._held[resource] = step
        self._of.setdefault(step, {})[resource] = None
        for above in covering(resource):
            count = self._below.setdefault(above, {})
            count[step] = count.get(step, 0) + 1

    def _let_go(self, step: str, resource: str) -> None:
        del self._held[resource]
        del self._of[step][resource]
        if not self._of[step]:
            del self._of[step]
        for above in covering(resource):
            count = self._below[above]
            count[step] -= 1
            if not count[step]:
                del count[step]
            if not count:
                del self._below[above]

    def _waited_for(self, holder: str) -> Iterator[str]:
        """Give what *holder*, or a step in it if it is a scope, waits for."""
        for step, waits in self._waits.items():
            if step == holder or is_inside(step, holder):
                yield from waits.values()

    def _cycle(self, step: str, holder: str) -> tuple[str, ...]:
        """Follow who waits for whom from *holder*; a way back to *step* is a cycle."""
        ways: dict[str, tuple[str, ...]] = {holder: (step, holder)}
        open_ = [holder]
        while open_:
            way = ways[open_.pop()]
            for after in self._waited_for(way[-1]):
                if after == step:
                    return way
                if is_inside(step, after):
                    return (*way, after)
                if after not in ways:
                    ways[after] = (*way, after)
                    open_.append(after)
        return ()
