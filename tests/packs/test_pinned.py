"""Import of pinned bytes: what was hashed runs, whatever lies on the disk."""
# ruff: noqa: ARG002 - a finder has the arguments of the import system

from __future__ import annotations

import fcntl
import importlib
import importlib.resources
import importlib.util
import inspect
import linecache
import os
import pickle
import pkgutil
import re
import stat
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import attrs
import pytest

from awe_core.errors import PackError
from awe_core.packs import CodeCache, ImportBlockedError, PinnedFiles, PinnedFinder
from awe_core.packs.pinned import module_name, modules


@pytest.fixture
def admitted(pack, finder):
    """A verified pack that the finder serves; nothing of it has run."""
    pack.verified_pack = pack.verified()
    finder.admit(pack.verified_pack.pinned)
    assert not pack.ran
    return pack


def code_of(caught):
    return caught.value.code


def test_the_first_call_imports(admitted):
    put = admitted.verified_pack.handler(f"{admitted.package}.work:put")
    assert admitted.ran
    assert put(None, text="a", times=2) == {"text": "aa"}


def test_files_changed_after_verification_change_nothing(admitted):
    admitted.place("work.py").write_text("def put(ctx, *, text, times): return 'evil'\n")
    admitted.place("__init__.py").unlink()
    put = admitted.verified_pack.handler(f"{admitted.package}.work:put")
    assert put(None, text="a", times=2) == {"text": "aa"}


def test_a_module_that_was_not_approved_does_not_exist(admitted):
    admitted.place("more.py").write_text("")
    sys.path.insert(0, str(admitted.site))
    try:
        with pytest.raises(ModuleNotFoundError) as caught:
            importlib.import_module(f"{admitted.package}.more")
    finally:
        sys.path.remove(str(admitted.site))
    assert caught.value.name == f"{admitted.package}.more"


def test_planted_bytecode_is_not_read(admitted):
    evil = compile("def put(ctx, *, text, times): return 'evil'", "x", "exec")
    source = admitted.place("work.py").read_bytes()
    planted = importlib.util.cache_from_source(str(admitted.place("work.py")))
    loader = importlib.machinery.SourceFileLoader("x", "x")
    hashed = importlib.util.source_hash(source)
    flags = (1).to_bytes(4, "little")  # hash-based, unchecked: ordinary import would run it
    Path(planted).write_bytes(importlib.util.MAGIC_NUMBER + flags + hashed + dumped(evil))
    assert loader.path_stats  # the ordinary loader, which would take it
    put = admitted.verified_pack.handler(f"{admitted.package}.work:put")
    assert put(None, text="a", times=2) == {"text": "aa"}


def dumped(code):
    import marshal  # noqa: PLC0415 - the attacker's tool

    return marshal.dumps(code)


def test_nothing_is_written_beside_the_installed_files(admitted):
    before = sorted(admitted.site.rglob("*"))
    admitted.verified_pack.handler(f"{admitted.package}.work:put")
    assert before == sorted(admitted.site.rglob("*"))


def test_a_pack_that_is_blocked_cannot_be_imported_and_says_why(admitted, finder):
    reason = PackError("pack.not_installed", distribution="x", version="1")
    finder.block([admitted.package], reason)
    with pytest.raises(ImportError) as caught:
        importlib.import_module(f"{admitted.package}.work")
    assert isinstance(caught.value, ImportBlockedError)
    assert code_of(caught) == "pack.import_blocked"
    assert reason.summary in str(caught.value)
    with pytest.raises(PackError) as caught:
        admitted.verified_pack.handler(f"{admitted.package}.work:put")
    assert code_of(caught) == "pack.import_blocked"
    assert not admitted.ran
    finder.admit(admitted.verified_pack.pinned)
    assert admitted.verified_pack.handler(f"{admitted.package}.work:put")


def test_other_modules_are_none_of_its_business(finder):
    assert finder.find_spec("json", None) is None


def test_a_top_level_imported_before_is_refused_and_one_of_a_like_name_is_not(pack, finder):
    verified = pack.verified()
    near = type(sys)(f"{pack.package}x")
    sys.modules[f"{pack.package}x"] = near
    finder.admit(verified.pinned)
    for name in (pack.package, f"{pack.package}.work"):
        sys.modules[name] = type(sys)(name)
        with pytest.raises(PackError) as caught:
            finder.admit(verified.pinned)
        assert code_of(caught) == "pack.already_imported"
        del sys.modules[name]
    finder.admit(verified.pinned)


