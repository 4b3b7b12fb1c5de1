"""Import of approved bytes: a finder that serves what was hashed, and nothing else.

Rules.  For a top level it knows, modules come only from the pinned files, compiled from the very
bytes whose digests people approved; a module that is not among them does not exist, wherever on the
disk it may lie.  A top level that is blocked cannot be imported, with the reason.  ``__pycache__``
is neither read nor written, ``__path__`` is empty, file names begin with ``<`` so that no traceback
and no ``open`` mistakes a file on the disk for the approved one.  `importlib.resources`,
`pkgutil.get_data` and `inspect` see the pinned bytes.  Machine code needs a grant and Linux, where
a sealed memory file holds the hashed bytes; libraries found by ``$ORIGIN`` are not found this way.

It is no sandbox: code that runs in this process can import around it.
"""

from __future__ import annotations

import errno
import importlib
import importlib.abc
import importlib.util
import io
import os
import sys
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.resources.abc import Traversable, TraversableResources
from typing import TYPE_CHECKING, Any, cast

import attrs

from awe_core.errors import AweError, PackError
from awe_core.packs.codecache import NO_CACHE, CodeCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import CodeType, ModuleType

_PACKAGE, _EXTENSION, _SOURCE = range(3)  # of equal names Python takes the first


class ImportBlockedError(PackError, ImportError):
    """A module of a pack whose state permits no import; also an `ImportError`."""


@attrs.frozen(eq=False)
class PinnedFiles:
    """The bytes of one approved distribution, and the modules they are."""

    distribution: str
    version: str
    record: str  #: digest of the pack record; empty for what no record describes
    top_level: tuple[str, ...]
    files: Mapping[str, bytes] = attrs.field(repr=False)  #: path below the installation: content
    native: bool = False  #: extension modules may be loaded
    modules: Mapping[str, str] = attrs.field(init=False, repr=False)  #: full name: path

    @modules.default
    def _modules(self) -> dict[str, str]:
        return dict(modules(self.files, self.top_level, native=self.native))

    @property
    def label(self) -> str:
        """What stands before the path in file names: ``<awe-pack-x 1.4.0>``."""
        return f"<{self.distribution} {self.version}>"

    def read(self, path: str) -> bytes:
        """Give one file.

        :raises FileNotFoundError: it is not among the approved ones
        """
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "is not among the approved files", path)
        return self.files[path]


def modules(
    files: Iterable[str], top_level: Iterable[str], *, native: bool
) -> Iterator[tuple[str, str]]:
    """Give (full name, path) of each module that *files* hold below *top_level*.

    A module inside a folder without ``__init__.py`` is none.  Where two forms have one name, the
    order is that of Python: package, extension module, source.
    """
    paths = set(files)
    tops = frozenset(top_level)
    for path in sorted(paths, key=_form, reverse=True):  # of equal names the last one counts
        name = module_name(path)
        if name is None or (_form(path) == _EXTENSION and not native):
            continue
        folders = path.split("/")[:-1]
        inside = ("/".join(folders[: n + 1]) for n in range(len(folders)))
        if name.partition(".")[0] in tops and all(f"{one}/__init__.py" in paths for one in inside):
            yield name, path


def module_name(path: str) -> str | None:
    """Name the module that a file would be; None if it is none on this platform."""
    for suffix in (*EXTENSION_SUFFIXES, ".py"):
        if path.endswith(suffix):
            parts = path.removesuffix(suffix).split("/")
            if parts[-1] == "__init__" and suffix == ".py":
                del parts[-1]
            return ".".join(parts) if parts and all(map(str.isidentifier, parts)) else None
    return None


