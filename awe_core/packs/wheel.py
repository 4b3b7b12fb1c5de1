"""What a wheel would bring, found without importing or unpacking it: `inspect_wheel`.

Every refusal of a wheel is made here or in `archive`, before anybody is asked to approve it.  The
report is what approvers read and what a pack record is built from (`proposal`).
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.capability import undo_in_words
from awe_core.contract import Schema
from awe_core.errors import AweError, ContractError, PackError
from awe_core.packs.archive import open_wheel
from awe_core.packs.contents import Contents, read_contents
from awe_core.packs.discovery import lookalike, normalised
from awe_core.packs.pinned import module_name, modules
from awe_core.records import PinnedFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from awe_core.packs.archive import Archive
    from awe_core.values import JsonObject

    _Owners = Mapping[str, Collection[str]]

_NATIVE_SUFFIXES = (".so", ".pyd", ".dylib", ".dll")
_NATIVE_MAGIC = (b"\x7fELF", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe")
_SCRIPT_GROUPS = frozenset({"console_scripts", "gui_scripts"})


@attrs.frozen(kw_only=True)
class WheelReport:
    """Everything that can be said of a wheel without running it."""

    filename: str
    sha256: str
    size: int  #: in bytes
    distribution: str  #: normalised
    version: str
    files: Mapping[str, PinnedFile]  #: what a record pins
    top_level: tuple[str, ...]
    entry_points: Mapping[str, str]  #: of the group ``awe``
    requires_dist: tuple[str, ...]
    contents: Contents
    imports: tuple[str, ...]  #: top-level modules its code imports, its own left out
    native: tuple[str, ...]  #: files of machine code
    origin: tuple[str, ...]  #: those that look for libraries by ``$ORIGIN``, which finds none here
    unreadable: tuple[str, ...]  #: Python files that do not parse
    refusals: tuple[AweError, ...]  #: why it cannot be proposed; empty: it can

    @property
    def kind(self) -> str:
        """``declarative``, ``plugin`` or ``pack``, by what it holds and asks for."""
        pack = self.contents.pack
        if pack is not None and pack.interpreter is not None:
            return "declarative"
        return "plugin" if pack is None or set(pack.hooks) - {"awe_capabilities"} else "pack"

    @property
    def name(self) -> str:
        """How people call it: the distribution's name without ``awe-pack-`` or ``awe-``."""
        return self.distribution.removeprefix("awe-pack-").removeprefix("awe-")

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks it asks to be granted."""
        return self.contents.pack.hooks if self.contents.pack else ()

    def as_json(self) -> JsonObject:
        """Give the report as the document approvers read."""
        same = ("kind", "name", "distribution", "version")
        lists = ("top_level", "hooks", "imports", "native", "origin", "unreadable")
        refusals = [{"code": e.code, "message": _ascii(e.summary)} for e in self.refusals]
        return {
            "awe": "wheel-report/v1",
            "wheel": {"filename": self.filename, "sha256": self.sha256, "size": self.size},
            **{name: getattr(self, name) for name in same},
            **{name: list(getattr(self, name)) for name in lists},
            "asks": self._asks(),
            "entry_points": {_ascii(name): value for name, value in self.entry_points.items()},
            "requires_dist": [_ascii(one) for one in self.requires_dist],
            "capabilities": [
                {
                    "id": one.spec.id,
                    "version": one.spec.version,
                    "contract": one.digest,
                    "risk": one.spec.risk.value,
                    "effects": [effect.kind for effect in one.spec.effects],
                    "undo": " ".join(undo_in_words(one.spec.undo).values()),
                    "confirm": one.spec.confirm.value,
                    "handler": one.spec.handler,
                }
                for one in self.contents.contracts
            ],
            "workflows": [
                {"id": one.spec.id, "version": one.spec.version, "spec": one.digest}
                for one in self.contents.workflows
            ],
            "facades": [one.spec.id for one in self.contents.facades],
            "files": {path: attrs.asdict(found) for path, found in sorted(self.files.items())},
            "refusals": refusals,
        }

    def _asks(self) -> JsonObject:
        """What ``pack.yaml`` asks to be granted; the proposal decides."""
        pack = self.contents.pack
        if pack is None:
            return {}
        return {name: getattr(pack, name) for name in ("executor", "reuse", "native")}

    @property
    def digest(self) -> str:
        """Digest of the report's canonical bytes, bare hex."""
        return canonical.sha256_hex(canonical.document(self.as_json()))


