"""What a wheel would bring, found without importing or unpacking it: `inspect_wheel`.

Every refusal of a wheel is made here or in `archive`, before anybody is asked to approve it.  The
report is what approvers read and what a pack record is built from (`proposal`).
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.contract import Schema
from awe_core.errors import AweError, ContractError, PackError
from awe_core.packs.archive import open_wheel
from awe_core.packs.contents import Contents, read_contents
from awe_core.packs.pinned import module_name, modules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from awe_core.packs.archive import Archive
    from awe_core.values import JsonObject

_NATIVE_SUFFIXES = (".so", ".pyd", ".dylib", ".dll")
_NATIVE_MAGIC = (b"\x7fELF", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe")
_SCRIPT_GROUPS = frozenset({"console_scripts", "gui_scripts"})


@attrs.frozen
class FileReport:
    """One file of a wheel."""

    sha256: str
    size: int  #: in bytes


@attrs.frozen(kw_only=True)
class WheelReport:
    """Everything that can be said of a wheel without running it."""

    filename: str
    sha256: str
    size: int  #: in bytes
    distribution: str  #: normalised
    version: str
    files: Mapping[str, FileReport]  #: what a record pins
    top_level: tuple[str, ...]
    entry_points: Mapping[str, str]  #: of the group ``awe``
    requires_dist: tuple[str, ...]
    contents: Contents
    imports: tuple[str, ...]  #: top-level modules its code imports, its own left out
    native: tuple[str, ...]  #: files of machine code
    unreadable: tuple[str, ...]  #: Python files that do not parse
    refusals: tuple[AweError, ...]  #: why it cannot be proposed; empty: it can

    @property
    def kind(self) -> str:
        """``declarative``, ``plugin`` or ``pack``, by what it holds and asks for."""
        pack = self.contents.pack
        if pack is not None and pack.interpreter is not None:
            return "declarative"
        if pack is None or set(pack.hooks) - {"awe_capabilities"}:
            return "plugin"
        return "pack"

    @property
    def name(self) -> str:
        """How people call it: the distribution's name without ``awe-pack-`` or ``awe-``."""
        pack = self.contents.pack
        name = self.distribution.removeprefix("awe-pack-").removeprefix("awe-")
        return pack.name if pack is not None else name

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks it asks to be granted."""
        return self.contents.pack.hooks if self.contents.pack else ()

    def as_json(self) -> JsonObject:
        """Give the report as the document approvers read."""
        contracts, flows = self.contents.contracts, self.contents.workflows
        return {
            "awe": "wheel-report/v1",
            "wheel": {"filename": self.filename, "sha256": self.sha256, "size": self.size},
            "kind": self.kind,
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "files": {path: attrs.asdict(found) for path, found in sorted(self.files.items())},
            "top_level": list(self.top_level),
            "entry_points": {_ascii(name): value for name, value in self.entry_points.items()},
            "requires_dist": [_ascii(one) for one in self.requires_dist],
            "hooks": list(self.hooks),
            "capabilities": [
                {
                    "id": one.spec.id,
                    "version": one.spec.version,
                    "contract": one.digest,
                    "risk": one.spec.risk.value,
                    "effects": [effect.kind for effect in one.spec.effects],
                    "handler": one.spec.handler,
                }
                for one in contracts
            ],
            "workflows": [
                {"id": one.spec.id, "version": one.spec.version, "spec": one.digest}
                for one in flows
            ],
            "facades": [one.spec.id for one in self.contents.facades],
            "imports": list(self.imports),
            "native": list(self.native),
            "unreadable": list(self.unreadable),
            "refusals": [
                {"code": one.code, "message": _ascii(one.summary)} for one in self.refusals
            ],
        }

    @property
    def digest(self) -> str:
        """Digest of the report's canonical bytes, bare hex."""
        return canonical.sha256_hex(canonical.document(self.as_json()))


def inspect_wheel(path: Path, *, taken: Mapping[str, str] | None = None) -> WheelReport:
    """Look through the wheel at *path*.

    :param taken: top levels of other records and installed distributions, and whose they are
        (`installed_top_levels`); this is the costly part
    :raises PackError: ``pack.wheel`` or ``pack.limits`` if it cannot be read at all
    """
    return _report(open_wheel(path), taken or {})


