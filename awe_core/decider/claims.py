"""Who may change what: the claims of one run's steps on the resources they change.

Rules: a resource is a path of segments between slashes, its kind first (``fs/notes/a.txt``); a
claim covers everything below it and conflicts with claims above.  A step keeps its claims until it
has ended.  A step that would close a cycle of waits is told so at once and waits for nobody
(30-engine, section 3: why LIFO undo is right for branches that overlap).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen
class Granted:
    """The step may change the resource until it has ended."""


@attrs.frozen
class Waits:
    """Another step may change it now."""

    for_: str  #: that step's path


@attrs.frozen
class Deadlock:
    """Waiting would never end: each of these waits for the next, the last for the first."""

    cycle: tuple[str, ...]


Claimed: TypeAlias = Granted | Waits | Deadlock


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
    _waiting: dict[str, dict[str, None]] = attrs.field(factory=dict, init=False)  #: who wait for it

    def acquire(self, step: str, resource: str) -> Claimed:
        """Claim *resource* for *step*; ask again when `release` names the step."""
        self.withdraw(step, resource)
        holder = self._holder(step, resource)
        if holder is None:
            self._hold(step, resource)
            return Granted()
        if cycle := self._cycle(step, holder):
            return Deadlock(cycle)
        self._waits.setdefault(step, {})[resource] = holder
        self._waiting.setdefault(holder, {})[step] = None
        return Waits(holder)

    def release(self, step: str) -> tuple[str, ...]:
        """Give up all claims and waits of *step*, which has ended.

        :returns: the steps that waited for it, the longest waiting first
        """
        for resource in self._of.pop(step, ()):
            self._held.pop(resource, None)
            for above in covering(resource):
                count = self._below[above]
                count[step] -= 1
                if not count[step]:
                    del count[step]
                if not count:
                    del self._below[above]
        for resource in tuple(self._waits.get(step, ())):
            self.withdraw(step, resource)
        return tuple(self._waiting.pop(step, ()))

    def withdraw(self, step: str, resource: str) -> None:
        """Stop waiting for *resource*: the effect was given up."""
        waits = self._waits.get(step, {})
        holder = waits.pop(resource, None)
        if holder is not None and holder not in waits.values():
            self._waiting.get(holder, {}).pop(step, None)
        if not waits:
            self._waits.pop(step, None)

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
        came: dict[str, str] = {holder: step}
        open_ = [holder]
        while open_:
            at = open_.pop()
            for after in self._waits.get(at, {}).values():
                if after == step:
                    return _way(step, at, came)
                if after not in came:
                    came[after] = at
                    open_.append(after)
        return ()


def _way(step: str, at: str, came: dict[str, str]) -> tuple[str, ...]:
    way = [at]
    while came[way[-1]] != step:
        way.append(came[way[-1]])
    return (step, *reversed(way))