def test_a_pack_admitted_again_after_its_import_is_the_same_pack(admitted, finder):
    admitted.verified_pack.handler(f"{admitted.package}.work:put")
    again = attrs.evolve(admitted.verified_pack.pinned)
    finder.admit(again)
    other = attrs.evolve(admitted.verified_pack.pinned, record="0" * 64)
    with pytest.raises(PackError) as caught:
        finder.admit(other)
    assert code_of(caught) == "pack.already_imported"


def test_without_the_finder_nothing_is_imported(admitted, finder):
    finder.uninstall()
    sys.path.insert(0, str(admitted.site))
    try:
        with pytest.raises(PackError) as caught:
            admitted.verified_pack.handler(f"{admitted.package}.work:put")
    finally:
        sys.path.remove(str(admitted.site))
    assert code_of(caught) == "pack.import_blocked"
    assert not admitted.ran


def test_a_finder_that_went_before_is_not_asked(admitted, finder):
    admitted.place("__init__.py").write_text("evil = True\n")
    ordinary = importlib.machinery.FileFinder(
        str(admitted.site), (importlib.machinery.SourceFileLoader, [".py"])
    )

    class Eager:
        def find_spec(self, name, path, target=None):
            return ordinary.find_spec(name.rpartition(".")[2]) if path is None else None

    eager = Eager()
    sys.meta_path.insert(0, eager)
    try:
        put = admitted.verified_pack.handler(f"{admitted.package}.work:put")
    finally:
        sys.meta_path.remove(eager)
    assert put(None, text="a", times=2) == {"text": "aa"}
    assert not hasattr(sys.modules[admitted.package], "evil")
    assert sys.meta_path[0] is finder


def test_a_finder_that_does_not_know_a_module_imports_none(admitted, finder):
    other = PinnedFinder()
    finder.uninstall()
    other.install()
    try:
        with pytest.raises(PackError) as caught:
            admitted.verified_pack.handler(f"{admitted.package}.work:put")
    finally:
        other.uninstall()
    assert code_of(caught) == "pack.import_blocked"


def test_bytes_that_no_record_describes_are_only_themselves(pack, finder):
    pinned = PinnedFiles(pack.distribution, "1", "", (pack.package,), pack.all_files())
    finder.admit(pinned)
    importlib.import_module(f"{pack.package}.work")
    finder.admit(pinned)
    with pytest.raises(PackError) as caught:
        finder.admit(attrs.evolve(pinned))
    assert code_of(caught) == "pack.already_imported"


def test_only_a_package_has_resources(admitted, finder):
    package = finder.find_spec(admitted.package, None)
    module = finder.find_spec(f"{admitted.package}.work", None)
    assert package.loader.get_resource_reader(admitted.package)
    assert module.loader.get_resource_reader(f"{admitted.package}.work") is None


@pytest.mark.skipif(sys.platform != "linux", reason="machine code is pinned on Linux alone")
def test_nobody_exchanges_machine_code_after_it_was_hashed(pack, finder):
    path = f"{pack.package}/fast{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    files = pack.all_files() | {path: b"machine code"}
    finder.admit(PinnedFiles(pack.distribution, "1", "", (pack.package,), files, native=True))
    spec = finder.find_spec(f"{pack.package}.fast", None)
    assert Path(spec.origin).read_bytes() == b"machine code"
    with Path(spec.origin).open("r+b", buffering=0) as file:
        with pytest.raises(OSError, match="not permitted"):
            file.write(b"evil")
        with pytest.raises(OSError, match="not permitted"):
            file.truncate(0)


def test_a_module_put_in_its_place_meanwhile_is_noticed(admitted):
    fake = type(sys)(f"{admitted.package}.work")
    fake.put = print
    sys.modules[fake.__name__] = fake
    with pytest.raises(PackError) as caught:
        admitted.verified_pack.handler(f"{admitted.package}.work:put")
    assert code_of(caught) == "pack.already_imported"


def test_the_finder_goes_first_again_when_asked(finder):
    late = PinnedFinder()
    sys.meta_path.insert(0, late)
    try:
        finder.install()
        assert sys.meta_path[0] is finder
        assert sys.meta_path.count(finder) == 1
    finally:
        late.uninstall()


