"""Who may change what: the claims of one run's steps on the resources they change.

Rules: a resource is a path of segments between slashes, its kind first (``fs/notes/a.txt``); a
claim covers everything below it and conflicts with claims above.  A step keeps its claims until it
has ended.  A step that would close a cycle of waits is told so at once and waits for nobody
(30-engine, section 3: why LIFO undo is right for branches that overlap).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    _of: dict[str, list[str]] = attrs.field(factory=dict, init=False)  #: step → its resources
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

    def release(self, step: str) -> None:
        """Give up all claims and waits of *step*, which has ended, and all waits for it."""
        for resource in self._of.pop(step, ()):
            del self._held[resource]
            for above in covering(resource):
                count = self._below[above]
                count[step] -= 1
                if not count[step]:
                    del count[step]
                if not count:
                    del self._below[above]
        self._waits.pop(step, None)
        for waits in self._waits.values():
            for resource in [wanted for wanted, holder in waits.items() if holder == step]:
                del waits[resource]

    def withdraw(self, step: str, resource: str) -> None:
        """Stop waiting for *resource*: the effect was given up."""
        self._waits.get(step, {}).pop(resource, None)

    def _holder(self, step: str, resource: str) -> str | None:
        for above in covering(resource):
            if self._held.get(above, step) != step:
                return self._held[above]
        return next((other for other in self._below.get(resource, ()) if other != step), None)

    def _hold(self, step: str, resource: str) -> None:
        if resource in self._held:
            return
        self._held[resource] = step
        self._of.setdefault(step, []).append(resource)
        for above in covering(resource):
            count = self._below.setdefault(above, {})
            count[step] = count.get(step, 0) + 1

    def _cycle(self, step: str, holder: str) -> tuple[str, ...]:
        """Follow who waits for whom from *holder*; a way back to *step* is a cycle."""
        ways: dict[str, tuple[str, ...]] = {holder: (step, holder)}
        open_ = [holder]
        while open_:
            way = ways[open_.pop()]
            for after in self._waits.get(way[-1], {}).values():
                if after == step:
                    return way
                if after not in ways:
                    ways[after] = (*way, after)
                    open_.append(after)
        return ()
