"""Which paths no declaration can open for change.

A protected path protects what lies below it too, and moving or deleting a directory is refused when
anything inside it is protected.  Names are compared folded, so ``.GIT/Config`` on a file system
that ignores case is the same as ``.git/config``.  The same rules keep the home private: it
holds keys, and what was redacted elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectRefusedError
from awe_core.workspace.paths import fold, shown
from awe_core.workspace.patterns import Pattern, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Protected everywhere: what runs by itself when somebody uses git, and AWE's own folder.
ALWAYS = (".awe/**", "**/.git/config", "**/.git/hooks/**")


@attrs.frozen
class Protection:
    """The protected paths of one workspace."""

    _literal: frozenset[str]  #: folded paths
    _patterns: tuple[Pattern, ...]  #: over folded paths

    @classmethod
    def of(
        cls, root: Path, protected: Sequence[str], *, always: Sequence[str] = ALWAYS
    ) -> Protection:
        """Compile *protected*: patterns relative to *root*, or absolute paths.

        An absolute path outside the workspace needs no protection here and is left out, as is one
        that holds the whole workspace.
        """
        texts = [*always]
        for text in protected:
            paths = {Path(text), Path(text).resolve()} if text.startswith("/") else ()
            inside = (p.relative_to(root) for p in paths if p.is_relative_to(root) and p != root)
            texts += (quoted(p.as_posix()) for p in inside) if paths else (text,)
        bases = {fold(text).rstrip("/").removesuffix("/**") for text in texts}
        compiled = {base: Pattern.compile(base) for base in bases}  # refuses what is no pattern
        wild = sorted(base for base in bases if any(c in base for c in "*?["))
        below = (Pattern.compile(f"{base}/**") for base in wild)
        return cls(frozenset(bases.difference(wild)), (*(compiled[b] for b in wild), *below))

    def check(self, path: str) -> None:
        """Refuse a change at *path*.

        :raises EffectRefusedError: ``workspace.protected``
        """
        if rule := self.rule_for(path):
            raise EffectRefusedError("workspace.protected", path=shown(path), rule=rule)

    def rule_for(self, path: str) -> str:
        """Give the text of what protects *path*, or nothing."""
        folded = fold(path)
        at = len(folded)
        while at > 0:
            if folded[:at] in self._literal:
                return folded[:at]
            at = folded.rfind("/", 0, at)
        return next((p.text for p in self._patterns if p.matches(folded)), "")