def _report(archive: Archive, taken: Mapping[str, str]) -> WheelReport:
    inside = {
        path: content
        for path, content in archive.files.items()
        if not path.startswith(f"{archive.dist_info}/")
    }
    top_level = _top_level(inside)
    code = _Code.of(inside)
    contents = read_contents(inside, top_level, distribution=archive.distribution)
    report = WheelReport(
        filename=archive.filename,
        sha256=archive.sha256,
        size=archive.size,
        distribution=archive.distribution,
        version=archive.version,
        files={
            path: FileReport(canonical.sha256_hex(content), len(content))
            for path, content in archive.pinned_files.items()
        },
        top_level=top_level,
        entry_points=archive.entry_points.get("awe", {}),
        requires_dist=archive.requires_dist,
        contents=contents,
        imports=tuple(sorted(code.imports - set(top_level))),
        native=tuple(path for path, content in inside.items() if is_native(path, content)),
        unreadable=code.unreadable,
        refusals=archive.refusals + contents.flaws,
    )
    checks = _Checks(report, inside, code)
    found = (
        *checks.top_level(taken),
        *checks.entry_points(archive.entry_points),
        *checks.names(),
        *checks.schemas(),
        *(checks.declarative() if report.kind == "declarative" else checks.handlers()),
    )
    return attrs.evolve(report, refusals=report.refusals + found)


def is_native(path: str, content: bytes) -> bool:
    """Whether a file is machine code, by its name or its first bytes."""
    name = path.rpartition("/")[2].lower()
    if name.endswith(_NATIVE_SUFFIXES) or ".so." in name or content.startswith(_NATIVE_MAGIC):
        return True
    return content.startswith(b"MZ") and b"PE\0\0" in content[:4096]


@attrs.frozen
class _Code:
    """What the Python files say, by their syntax trees."""

    imports: frozenset[str]
    names: Mapping[str, frozenset[str]]  #: module path: what it defines at its top
    unreadable: tuple[str, ...]

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> _Code:
        imports: set[str] = set()
        names: dict[str, frozenset[str]] = {}
        unreadable: list[str] = []
        for path, content in files.items():
            if not path.endswith(".py"):
                continue
            try:
                tree = ast.parse(content)
                imports.update(_imports(tree))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                unreadable.append(path)
                continue
            names[path] = frozenset(_defined(tree.body))
        return cls(frozenset(imports), names, tuple(unreadable))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]