def test_importlib_resources_sees_the_pinned_bytes(admitted):
    admitted.place("data/note.txt").write_text("evil\n")
    files = importlib.resources.files(admitted.package)
    note = files / "data" / "note.txt"
    assert note.read_text(encoding="utf-8") == "approved\n"
    assert note.read_bytes() == b"approved\n"
    with note.open() as text, note.open("rb") as raw:
        assert text.read().encode() == raw.read() == b"approved\n"
    with importlib.resources.as_file(note) as path:
        assert path.read_text() == "approved\n"
    assert ["__init__.py", "contracts", "data", "facades", "pack.yaml", "work.py", "workflows"] == (
        sorted(one.name for one in files.iterdir())
    )
    assert files.joinpath("data").is_dir()
    assert not files.joinpath("data").is_file()
    assert note.is_file()
    absent = files / "absent"
    assert not absent.is_file()
    assert not absent.is_dir()
    with pytest.raises(FileNotFoundError):
        absent.read_bytes()
    with pytest.raises(FileNotFoundError):
        (files / ".." / "x").read_bytes()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="as_file takes no folder before 3.12")
def test_importlib_resources_gives_a_whole_folder_of_pinned_bytes(admitted):
    admitted.place("data/note.txt").write_text("evil\n")
    folder = importlib.resources.files(admitted.package) / "data"
    with importlib.resources.as_file(folder) as path:
        assert ["note.txt"] == [one.name for one in path.iterdir()]
        assert (path / "note.txt").read_text() == "approved\n"


def test_objects_of_pinned_classes_are_pickled_and_read_again(pack, finder):
    pack.files[f"{pack.package}/work.py"] = (
        "class Kept:\n    def __init__(self, x): self.x = x\n"
        "    class Inner: pass\n"
        "def put(ctx, *, text, times): return Kept(text)\n"
    )
    verified = pack.verified()
    finder.admit(verified.pinned)
    kept = verified.handler(f"{pack.package}.work:put")(None, text="a", times=1)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(kept, protocol))  # noqa: S301 - made right here
        assert type(again) is type(kept)
        assert again.x == "a"
    written = pickle.dumps([kept, type(kept).Inner()])
    pack.place("work.py").write_text("raise SystemExit('evil')\n")
    for name in [name for name in sys.modules if name.startswith(pack.package)]:
        del sys.modules[name]
    read, inner = pickle.loads(written)  # noqa: S301 - the same; it imports the class anew
    assert (read.x, type(inner).__qualname__) == ("a", "Kept.Inner")


def test_pkgutil_get_data_sees_the_pinned_bytes(admitted):
    admitted.place("data/note.txt").unlink()
    assert pkgutil.get_data(admitted.package, "data/note.txt") == b"approved\n"
    module = importlib.import_module(f"{admitted.package}.work")
    assert pkgutil.get_data(module.__name__, "pack.yaml").startswith(b"awe: pack/v1")
    with pytest.raises(FileNotFoundError):
        pkgutil.get_data(admitted.package, "/etc/passwd")


def test_tracebacks_and_inspect_show_the_approved_source(admitted):
    put = admitted.verified_pack.handler(f"{admitted.package}.work:put")
    admitted.place("work.py").write_text("evil\n" * 9)
    try:
        put(None, text="a", times="b")
    except TypeError as error:
        shown = "".join(traceback.format_exception(error))
    linecache.clearcache()
    assert 'return {"text": text * times}' in shown
    assert f"<{admitted.distribution} 1.0.0>/{admitted.package}/work.py" in shown
    assert "def put(ctx, *, text, times):" in inspect.getsource(put)


def test_a_pack_that_raises_while_it_is_imported_is_broken(pack, finder):
    pack.files[f"{pack.package}/work.py"] = "def put(): ...\nraise SystemExit('no')\n"
    verified = pack.verified()
    finder.admit(verified.pinned)
    with pytest.raises(PackError) as caught:
        verified.handler(f"{pack.package}.work:put")
    assert code_of(caught) == "pack.broken"
    assert "SystemExit: no" in str(caught.value)


def test_a_handler_that_is_not_there_or_no_function_is_refused(admitted):
    for name in ("absent", "_p", "put.absent"):
        with pytest.raises(PackError) as caught:
            admitted.verified_pack.handler(f"{admitted.package}.work:{name}")
        assert code_of(caught) == "pack.handler"


def test_its_entry_points_name_its_modules(admitted):
    (module,) = admitted.verified_pack.modules()
    assert module.__name__ == admitted.package
    assert module.__path__ == []
    assert module.__file__.startswith("<awe-pack-")


def test_a_relative_import_inside_the_pack_is_pinned_too(pack, finder):
    pack.files[f"{pack.package}/deep/__init__.py"] = "from ..work import put\n"
    pack.files[f"{pack.package}/nowhere/lost.py"] = ""
    verified = pack.verified()
    finder.admit(verified.pinned)
    assert verified.handler(f"{pack.package}.deep:put")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{pack.package}.nowhere.lost")


