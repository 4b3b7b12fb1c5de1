"""What a step has used of its declared limits, over all its attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from awe_core.effects.grants import Narrowed


@attrs.define
class Counters:
    """The files that were asked for, and the bytes added to each."""

    _files: dict[int, set[str]] = attrs.field(factory=dict)  #: by identity of the granted effect
    _added: dict[str, int] = attrs.field(factory=dict)

    def file(
        self, granted: Narrowed, path: str, earlier: Callable[[], Iterable[tuple[str, str]]]
    ) -> None:
        """Count *path*; the same path again is one file, also in another attempt.

        :param earlier: kind and path of what earlier attempts asked for
        :raises EffectRefusedError: ``effect.limit`` beyond ``max_files``
        """
        files = self._files.get(id(granted))
        if files is None:
            files = {p for kind, p in earlier() if kind == granted.kind and granted.covers(p)}
            self._files[id(granted)] = files
        limit = granted.fields.get("max_files")
        if limit is not None and path not in files and len(files) >= limit:
            raise EffectRefusedError("effect.limit", which="max_files", limit=limit, target=path)
        files.add(path)

    def added(self, granted: Narrowed, path: str, size: int) -> None:
        """Count bytes put to the end of *path*, so that many small ones are no way around.

        :raises EffectRefusedError: ``effect.limit`` beyond ``max_bytes``
        """
        total, limit = self._added.get(path, 0) + size, granted.fields.get("max_bytes")
        if limit is not None and total > limit:
            raise EffectRefusedError("effect.limit", which="max_bytes", limit=limit, target=path)
        self._added[path] = total