def _defined(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Names bound at the top of a module, also inside its conditions; ``*`` for a star import."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
            case ast.Assign(targets=targets):
                yield from (one.id for one in targets if isinstance(one, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.If() | ast.Try() | ast.With():
                yield from _defined(
                    one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt)
                )


def _top_level(files: Iterable[str]) -> tuple[str, ...]:
    """What it would install: the folders, and the modules that stand alone."""
    tops = set()
    for path in files:
        top, _, below = path.partition("/")
        tops.add(top if below else (module_name(path) or path).partition(".")[0])
    return tuple(sorted(tops))


@attrs.frozen
class _Checks:
    """The refusals that need the whole picture."""

    report: WheelReport
    files: Mapping[str, bytes]
    code: _Code

    def refusal(self, code: str, **attributes: str) -> PackError:
        return PackError(code, wheel=self.report.filename, **attributes)

    def top_level(self, taken: Mapping[str, str]) -> Iterator[PackError]:
        if not self.report.top_level:
            yield self.refusal("pack.top_level", top_level="(none)", why="is needed: it is empty")
        for top in self.report.top_level:
            why = self._unfit_top(top, taken)
            if why:
                yield self.refusal("pack.top_level", top_level=top, why=why)
        for name, times in sorted(self._forms().items()):
            if times > 1:
                why = f"holds {times} files that would be the module {name}"
                yield self.refusal("pack.top_level", top_level=name.partition(".")[0], why=why)

    def _unfit_top(self, top: str, taken: Mapping[str, str]) -> str | None:
        mine = self.report.distribution
        if not top.isidentifier():
            return "is no Python name"
        if top in sys.stdlib_module_names or top == "awe_core":
            return "is the name of somebody else's module"
        if taken.get(top, mine) != mine:
            return f"belongs to {taken[top]}"
        if top.startswith("awe_") and mine != top.replace("_", "-"):
            return f"belongs to the distribution {top.replace('_', '-')}"
        return None if self.report.kind == "declarative" else self._unfit_form(top)

    def _unfit_form(self, top: str) -> str | None:
        if any(path.startswith(f"{top}/") for path in self.files):
            return None if f"{top}/__init__.py" in self.files else "is a folder without __init__.py"
        is_module = any(module_name(path) == top for path in self.files if "/" not in path)
        return None if is_module else "is neither a package nor a module"

    def _forms(self) -> Counter[str]:
        names = (module_name(path) for path in self.files)
        return Counter(name for name in names if name is not None)

    def entry_points(self, groups: Mapping[str, Mapping[str, str]]) -> Iterator[PackError]:
        for group in sorted(_SCRIPT_GROUPS & groups.keys()):
            why = "is a script; commands come by the hook awe_cli_commands"
            for name in groups[group]:
                yield self.refusal("pack.entry_points", entry_point=name, why=why)
        for group in groups.keys() - _SCRIPT_GROUPS:
            for name, value in groups[group].items():
                module = value.partition(":")[0].partition("[")[0].strip()
                if module not in self._modules():
                    why = f"names {value}, which is no module of this wheel"
                    yield self.refusal("pack.entry_points", entry_point=name, why=why)
        if not self.report.entry_points and self.report.kind != "declarative":
            why = "is needed: it has none in the group awe"
            yield self.refusal("pack.entry_points", entry_point="(none)", why=why)

    def _modules(self) -> dict[str, str]:
        return dict(modules(self.files, self.report.top_level, native=True))

    def names(self) -> Iterator[PackError]:
        """``pack.yaml`` may not call itself what its distribution is not."""
        pack = self.report.contents.pack
        if pack is not None and self.report.distribution not in {
            f"awe-pack-{pack.name}",
            f"awe-{pack.name}",
        }:
            why = f"its pack.yaml says {pack.name}, its distribution is {self.report.distribution}"
            yield self.refusal("pack.name", why=why)

    def schemas(self) -> Iterator[AweError]:
        """Each contract's schemas can be used; after approval it would be too late to see it."""
        for contract in self.report.contents.contracts:
            for side in ("input", "output"):
                try:
                    Schema.compile(getattr(contract.spec, side), where=f"{contract.path}: {side}")
                except ContractError as error:
                    yield error

    def handlers(self) -> Iterator[PackError]:
        """Each handler is a function of a module that is in the wheel."""
        found = self._modules()
        for contract in self.report.contents.contracts:
            module, _, name = contract.spec.handler.partition(":")
            names = self.code.names.get(found.get(module, ""), frozenset())
            if module not in found:
                why = f"of {contract.spec.id} names a module that is not in it"
            elif names and not {name.partition(".")[0], "*"} & names:
                why = f"of {contract.spec.id} names a function its module does not define"
            else:
                continue
            yield PackError(
                "pack.handler",
                distribution=self.report.distribution,
                handler=contract.spec.handler,
                why=why,
                details=[contract.path],
            )

    def declarative(self) -> Iterator[PackError]:
        """Data only: no module, no entry point, nothing that could run, one interpreter."""
        for path, content in self.files.items():
            if module_name(path) or path.endswith(".py") or is_native(path, content):
                yield self.refusal("pack.path", path=path, why="code in a declarative pack")
        for name in self.report.entry_points:
            why = "stands in a declarative pack, which has no code"
            yield self.refusal("pack.entry_points", entry_point=name, why=why)
        pack = self.report.contents.pack
        for contract in self.report.contents.contracts:
            spec, wanted = contract.spec, (pack.interpreter or "") if pack else ""
            bound = f"{self.report.contents.package}/{spec.binding}"
            why = ""
            if spec.handler != wanted:
                why = f"of {spec.id} is not the pack's interpreter {wanted}"
            elif bound not in self.files:
                why = f"of {spec.id} has no binding file"
            if why:
                yield PackError(
                    "pack.handler",
                    distribution=self.report.distribution,
                    handler=spec.handler,
                    why=why,
                    details=[contract.path],
                )


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
