"""Installed = approved: a refusal needs its code and an untouched sentinel, and has a near twin."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import attrs
import pytest

from awe_core.errors import AweError, DocumentError, PackError
from awe_core.packs import (
    VerifiedPack,
    discover,
    normalised,
    record_digest,
    verify_installed,
)
from awe_core.records import CapabilityEntry, PinnedFile


@pytest.fixture
def installed(pack):
    """A pack and its record, installed as approved."""
    pack.approved = pack.record()
    pack.install()
    return pack


def verify(pack, **how):
    return verify_installed(pack.approved, pack.found(), **how)


def refusal(pack, **how):
    """The error of verifying, once it is certain that nothing ran."""
    with pytest.raises(PackError) as caught:
        verify(pack, **how)
    assert not pack.ran
    return caught.value


def test_an_ordinary_install_is_what_was_approved(installed):
    verified = verify(installed)
    assert not installed.ran
    assert verified.digest == record_digest(installed.approved)
    assert verified.pinned.files.keys() == installed.approved.files.keys()
    assert b"approved\n" == verified.pinned.files[f"{installed.package}/data/note.txt"]


def test_what_real_installers_leave_behind_is_what_was_approved(pack, installer):
    pack.approved = pack.record()
    pack.site = installer(pack.folder / "prefix", pack.build())
    assert verify(pack).pinned.files.keys() == pack.approved.files.keys()
    pack.place("work.py").write_text("evil = 1\n")
    assert refusal(pack).code == "pack.file_changed"


def test_its_documents_are_read_without_an_import(installed):
    verified = verify(installed)
    assert [f"{installed.name}.put"] == [one.id for one in verified.contracts()]
    assert [f"{installed.name}_twice"] == [one.id for one in verified.workflows()]
    assert [f"{installed.name}_entry"] == [one.spec.id for one in verified.contents.facades]
    assert not installed.ran


def test_what_installers_write_is_no_difference(installed):
    info = installed.site / installed.dist_info
    (info / "uv_cache.json").write_text("{}")
    (info / "uv_build.json").write_text("{}")
    installed.place("data/__pycache__").mkdir()
    installed.place("data/__pycache__/note.cpython-311.pyc").write_bytes(b"")
    verify(installed)


def test_a_hard_link_is_a_file(installed):
    place = installed.place("work.py")
    twin = installed.folder / "cache-of-the-installer"
    place.rename(twin)
    os.link(twin, place)
    verify(installed)


def test_a_changed_byte_is_found(installed):
    place = installed.place("work.py")
    place.write_bytes(place.read_bytes()[:-1] + b"#")
    error = refusal(installed)
    assert error.code == "pack.file_changed"
    (line,) = error.details
    approved = installed.approved.files[f"{installed.package}/work.py"].sha256
    assert line.startswith(f"{installed.package}/work.py: approved sha256 {approved}, installed ")


@pytest.mark.parametrize("name", ["METADATA", "WHEEL", "entry_points.txt"])
def test_changed_metadata_is_found(installed, name):
    place = installed.site / installed.dist_info / name
    place.write_bytes(place.read_bytes() + b"\n")
    assert refusal(installed).code == "pack.file_changed"


def test_a_longer_and_a_shorter_file_are_found(installed):
    place = installed.place("data/note.txt")
    for content in ("approved\nand more", ""):
        place.write_text(content)
        assert refusal(installed).code == "pack.file_changed"


def test_a_missing_file_is_found(installed):
    installed.place("data/note.txt").unlink()
    assert refusal(installed).code == "pack.file_missing"


@pytest.mark.parametrize(
    "path",
    [
        "{p}/more.py",
        "{p}/data/more.txt",
        "{p}/work.cpython-311-x86_64-linux-gnu.so",
        "{p}/deep/er/x.py",
        "{p}.py",
        "{p}.cpython-311-x86_64-linux-gnu.so",
        "{p}.pyc",
        "{P}.py",
        "{d}/more.txt",
        "{d}/licenses/x",
        "{p}/INSTALLER",
    ],
)
def test_a_file_that_nobody_approved_is_found(installed, path):
    named = path.format(p=installed.package, P=installed.package.upper(), d=installed.dist_info)
    place = installed.site / named
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("")
    error = refusal(installed)
    assert error.code == "pack.file_added"
    assert named in error.details[0]


def test_a_name_that_no_terminal_can_show_is_found_and_can_be_shown(installed):
    (installed.site / installed.package / os.fsdecode(b"\xff.py")).write_text("")
    (line,) = refusal(installed).details
    assert line == f"{installed.package}/\\udcff.py: is not in the approved wheel"


def test_a_neighbour_is_no_extra_file(installed):
    (installed.site / f"{installed.package}_of_somebody_else.py").write_text("")
    (installed.site / "zzz").mkdir()
    verify(installed)


@pytest.mark.parametrize(
    "path",
    [
        *("../../bin/tool", "evil.pth", "{p}/gone.py", "other/x.py", "other/__pycache__/x.pyc"),
        *("{p}/../../x/__pycache__/x.pyc", "INSTALLER", "{p}/RECORD"),
    ],
)
def test_what_only_record_lists_convicts(installed, path):
    with (installed.site / installed.dist_info / "RECORD").open("a") as record:
        record.write(f"{path.format(p=installed.package)},,\n")
    assert refusal(installed).code == "pack.file_added"


def test_record_is_not_believed(installed):
    place = installed.place("work.py")
    place.write_text("evil = 1\n")
    record = installed.site / installed.dist_info / "RECORD"
    record.write_text(f"{installed.package}/work.py,,\n")
    assert refusal(installed).code == "pack.file_changed"
    record.unlink()
    assert refusal(installed).code == "pack.file_changed"


def test_bytecode_of_its_own_modules_may_stand_in_record(installed):
    with (installed.site / installed.dist_info / "RECORD").open("a") as record:
        record.write(
            f"__pycache__/x.cpython-311.pyc,,\n{installed.package}/a/__pycache__/b.pyc,,\n"
        )
    verify(installed)


def test_without_record_an_approved_install_stays_approved(installed):
    (installed.site / installed.dist_info / "RECORD").unlink()
    verify(installed)


def test_a_linked_file_is_found_even_if_its_bytes_are_right(installed):
    place = installed.place("work.py")
    place.rename(installed.folder / "elsewhere.py")
    place.symlink_to(installed.folder / "elsewhere.py")
    assert refusal(installed).code == "pack.file_symlink"


@pytest.mark.parametrize("folder", ["", "data"])
def test_a_linked_folder_is_found_even_if_its_bytes_are_right(installed, folder):
    place = installed.place(folder)
    place.rename(installed.folder / "elsewhere")
    place.symlink_to(installed.folder / "elsewhere")
    assert refusal(installed).code == "pack.file_symlink"


def test_a_linked_extra_folder_is_found(installed):
    installed.place("more").symlink_to(installed.folder)
    assert refusal(installed).code == "pack.file_symlink"


def test_a_linked_site_folder_is_none_of_the_packs_business(installed):
    link = installed.folder / "lib64"
    link.symlink_to(installed.site)
    (found,) = discover([str(link)])
    verify_installed(installed.approved, found)


def test_a_fifo_is_found_without_waiting_for_it(installed):
    place = installed.place("work.py")
    place.unlink()
    os.mkfifo(place)
    assert refusal(installed).code == "pack.file_not_regular"


def test_a_folder_in_the_place_of_a_file_is_found(installed):
    place = installed.place("work.py")
    place.unlink()
    place.mkdir()
    assert refusal(installed).code == "pack.file_not_regular"


def test_a_name_too_long_for_a_file_is_found(installed):
    files = {
        **installed.approved.files,
        f"{installed.package}/{'a' * 400}": PinnedFile("0" * 64, 1),
    }
    installed.approved = attrs.evolve(installed.approved, files=files)
    error = refusal(installed)
    assert error.code == "pack.file_not_regular"
    assert "cannot be read: File name too long" in error.details[0]


@pytest.mark.parametrize("name", ["RECORD", "METADATA", "entry_points.txt", "direct_url.json"])
def test_a_note_that_is_a_pipe_is_not_waited_for(installed, name):
    note = installed.site / installed.dist_info / name
    note.unlink()
    os.mkfifo(note)
    assert refusal(installed).code in {"pack.file_not_regular", "pack.file_added", "pack.version"}


@pytest.mark.parametrize("size", [0, 1, 2**53 - 1])
def test_a_size_that_is_not_the_files_is_another_file(installed, size):
    path = f"{installed.package}/data/note.txt"
    file = attrs.evolve(installed.approved.files[path], size=size)
    files = {**installed.approved.files, path: file}
    installed.approved = attrs.evolve(installed.approved, files=files)
    assert refusal(installed).code == "pack.file_changed"


def test_a_fifo_in_the_place_of_an_installers_file_is_found(installed):
    place = installed.site / installed.dist_info / "RECORD"
    place.unlink()
    os.mkfifo(place)
    assert refusal(installed).code == "pack.file_added"


@pytest.mark.parametrize("name", ["METADATA", "entry_points.txt", "direct_url.json"])
def test_a_fifo_among_the_metadata_is_found_without_waiting_for_it(installed, name):
    place = installed.site / installed.dist_info / name
    place.unlink()
    os.mkfifo(place)
    codes = {"METADATA": "pack.version", "entry_points.txt": "pack.file_not_regular"}
    assert refusal(installed).code == codes.get(name, "pack.file_added")


@pytest.mark.parametrize(
    "note",
    [
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"dir_info": []}',
        b'{"dir_info": {"editable": 1}, "url": 5}',
    ],
)
def test_a_spoilt_note_of_the_installer_makes_no_editable_install(installed, note):
    (installed.site / installed.dist_info / "direct_url.json").write_bytes(note)
    verify(installed)


def test_many_differences_are_counted_and_the_first_are_named(installed):
    installed.place("more").mkdir()
    for n in range(50):
        (installed.place("more") / f"{n:02}.py").write_text("")
    installed.place("data/note.txt").unlink()
    error = refusal(installed)
    assert error.code == "pack.file_added"
    assert len(error.details) == 20
    assert error.attributes["count"] == 21  # looking ends with the 20th that was added


def test_what_is_not_installed_is_not_found(installed):
    with pytest.raises(PackError) as caught:
        verify_installed(installed.approved, None)
    assert caught.value.code == "pack.not_installed"


def test_another_version_is_refused(installed):
    installed.approved = attrs.evolve(installed.approved, version="1.0.1")
    assert refusal(installed).code == "pack.version"


def test_two_installs_of_one_name_are_refused_whichever_comes_first(installed):
    other = installed.folder / "other-site"
    other.mkdir()
    shutil.copytree(installed.site / installed.dist_info, other / installed.dist_info)
    for path in ([installed.site, other], [other, installed.site]):
        (found,) = discover(map(str, path))
        assert len(found.duplicates) == 2
        with pytest.raises(PackError) as caught:
            verify_installed(installed.approved, found)
        assert caught.value.code == "pack.duplicate_distribution"


def test_a_second_install_that_offers_nothing_and_spells_its_name_otherwise_counts_too(installed):
    other = installed.site / f"{installed.distribution.upper()}-9.dist-info"
    other.mkdir()
    (other / "METADATA").write_text(f"Name: {installed.distribution}\nVersion: 9\n")
    assert refusal(installed).code == "pack.duplicate_distribution"
    (found,) = discover([str(installed.site)])
    assert len(found.duplicates) == 2


@pytest.mark.parametrize("name", ["old-1.egg-info/PKG-INFO", "renamed-1.dist-info/METADATA"])
def test_a_second_install_is_known_by_its_metadata_too(installed, name):
    note = installed.site / name
    note.parent.mkdir()
    note.write_text(f"Name: {installed.distribution}\nVersion: 1\n")
    if note.name == "METADATA":
        (note.parent / "entry_points.txt").write_text("[awe]\nx = x\n")
    assert refusal(installed).code == "pack.duplicate_distribution"


def test_a_folder_is_found_where_it_really_lies(installed):
    link = installed.folder / "link"
    link.symlink_to(installed.site)
    (found,) = discover([str(link)])
    assert str(installed.site.resolve()) == found.location


def test_too_long_a_list_of_entry_points_offers_nothing(installed):
    note = installed.site / installed.dist_info / "entry_points.txt"
    note.write_text(note.read_text().ljust(64 * 1024))
    assert [installed.distribution] == [one.name for one in discover([str(installed.site)])]
    note.write_text(note.read_text() + " ")
    assert () == discover([str(installed.site)])


def test_a_distribution_from_elsewhere_than_a_folder_is_found_as_well(installed):
    class Elsewhere(Distribution):
        def __init__(self, notes):
            self.notes = notes

        def read_text(self, filename):
            return self.notes.get(filename)

        def locate_file(self, path):
            return Path("/elsewhere", path)

    class Finder:
        def find_distributions(self, context):
            assert context.path
            return [
                Elsewhere({"METADATA": "Name: Far\nVersion: 3\n"}),
                Elsewhere({"METADATA": "Name: Near\n", "entry_points.txt": "[awe]\nx = y\n"}),
                Elsewhere({}),
            ]

        def find_spec(self, name, path, target=None):  # noqa: ARG002 - as the import system asks
            return None

    finder = Finder()
    sys.meta_path.append(finder)
    try:
        found = discover([str(installed.site)], also=["far"])
    finally:
        sys.meta_path.remove(finder)
    assert [("far", "3"), ("near", "")] == [
        (one.name, one.version) for one in found if one.location == "/elsewhere"
    ]


def test_without_a_path_the_interpreters_own_is_searched(installed):
    sys.path.append(str(installed.site))
    try:
        found = [one.name for one in discover()]
    finally:
        sys.path.remove(str(installed.site))
    assert installed.distribution in found


def test_one_folder_twice_on_the_path_is_one_install(installed):
    (found,) = discover([str(installed.site), str(installed.site) + "/"])
    verify_installed(installed.approved, found)


def test_an_egg_is_refused(installed):
    info = installed.site / installed.dist_info
    info.rename(installed.site / f"{installed.package}-1.0.0.egg-info")
    (installed.site / f"{installed.package}-1.0.0.egg-info/METADATA").rename(
        installed.site / f"{installed.package}-1.0.0.egg-info/PKG-INFO"
    )
    assert refusal(installed).code == "pack.install_kind"


def test_a_zip_on_the_path_is_refused(pack):
    pack.approved = pack.record()
    bundle = pack.folder / "bundle.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        for path, content in pack.all_files().items():
            archive.writestr(path, content)
    (found,) = discover([str(bundle)])
    with pytest.raises(PackError) as caught:
        verify_installed(pack.approved, found)
    assert caught.value.code == "pack.install_kind"
    assert not pack.ran


@pytest.fixture
def editable(installed):
    """The same pack, installed from a source folder."""
    source = installed.folder / "checkout"
    (source / "src").mkdir(parents=True)
    installed.place("").rename(source / "src" / installed.package)
    note = {"url": source.as_uri(), "dir_info": {"editable": True}}
    (installed.site / installed.dist_info / "direct_url.json").write_text(json.dumps(note))
    installed.source = source / "src" / installed.package
    return installed


def test_an_editable_install_is_refused(editable):
    error = refusal(editable)
    assert error.code == "pack.install_kind"
    assert "editable" in str(error)


def test_a_root_that_accepts_editable_installs_gets_it_marked_and_hashed_as_it_is(editable):
    (editable.source / "work.py").write_text("changed = True\n")
    verified = verify(editable, editable=True)
    assert verified.is_editable
    assert b"changed = True\n" == verified.pinned.files[f"{editable.package}/work.py"]
    assert not any("__pycache__" in path for path in verified.pinned.files)
    assert not editable.ran


def test_an_editable_install_may_lie_flat_or_under_src(editable):
    flat = editable.source.parent.parent / "flat_module.py"
    flat.write_text("x = 1\n")
    top_level = (*editable.approved.top_level, "flat_module")
    editable.approved = attrs.evolve(editable.approved, top_level=top_level)
    assert verify(editable, editable=True).pinned.files["flat_module.py"] == b"x = 1\n"
    editable.source.rename(editable.source.parent.parent / editable.package)
    assert f"{editable.package}/work.py" in verify(editable, editable=True).pinned.files


def test_an_ordinary_install_is_compared_also_where_editable_ones_are_accepted(installed):
    installed.place("work.py").write_text("evil = 1\n")
    assert refusal(installed, editable=True).code == "pack.file_changed"


def with_capabilities(verified, *entries):
    record = attrs.evolve(verified.record, capabilities=entries)
    return VerifiedPack.of(record, verified.pinned.files)


def test_a_capability_its_record_does_not_list_is_refused_and_the_reverse(installed):
    verified = verify(installed)
    (entry,) = verified.record.capabilities
    more = attrs.evolve(entry, id=f"{installed.name}.more")
    for wrong, why in (
        ([], "is not in its record"),
        ([entry, more], "is in its record alone"),
        ([attrs.evolve(entry, version="1.3.0")], "is not in its record"),
    ):
        with pytest.raises(PackError, match=why) as caught:
            with_capabilities(verified, *wrong).contracts()
        assert caught.value.code == "pack.capability_undeclared"
    assert with_capabilities(verified, entry).contracts()


def test_another_contract_than_the_approved_one_is_refused(installed):
    verified = verify(installed)
    (entry,) = verified.record.capabilities
    assert isinstance(entry, CapabilityEntry)
    changed = attrs.evolve(entry, contract="0" * 64)
    with pytest.raises(PackError) as caught:
        with_capabilities(verified, changed).contracts()
    assert caught.value.code == "pack.contract_changed"


def test_another_workflow_than_the_approved_one_is_refused(installed):
    verified = verify(installed)
    (entry,) = verified.record.workflows
    record = attrs.evolve(verified.record, workflows=(attrs.evolve(entry, spec="0" * 64),))
    with pytest.raises(PackError) as caught:
        VerifiedPack.of(record, verified.pinned.files).workflows()
    assert caught.value.code == "pack.contract_changed"


def test_a_document_that_cannot_be_read_raises_its_own_error(installed):
    verified = verify(installed)
    files = {**verified.pinned.files, f"{installed.package}/pack.yaml": b"awe: pack/v1\nname: 7\n"}
    with pytest.raises(DocumentError):
        VerifiedPack.of(verified.record, files).contracts()


def test_discovery_reads_text_alone(installed):
    (found,) = discover([str(installed.site)])
    assert found.name == installed.distribution
    assert found.version == "1.0.0"
    assert found.entry_points == {installed.name: installed.package}
    assert not installed.ran


def test_discovery_finds_a_pack_without_entry_points_when_asked_for_it(installed):
    (installed.site / installed.dist_info / "entry_points.txt").write_text("[broken\n")
    assert () == discover([str(installed.site)])
    (found,) = discover([str(installed.site)], also=[installed.distribution])
    assert found.entry_points == {}


def test_every_refusal_says_what_to_do_next(installed):
    installed.place("work.py").write_text("evil = 1\n")
    error = refusal(installed)
    assert isinstance(error, AweError)
    assert error.exit_code == 7
    assert installed.distribution in error.hint


def test_an_editable_install_of_a_single_module_is_read_too(editable):
    (editable.source.parent / "lonely_module.py").write_text("x = 1\n")
    top_level = (*editable.approved.top_level, "lonely_module")
    editable.approved = attrs.evolve(editable.approved, top_level=top_level)
    assert verify(editable, editable=True).pinned.files["lonely_module.py"] == b"x = 1\n"


def test_a_link_in_an_editable_install_is_refused(editable):
    (editable.source / "link.py").symlink_to("/etc/hostname")
    assert refusal(editable, editable=True).code == "pack.install_kind"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads anything")
def test_a_file_that_cannot_be_read_is_found(installed):
    installed.place("work.py").chmod(0)
    assert refusal(installed).code == "pack.file_not_regular"


def test_a_record_of_the_installer_that_is_no_table_is_a_difference(installed):
    record = installed.site / installed.dist_info / "RECORD"
    record.write_text('"' + "x" * 200_000)
    assert refusal(installed).code == "pack.file_changed"


def test_any_changed_bit_of_any_file_is_found(installed):
    for path in installed.approved.files:
        place = installed.site / path
        whole = place.read_bytes()
        for at in {0, len(whole) // 2, len(whole) - 1} if whole else ():
            place.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            spelled = {"pack.not_installed", "pack.version"} if "METADATA" in path else set()
            assert refusal(installed).code in {"pack.file_changed", *spelled}
        place.write_bytes(whole)
    verify(installed)


@pytest.mark.parametrize("name", ["METADATA", "entry_points.txt"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xff", None], ids=["empty", "binary", "gone"])
def test_spoilt_metadata_of_one_distribution_stops_nobody(installed, name, content):
    place = installed.site / installed.dist_info / name
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    found = discover([str(installed.site)], also=[installed.distribution])
    assert [installed.distribution] == [one.name for one in found]
    assert found[0].distribution in {installed.distribution, normalised(installed.package)}
    with pytest.raises(PackError):
        verify_installed(installed.approved, found[0])