def test_modules_are_chosen_as_python_chooses_them():
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    files = [
        "a/__init__.py",
        "a/b.py",
        f"a/b{suffix}",
        "a/c.py",
        "a/c/__init__.py",
        "x.py",
        "a/1.py",
    ]
    found = dict(modules(files, ["a"], native=True))
    assert found == {"a": "a/__init__.py", "a.b": f"a/b{suffix}", "a.c": "a/c/__init__.py"}
    assert dict(modules(files, ["a"], native=False))["a.b"] == "a/b.py"
    both = [f"a/m{n}{end}" for n in range(20) for end in (".py", "/__init__.py")]
    found = dict(modules(["a/__init__.py", *both], ["a"], native=True))
    assert [f"a/m{n}/__init__.py" for n in range(20)] == [found[f"a.m{n}"] for n in range(20)]
    assert {} == dict(modules(["a/b.py", "__init__.py", "x/__init__.py"], ["a"], native=True))
    assert module_name(f"a/__init__{suffix}") == "a.__init__"
    assert module_name("__init__.py") is None


# ------------------------------------------------------------------------------------ native code


@pytest.fixture
def extension():
    """An extension module of the standard library, as bytes."""
    origin = Path(importlib.util.find_spec("_bisect").origin)
    if origin.suffix != ".so":
        pytest.skip("this Python has its extension modules built in")
    return origin


def test_native_code_is_loaded_from_the_hashed_bytes(pack, finder, extension):
    name = f"_bisect{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    pack.files[f"{pack.package}/{name}"] = extension.read_bytes()
    record = pack.record(native=True)
    pinned = PinnedFiles(
        distribution=pack.distribution,
        version="1.0.0",
        record="1" * 64,
        top_level=record.top_level,
        files=pack.all_files(),
        native=True,
    )
    finder.admit(pinned)
    module = importlib.import_module(f"{pack.package}._bisect")
    assert module.bisect_left([1, 2, 3], 2) == 1
    finder.admit(pinned)
    origin = module.__spec__.origin
    assert re.fullmatch(r"/proc/self/fd/\d+", origin)
    descriptor = int(origin.rpartition("/")[2])
    wanted = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & wanted == wanted
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"evil", 0)
    assert Path(origin).read_bytes() == pack.all_files()[f"{pack.package}/{name}"]


def test_without_the_grant_native_code_is_no_module(pack, finder, extension):
    name = f"_bisect{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    pack.files[f"{pack.package}/{name}"] = extension.read_bytes()
    pinned = PinnedFiles(
        distribution=pack.distribution,
        version="1.0.0",
        record="1" * 64,
        top_level=(pack.package,),
        files=pack.all_files(),
    )
    finder.admit(pinned)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{pack.package}._bisect")


# ---------------------------------------------------------------------------------- the code cache

SOURCE, PATH = b"answer = 6 * 7\n", "<x 1>/x.py"


def answer(code):
    names = {}
    exec(code, names)  # noqa: S102 - it is this file's source
    return names["answer"]


def entries(home):
    return sorted((home / "cache" / "code").glob("*.code"))


def test_code_is_cached_under_the_home_for_nobody_else(tmp_path):
    cache = CodeCache.at(tmp_path)
    assert answer(cache.code(SOURCE, PATH)) == 42
    (entry,) = entries(tmp_path)
    assert stat.S_IMODE(entry.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert stat.S_IMODE((entry.parent / "host.key").stat().st_mode) == 0o600
    before = entry.stat().st_mtime_ns
    assert answer(CodeCache.at(tmp_path).code(SOURCE, PATH)) == 42
    assert before == entry.stat().st_mtime_ns
    assert entry.stat().st_ino == entries(tmp_path)[0].stat().st_ino


def test_an_entry_is_used_and_not_only_kept(tmp_path):
    cache = CodeCache.at(tmp_path)
    assert {"a": [1]} == cache.made("document", SOURCE, PATH, lambda: {"a": [1]})
    assert {"a": [1]} == CodeCache.at(tmp_path).made("document", SOURCE, PATH, dict)
    assert {} == cache.made("another kind", SOURCE, PATH, dict)
    assert answer(cache.code(SOURCE, PATH)) == 42


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: kept[:-1] + bytes([kept[-1] ^ 1]),
        lambda kept: bytes([kept[0] ^ 1]) + kept[1:],
        lambda kept: kept[:40],
        lambda kept: b"",  # noqa: ARG005 - nothing of it is left
        lambda kept: bytes(32) + dumped(compile("answer = 'evil'", PATH, "exec")),  # noqa: ARG005
    ],
    ids=["code", "mac", "cut", "empty", "forged"],
)
def test_a_spoilt_entry_is_compiled_again(tmp_path, spoil):
    cache = CodeCache.at(tmp_path)
    cache.code(SOURCE, PATH)
    (entry,) = entries(tmp_path)
    entry.write_bytes(spoil(entry.read_bytes()))
    assert answer(cache.code(SOURCE, PATH)) == 42
    assert answer(CodeCache.at(tmp_path).code(SOURCE, PATH)) == 42