class PinnedFinder(importlib.abc.MetaPathFinder):
    """Serves admitted distributions, refuses blocked ones, knows nothing of others."""

    def __init__(self, cache: CodeCache | None = None) -> None:
        self.cache = cache or NO_CACHE
        self._served: dict[str, PinnedFiles | AweError] = {}

    def install(self) -> None:
        """Stand first in ``sys.meta_path``; also when something went before it since."""
        if sys.meta_path[:1] != [self]:
            sys.meta_path[:] = [self, *(other for other in sys.meta_path if other is not self)]

    def uninstall(self) -> None:
        """Serve no more.  What was imported stays imported."""
        sys.meta_path[:] = [other for other in sys.meta_path if other is not self]

    def admit(self, pinned: PinnedFiles) -> None:
        """Serve *pinned* from now on.

        :raises PackError: ``pack.already_imported`` if one of its top levels was imported otherwise
        """
        for top in pinned.top_level:
            _check_unimported(top, pinned)
        self._served.update(dict.fromkeys(pinned.top_level, pinned))

    def block(self, top_level: Iterable[str], reason: AweError) -> None:
        """Refuse these from now on.  What was imported stays; the gate refuses its calls."""
        self._served.update(dict.fromkeys(top_level, reason))

    def knows(self, module: str) -> bool:
        """Whether *module* is below a top level that is served or blocked here."""
        return module.partition(".")[0] in self._served

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the signature is the import system's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Give the spec of a pinned module.

        :raises ImportBlockedError: ``pack.import_blocked``
        :raises ModuleNotFoundError: for a module that is not among the pinned ones; asking the
            next finder would import what nobody approved
        """
        pinned = self._served.get(fullname.partition(".")[0])
        if pinned is None:
            return None
        if isinstance(pinned, AweError):
            why = {"why": pinned.summary, "details": pinned.details}
            error = ImportBlockedError("pack.import_blocked", module=fullname, **why)
            error.name = fullname
            raise error from pinned
        if fullname not in pinned.modules:
            why_not = f"No module named {fullname!r} among the approved files of {pinned.label}"
            raise ModuleNotFoundError(why_not, name=fullname)
        module = pinned.modules[fullname]
        if _form(module) == _EXTENSION:
            extension = _extension(fullname, pinned.files[module])
            extension.pinned = pinned  # type: ignore[attr-defined] # says where it came from
            return ModuleSpec(fullname, extension, origin=extension.path)
        loader = PinnedLoader(pinned, module, self.cache)
        is_package = loader.is_package(fullname)
        spec = ModuleSpec(fullname, loader, origin=loader.get_filename(), is_package=is_package)
        spec.has_location = True  # gives the module its __file__
        return spec


class PinnedLoader(importlib.abc.SourceLoader):
    """Loads one Python module from pinned bytes."""

    def __init__(self, pinned: PinnedFiles, path: str, cache: CodeCache) -> None:
        self.pinned = pinned
        self._path = path
        self._cache = cache

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - one loader a module
        """Compile the pinned bytes, or take their authentic code from the cache."""
        return self._cache.code(self.pinned.files[self._path], self.get_filename())

    def get_filename(self, fullname: str = "") -> str:  # noqa: ARG002
        """Give the name that stands in tracebacks; no such file exists."""
        return f"{self.pinned.label}/{self._path}"

    def get_data(self, path: str) -> bytes:
        """Give a file of the distribution by its name below `get_filename`'s folder."""
        return self.pinned.read(str(path).replace("\\", "/").removeprefix(f"{self.pinned.label}/"))

    def get_resource_reader(self, fullname: str) -> TraversableResources | None:
        """Give the package's files to `importlib.resources`."""
        folder = self._path.removesuffix("/__init__.py")
        return _Resources(self.pinned, folder) if self.is_package(fullname) else None


def function(pinned: PinnedFiles, reference: str) -> Callable[..., Any]:
    """Import the module of ``module:function`` and give the function."""
    name, _, attribute = reference.partition(":")
    found = getattr(imported(pinned, name, doing=f"importing {reference}"), attribute, None)
    if not callable(found):
        about = {"distribution": pinned.distribution, "handler": reference}
        raise PackError("pack.handler", **about, why="is no function")
    return cast("Callable[..., Any]", found)


def imported(pinned: PinnedFiles, name: str, *, doing: str) -> ModuleType:
    """Import one pinned module; see `function` for what is raised."""
    serving = (one for one in sys.meta_path if isinstance(one, PinnedFinder) and one.knows(name))
    finder = next(serving, None)
    if finder is None:
        why = "no pinned finder serves it"
        raise ImportBlockedError("pack.import_blocked", module=name, why=why)
    finder.install()  # any finder before it would run what nobody approved
    try:
        module = importlib.import_module(name)
    except PackError:
        raise
    except (Exception, SystemExit) as error:  # foreign code: its failure is an outcome
        why = f"{type(error).__name__}: {error}"
        about = {"distribution": pinned.distribution, "doing": doing}
        raise PackError("pack.broken", **about, why=why) from error
    _check_unimported(name, pinned)
    return module


def _check_unimported(name: str, pinned: PinnedFiles) -> None:
    """Refuse if *name*, or a module below it, was imported from elsewhere than *pinned*."""
    for module in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
        spec = getattr(sys.modules[module], "__spec__", None)
        source = getattr(getattr(spec, "loader", None), "pinned", None)
        is_same = isinstance(source, PinnedFiles) and source.record == pinned.record != ""
        if not is_same and source is not pinned:
            raise PackError(
                "pack.already_imported", distribution=pinned.distribution, module=module
            )


def _form(path: str) -> int:
    if path.endswith("/__init__.py"):
        return _PACKAGE
    return _SOURCE if path.endswith(".py") else _EXTENSION


if sys.platform == "linux":
    import fcntl

    _SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

    def _extension(name: str, content: bytes) -> ExtensionFileLoader:
        """Load *content* from where nobody can exchange it between the check and ``dlopen``."""
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(descriptor, "wb", closefd=False) as out:  # open as long as the process
            out.write(content)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return ExtensionFileLoader(name, f"/proc/self/fd/{descriptor}")

else:

    def _extension(name: str, content: bytes) -> ExtensionFileLoader:  # noqa: ARG001
        raise ImportError(name=name)  # nothing pins machine code here


@attrs.frozen
class _Resources(TraversableResources):
    """What `importlib.resources` asks of a package: a zip in memory answers all of it."""

    _pinned: PinnedFiles
    _folder: str

    def files(self) -> Traversable:
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as archive:
            for path, content in self._pinned.files.items():
                archive.writestr(path, content)
        return cast("Traversable", zipfile.Path(zipfile.ZipFile(whole), f"{self._folder}/"))