def inspect_wheel(
    path: Path, *, taken: _Owners | None = None, known: Collection[str] = ()
) -> WheelReport:
    """Look through the wheel at *path*.

    :param taken: top levels of other records and installed distributions, and whose they are
        (`installed_top_levels`); this is the costly part
    :param known: names of distributions, packs, capabilities, facades: it may look like none
    :raises PackError: ``pack.wheel`` or ``pack.limits`` if it cannot be read at all
    """
    archive = open_wheel(path)
    info = f"{archive.dist_info}/"
    inside = {path: data for path, data in archive.files.items() if not path.startswith(info)}
    distribution = normalised(str(archive.metadata.get("Name", "")))
    top_level = _top_level(inside)
    contents = read_contents(inside, top_level, distribution=distribution)
    defined, imports = _defined_and_imported(inside)
    native = tuple(path for path, content in inside.items() if _is_native(path, content))
    report = WheelReport(
        filename=archive.filename,
        sha256=archive.sha256,
        size=archive.size,
        distribution=distribution,
        version=str(archive.metadata.get("Version", "")),
        files={
            path: PinnedFile(canonical.sha256_hex(content), len(content))
            for path, content in archive.files.items()
            if path != f"{info}RECORD"  # installers write it anew
        },
        top_level=top_level,
        entry_points=archive.entry_points.get("awe", {}),
        requires_dist=tuple(map(str, archive.metadata.get_all("Requires-Dist", []))),
        contents=contents,
        imports=tuple(sorted(imports - set(top_level))),
        native=native,
        origin=tuple(path for path in native if b"$ORIGIN" in inside[path]),
        unreadable=tuple(path for path, names in defined.items() if names is None),
        refusals=archive.refusals + contents.flaws,
    )
    checks = _Checks(report, archive, inside, defined)
    return attrs.evolve(report, refusals=(*report.refusals, *checks.all(taken or {}, known)))


def _is_native(path: str, content: bytes) -> bool:
    """Whether a file is machine code, by its name or its first bytes."""
    name = path.rpartition("/")[2].lower()
    if name.endswith(_NATIVE_SUFFIXES) or ".so." in name or content.startswith(_NATIVE_MAGIC):
        return True
    return content.startswith(b"MZ") and b"PE\0\0" in content[:4096]


def _defined_and_imported(
    files: Mapping[str, bytes],
) -> tuple[dict[str, frozenset[str] | None], set[str]]:
    """Give what each Python file defines (None: it does not parse), and what all import."""
    defined: dict[str, frozenset[str] | None] = {}
    imports: set[str] = set()
    for path, content in files.items():
        if path.endswith(".py"):
            try:
                tree = ast.parse(content)
                imports.update(_imports(tree))
                defined[path] = frozenset(_defined(tree.body))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                defined[path] = None
    return defined, imports


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]


def _defined(body: Iterable[ast.AST]) -> Iterator[str]:
    """Names bound at the top of a module, also inside its conditions; ``*`` for a star import."""
    for node in body:
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.AnnAssign(target=ast.Name(id=name))
            ):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
            case ast.Assign(targets=targets):
                yield from (one.id for one in targets if isinstance(one, ast.Name))
            case ast.If() | ast.Try() | ast.ExceptHandler() | ast.With():
                yield from _defined(ast.iter_child_nodes(node))


def _top_level(files: Iterable[str]) -> tuple[str, ...]:
    """What it would install: the folders, and the modules that stand alone."""
    tops = set()
    for path in files:
        top, _, below = path.partition("/")
        tops.add(top if below else top.partition(".")[0])
    return tuple(sorted(tops))