def test_an_entry_of_another_source_path_or_host_is_not_taken(tmp_path):
    cache = CodeCache.at(tmp_path / "a")
    other = CodeCache.at(tmp_path / "b")
    cache.code(SOURCE, PATH)
    cache.code(b"answer = 'other'\n", PATH)
    cache.code(SOURCE, "<x 2>/x.py")
    assert len(entries(tmp_path / "a")) == 3
    (mine,) = [one for one in entries(tmp_path / "a") if answer_kept(one) == 42][:1]
    other.code(SOURCE, PATH)
    (theirs,) = entries(tmp_path / "b")
    theirs.write_bytes(mine.read_bytes()[:32] + dumped(compile("answer = 1", PATH, "exec")))
    assert answer(other.code(SOURCE, PATH)) == 42


def answer_kept(entry):
    import marshal  # noqa: PLC0415 - this test wrote it

    return answer(marshal.loads(entry.read_bytes()[32:]))  # noqa: S302


def test_a_folder_that_others_could_read_is_closed_to_them(tmp_path):
    folder = tmp_path / "cache" / "code"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    CodeCache.at(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_key_of_another_length_keeps_nothing(tmp_path):
    folder = CodeCache.at(tmp_path).folder
    (folder / "host.key").write_bytes(b"short")
    assert CodeCache.at(tmp_path).folder is None


def test_what_cannot_take_its_name_is_removed(tmp_path):
    cache = CodeCache.at(tmp_path)
    cache.code(SOURCE, PATH)
    (entry,) = entries(tmp_path)
    entry.unlink()
    (entry / "in the way").mkdir(parents=True)
    assert answer(cache.code(SOURCE, PATH)) == 42
    assert {entry.name, "host.key"} == {each.name for each in entry.parent.iterdir()}


def test_documents_of_a_pack_are_read_from_the_cache_as_from_its_files(pack, tmp_path):
    first = pack.verified(cache=CodeCache.at(tmp_path / "home"))
    fresh = attrs.evolve(first, cache=CodeCache.at(tmp_path / "home" / ".." / "home"))
    assert first.cache != fresh.cache
    assert first.contracts() == fresh.contracts()
    assert first.workflows() == fresh.workflows()
    assert len(entries(tmp_path / "home")) == 4


def test_a_linked_entry_is_not_read(tmp_path):
    cache = CodeCache.at(tmp_path)
    cache.code(SOURCE, PATH)
    (entry,) = entries(tmp_path)
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    assert answer(cache.code(SOURCE, PATH)) == 42
    assert not entries(tmp_path)[0].is_symlink()


def test_a_home_that_cannot_hold_a_cache_only_costs_time(tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    cache = CodeCache.at(tmp_path)
    assert cache.folder is None
    assert answer(cache.code(SOURCE, PATH)) == 42


def test_the_finder_compiles_through_the_cache(pack, tmp_path, finder):
    caching = PinnedFinder(CodeCache.at(tmp_path / "home"))
    caching.install()
    try:
        verified = pack.verified()
        caching.admit(verified.pinned)
        assert verified.handler(f"{pack.package}.work:put")
    finally:
        caching.uninstall()
    assert len(entries(tmp_path / "home")) == 2
    assert finder in sys.meta_path


# --------------------------------------------------------------------------------- a whole process

PROGRAM = """
import sys
from awe_core.packs import CodeCache, PinnedFinder, PinnedFiles
from pathlib import Path
site, package = sys.argv[1:]
sys.path.insert(0, site)
files = {str(p.relative_to(site)): p.read_bytes() for p in Path(site).rglob("*.py")}
finder = PinnedFinder()
finder.install()
finder.admit(PinnedFiles("awe-pack-x", "1", "0" * 64, (package,), files))
for path in Path(site).rglob("*.py"):
    path.write_text("raise SystemExit('swapped')")
work = __import__(package + ".work").work
print(work.put(None, text="a", times=3)["text"], sys.dont_write_bytecode)
"""


def test_a_fresh_process_runs_the_pinned_bytes_with_bytecode_on(pack):
    pack.install()
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(pack.site), pack.package],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.split() == ["aaa", "False"]