@attrs.define(slots=False)
class _Checks:
    """The refusals that need the whole picture."""

    report: WheelReport
    archive: Archive
    files: Mapping[str, bytes]
    defined: Mapping[str, frozenset[str] | None]

    def all(self, taken: _Owners, known: Collection[str]) -> Iterator[AweError]:
        yield from self.top_level(taken)
        yield from self.entry_points(self.archive.entry_points)
        yield from self.names(known)
        yield from self.schemas()
        if self.report.kind == "declarative":
            yield from self.declarative()
        for contract in self.report.contents.contracts:
            handler = contract.spec.handler
            if why := self.unfit_handler(contract.spec.id, handler, contract.spec.binding):
                about = {"distribution": self.report.distribution, "handler": handler}
                yield PackError("pack.handler", **about, why=why, details=[contract.path])

    def refusal(self, code: str, **attributes: str) -> PackError:
        return PackError(code, wheel=self.report.filename, **attributes)

    @cached_property
    def modules(self) -> dict[str, str]:
        return dict(modules(self.files, self.report.top_level, native=True))

    def top_level(self, taken: _Owners) -> Iterator[PackError]:
        if not self.report.top_level:
            yield self.refusal("pack.top_level", top_level="(none)", why="is needed: it is empty")
        for top in self.report.top_level:
            if why := self.unfit_top(top, taken):
                yield self.refusal("pack.top_level", top_level=top, why=why)
        forms = Counter(name for path in self.files if (name := module_name(path)) is not None)
        for name, times in sorted(forms.items()):
            if times > 1:
                why = f"holds {times} files that would be the module {name}"
                yield self.refusal("pack.top_level", top_level=name.partition(".")[0], why=why)

    def unfit_top(self, top: str, taken: _Owners) -> str | None:
        mine = self.report.distribution
        if not top.isidentifier():
            return "is no Python name"
        if top in sys.stdlib_module_names or top == "awe_core":
            return "is the name of somebody else's module"
        if others := {*taken.get(top, ())} - {mine}:
            return f"belongs to {' and '.join(sorted(others))}"
        if top.startswith("awe_") and mine != top.replace("_", "-"):
            return f"belongs to the distribution {top.replace('_', '-')}"
        if self.report.kind == "declarative":
            return None
        if any(path.startswith(f"{top}/") for path in self.files):
            return None if f"{top}/__init__.py" in self.files else "is a folder without __init__.py"
        is_module = any(module_name(path) == top for path in self.files)
        return None if is_module else "is neither a package nor a module"

    def entry_points(self, groups: Mapping[str, Mapping[str, str]]) -> Iterator[PackError]:
        for group, points in groups.items():
            for name, value in points.items():
                module = value.partition(":")[0].partition("[")[0].strip()
                if group in _SCRIPT_GROUPS:
                    why = "is a script; commands come by the hook awe_cli_commands"
                elif module not in self.modules:
                    why = f"names {value}, which is no module of this wheel"
                else:
                    continue
                yield self.refusal("pack.entry_points", entry_point=name, why=why)
        if not self.report.entry_points and self.report.kind != "declarative":
            why = "is needed: it has none in the group awe"
            yield self.refusal("pack.entry_points", entry_point="(none)", why=why)

    def names(self, known: Collection[str]) -> Iterator[PackError]:
        """``pack.yaml`` may not call itself what its distribution is not, and nothing a twin."""
        report = self.report
        names = {report.distribution, report.name}
        names |= {one.spec.id for one in report.contents.contracts}
        names |= {one.spec.id for one in report.contents.facades}
        for name in sorted(names):
            if twin := lookalike(name, [*known, *sorted(names)]):
                yield self.refusal("pack.name", why=f"{name} looks like {twin}, which is known")
        pack, mine = self.report.contents.pack, self.report.distribution
        if pack is not None and mine not in {f"awe-pack-{pack.name}", f"awe-{pack.name}"}:
            why = f"its pack.yaml says {pack.name}, its distribution is {mine}"
            yield self.refusal("pack.name", why=why)

    def schemas(self) -> Iterator[AweError]:
        """Each contract's schemas can be used; after approval it would be too late to see it."""
        for contract in self.report.contents.contracts:
            for side in ("input", "output"):
                try:
                    Schema.compile(getattr(contract.spec, side), where=f"{contract.path}: {side}")
                except ContractError as error:
                    yield error

    def unfit_handler(self, capability: str, handler: str, binding: str | None) -> str:
        """Say why a handler is no function of the wheel, or of a declarative pack no data."""
        contents = self.report.contents
        if self.report.kind == "declarative":
            wanted = (contents.pack.interpreter or "") if contents.pack else ""
            if handler != wanted:
                return f"of {capability} is not the pack's interpreter {wanted}"
            bound = f"{contents.package}/{binding}"
            return "" if bound in self.files else f"of {capability} has no binding file"
        module, _, name = handler.partition(":")
        if module not in self.modules:
            return f"of {capability} names a module that is not in it"
        names = self.defined.get(self.modules[module])
        if names and not {name.partition(".")[0], "*"} & names:
            return f"of {capability} names a function its module does not define"
        return ""

    def declarative(self) -> Iterator[PackError]:
        """Data only: no module, so no entry point either, and nothing that could run."""
        for path in self.files:
            if path.endswith(".py") or path in self.report.native:
                yield self.refusal("pack.path", path=path, why="code in a declarative pack")


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
