"""Wheels: what is refused before anybody is asked, and what is not.  Nothing of them ever runs."""

from __future__ import annotations

import csv
import zipfile
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st

from awe_core import canonical
from awe_core.errors import AccessError, AweError, ContractError, PackError
from awe_core.packs import (
    asked_for,
    facade_record,
    foreign_top_levels,
    inspect_wheel,
    installed_top_levels,
    record_from_wheel,
)
from awe_core.packs.archive import record_rows, unfit_path
from awe_core.packs.discovery import entry_points, lookalike
from awe_core.records import Evidence, FacadeRecord, PackRecord


def codes(report):
    return [refusal.code for refusal in report.refusals]


def refused(pack, report):
    """The codes, once it is certain that refusing them needed no import."""
    assert not pack.ran
    with pytest.raises(PackError):
        record_from_wheel(report, asked_for(report, proposed_by="dave", reason="r"))
    return set(codes(report))


def test_a_good_wheel_is_reported_whole_and_nothing_of_it_runs(pack):
    report = pack.inspect()
    assert [] == codes(report)
    assert not pack.ran
    assert (report.distribution, report.version) == (pack.distribution, "1.0.0")
    assert (report.kind, report.name) == ("pack", pack.name)
    assert report.top_level == (pack.package,)
    assert report.entry_points == {pack.name: pack.package}
    assert report.hooks == ("awe_capabilities",)
    assert {"awe_core", "pathlib"} == set(report.imports)
    pack.files[f"{pack.package}/more.py"] = f"import {pack.package}.work\n"
    assert {"awe_core", "pathlib"} == set(pack.inspect().imports)
    assert [f"{pack.name}.put"] == [one.spec.id for one in report.contents.contracts]
    assert f"{pack.dist_info}/METADATA" in report.files
    assert f"{pack.dist_info}/RECORD" not in report.files
    assert report.digest == canonical.sha256_hex(canonical.document(report.as_json()))


def test_a_record_holds_the_wheel_and_what_is_granted(pack):
    record = pack.record()
    assert PackRecord.from_json(record.to_json()) == record
    assert record.proposed_by == "dave"
    assert record.hooks == ("awe_capabilities",)
    assert record.executor == "worker"
    (entry,) = record.capabilities
    assert (entry.id, entry.version, entry.risk) == (f"{pack.name}.put", "1.2.0", "low")


def test_a_record_carries_what_speaks_for_the_wheel(pack):
    spoken = Evidence("pep740", "0" * 64, "github:acme/files@release.yml")
    report = pack.inspect()
    asked = asked_for(report, proposed_by="dave", reason="r")
    record = record_from_wheel(report, asked, evidence=[spoken])
    assert (spoken,) == PackRecord.from_json(record.to_json()).evidence
    assert () == pack.record().evidence


def test_reformatting_a_contract_changes_no_digest_and_every_word_does(pack):
    path = f"{pack.package}/contracts/put.yaml"
    (before,) = pack.inspect().contents.contracts
    pack.files[path] = "# a comment\n" + pack.files[path]
    (same,) = pack.inspect().contents.contracts
    pack.files[path] = pack.files[path].replace("somewhere", "elsewhere")
    (other,) = pack.inspect().contents.contracts
    assert before.digest == same.digest != other.digest


@pytest.mark.parametrize(
    "name",
    ["x.pth", "evil.start", "sitecustomize.py", "usercustomize/__init__.py"],
)
def test_a_file_that_python_runs_at_its_start_is_refused(pack, name):
    pack.files[name] = "import os\n"
    assert "pack.startup_file" in refused(pack, pack.inspect())


def test_a_file_that_only_sounds_like_one_is_not(pack):
    pack.files[f"{pack.package}/pth.txt"] = ""
    pack.files[f"{pack.package}/start.py"] = ""
    assert [] == codes(pack.inspect())


@pytest.mark.parametrize("group", ["console_scripts", "gui_scripts"])
def test_scripts_are_refused(pack, group):
    pack.entry_points[group] = {"tool": f"{pack.package}.work:put"}
    assert {"pack.entry_points"} == refused(pack, pack.inspect())


ODD_LINES = {
    "a group on a continued line": "[awe]\nx = {p}\n [console_scripts]\n tool = os:system\n",
    "an entry on a continued line": "[awe]\nx = {p}\n[more]\ny = {p}\n z = os:system\n",
    "another comment": "[awe]\nx = {p}\n[console_scripts]\n;tool = os:system\n",
    "another delimiter": "[awe]\nx = {p}\n[console_scripts]\ntool: y = os:system\n",
    "another line end": "[awe]\nx = {p}\x0b[console_scripts]\x0btool = os:system\n",
    "a lone line end": "[awe]\nx = {p}\r[console_scripts]\rtool = os:system\n",
    "a name twice": "[awe]\nx = {p}\nx=os:system\n",
    "many spaces": "[awe]\nx = {p}\ny" + " " * 60_000 + "z\n",
    "no value": "[awe]\nx = {p}\ny\n",
    "a mark before the first line": "\ufeff[awe]\nx = {p}\n",
    "a bracket": "[awe]\nx = {p}\n[[console_scripts]]\n",
}


@pytest.mark.parametrize("text", ODD_LINES.values(), ids=ODD_LINES)
@pytest.mark.parametrize("is_data", [False, True])
def test_entry_points_that_installers_could_read_otherwise_are_refused(pack, text, is_data):
    if is_data:  # needs none, so an unreadable file must not look like none
        path = f"{pack.package}/pack.yaml"
        pack.files[path] = f"awe: pack/v1\nname: {pack.name}\ninterpreter: awe_openapi:operation\n"
        pack.files = {path: pack.files[path]}
    pack.files[f"{pack.dist_info}/entry_points.txt"] = text.format(p=pack.package)
    pack.all_files = partial(whole, pack, pack.all_files)
    assert "pack.entry_points" in refused(pack, pack.inspect())


def whole(pack, all_files):
    files = all_files()
    return files | {p: c.encode() for p, c in pack.files.items() if p.startswith(pack.dist_info)}


def test_what_builders_write_as_entry_points_is_read():
    text = "# ours\n\n[awe]\nx-1.y = a.b:c.d [e,f]\r\nz=a\n\n[a b]\nname with spaces =  q\n"
    assert {"awe": {"x-1.y": "a.b:c.d [e,f]", "z": "a"}, "a b": {"name with spaces": "q"}} == (
        entry_points(text)
    )


def test_another_group_inside_its_own_modules_is_not(pack):
    pack.entry_points["pytest11"] = {"tool": f"{pack.package}.work"}
    assert [] == codes(pack.inspect())


@pytest.mark.parametrize("value", ["os", "os:system", "{package}.absent", "{package}x"])
def test_an_entry_point_outside_its_own_modules_is_refused(pack, value):
    pack.entry_points["awe"] = {"x": value.format(package=pack.package)}
    assert {"pack.entry_points"} == refused(pack, pack.inspect())


def test_a_wheel_without_an_entry_point_is_refused(pack):
    pack.entry_points = {}
    assert {"pack.entry_points"} == refused(pack, pack.inspect())


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc/passwd", "outside"),
        ("a/../../b", "outside"),
        ("a\\b", "backslash"),
        ("C:/b", "colon"),
        ("a/\u00e9.py", "ASCII"),
        ("a/e\u0301.py", "ASCII"),
        ("a/\x07", "ASCII"),
        ("a//b", "otherwise"),
        ("a/./b", "otherwise"),
        ("a/b.", "otherwise"),
        ("a/b ", "otherwise"),
        ("a" * 513, "long"),
    ],
)
def test_names_that_are_not_one_file_everywhere_are_unfit(path, why):
    assert why in unfit_path(path)


def test_a_name_may_have_512_characters():
    assert unfit_path("a" * 512) is None
    assert unfit_path("a" * 513) == "a name that is too long"


def test_ordinary_names_are_fit():
    assert unfit_path("awe_pack_x/data/Read me (1).txt") is None


@pytest.mark.parametrize("path", ["../x.py", "/x.py", "awe\\x.py", "\u0430we/x.py"])
def test_a_wheel_with_an_unfit_name_is_refused(pack, path):
    wheel = pack.build(extra={path: b""})
    assert "pack.path" in refused(pack, inspect_wheel(wheel))


def test_a_name_with_a_zero_byte_is_refused(pack):
    wheel = pack.build(extra={f"{pack.package}/x.pyZ.txt": b""})
    wheel.write_bytes(wheel.read_bytes().replace(b"x.pyZ.txt", b"x.py\0.txt"))
    assert "pack.path" in refused(pack, inspect_wheel(wheel))


def test_a_link_is_refused(pack):
    wheel = pack.build()
    link = zipfile.ZipInfo(f"{pack.package}/link.py")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "pack.path" in refused(pack, inspect_wheel(wheel))


@pytest.mark.parametrize("other", ["WORK.py", "Data/note2.txt"])
def test_names_that_collide_by_case_are_refused(pack, other):
    pack.files[f"{pack.package}/{other}"] = ""
    assert "pack.case_collision" in refused(pack, pack.inspect())


def test_a_file_that_is_a_folder_too_is_refused(pack):
    pack.files[f"{pack.package}/data"] = ""
    assert "pack.path" in refused(pack, pack.inspect())


@pytest.mark.parametrize(
    "path",
    ["{package}/__pycache__/x.cpython-311.pyc", "{package}/x.pyc", "{package}/__pycache__/x"],
)
def test_compiled_code_is_refused(pack, path):
    pack.files[path.format(package=pack.package)] = b"\0"
    assert "pack.path" in refused(pack, pack.inspect())


def test_a_data_folder_is_refused(pack):
    pack.files[f"{pack.package}-1.0.0.data/scripts/x"] = ""
    assert "pack.path" in refused(pack, pack.inspect())


def test_two_dist_info_folders_are_refused(pack):
    pack.files["other-1.0.dist-info/METADATA"] = ""
    assert "pack.wheel" in refused(pack, pack.inspect())


def test_a_record_that_disagrees_with_the_archive_is_refused(pack):
    path = f"{pack.package}/work.py"
    report = inspect_wheel(pack.build(lie={path: b"evil = 1\n"}))
    assert "pack.wheel" in refused(pack, report)
    assert f"{path} is not what RECORD says" in str(report.refusals[0])
    report = inspect_wheel(pack.build(extra={f"{pack.package}/more.py": b""}))
    assert "pack.wheel" in refused(pack, report)
    assert f"only the archive holds {pack.package}/more.py" in str(report.refusals[0])
    report = inspect_wheel(pack.zipped(pack.all_files(), rows="gone.py,,\n"))
    assert {"pack.wheel"} == refused(pack, report)
    assert "only RECORD lists gone.py" in str(report.refusals[0])


def test_a_file_that_stands_twice_is_refused(pack):
    wheel = pack.build()
    with (
        zipfile.ZipFile(wheel, "a") as archive,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        archive.writestr(f"{pack.package}/work.py", pack.all_files()[f"{pack.package}/work.py"])
    report = inspect_wheel(wheel)
    assert {"pack.wheel"} == refused(pack, report)
    assert f"it holds {pack.package}/work.py twice" in str(report.refusals[0])


@pytest.mark.parametrize(
    "filename", ["other-1.0.0-py3-none-any.whl", "{package}-2.0.0-py3-none-any.whl", "x.whl"]
)
def test_a_file_name_of_another_distribution_or_version_is_refused(pack, filename):
    wheel = pack.build(filename=filename.format(package=pack.package))
    assert "pack.name" in refused(pack, inspect_wheel(wheel))


def test_metadata_of_another_distribution_is_refused(pack):
    for metadata in (
        "Name: other\nVersion: 1.0.0\n",
        f"Name: {pack.distribution}\nVersion: 2.0.0\n",
        f"Name: {pack.distribution}\nName: other\nVersion: 1.0.0\n",
        f"Name: {pack.distribution}\nVersion: 1.0.0\nVersion: 2.0.0\n",
        f"Name: {pack.distribution}\n",
        "Version: 1.0.0\n",
    ):
        files = pack.all_files() | {f"{pack.dist_info}/METADATA": metadata.encode()}
        refusals = inspect_wheel(pack.zipped(files)).refusals
        assert "pack.name" == refusals[0].code
        assert "METADATA" in str(refusals[0])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Name: other\nVersion: 1.0.0\n", "METADATA says other-1.0.0"),
        ("Name: {0}\nVersion: 1.0.1\n", "METADATA says {0}-1.0.1"),
        ("Name: {0}\nName: other\nVersion: 1.0.0\n", "one Name and one Version"),
        ("Name: {0}\nVersion: 1.0.0\nVersion: 2\n", "one Name and one Version"),
        ("Name: {0}\n", "one Name and one Version"),
    ],
)
def test_metadata_name_one_distribution_and_that_of_the_file(pack, said, why):
    text = said.format(pack.distribution)
    pack.files[f"{pack.dist_info}/METADATA"] = text
    pack.all_files = partial(whole, pack, pack.all_files)
    report = pack.inspect()
    assert "pack.name" in refused(pack, report)
    assert why.format(pack.distribution) in " ".join(map(str, report.refusals))


@pytest.mark.parametrize("name", ["METADATA", "WHEEL"])
def test_a_file_that_a_wheel_must_have_is_missed_even_if_record_does_not_list_it(pack, name):
    without = pack.all_files()
    del without[f"{pack.dist_info}/{name}"]
    pack.all_files = lambda: without
    report = pack.inspect()
    assert refused(pack, report) >= {"pack.wheel"}
    assert f"it has no {name}" in " ".join(map(str, report.refusals))


def test_a_record_that_lists_one_of_its_files_twice_is_refused(pack):
    wheel = pack.build()
    with zipfile.ZipFile(wheel) as archive:
        files = {one: archive.read(one) for one in archive.namelist()}
    record = f"{pack.dist_info}/RECORD"
    files[record] += files[record].splitlines(keepends=True)[0]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert {"pack.wheel"} == refused(pack, inspect_wheel(wheel))


def test_a_pack_that_calls_itself_otherwise_is_refused(pack):
    path = f"{pack.package}/pack.yaml"
    pack.files[path] = pack.files[path].replace(f"name: {pack.name}", "name: stdlib")
    assert {"pack.name"} == refused(pack, pack.inspect())


@pytest.mark.parametrize(
    "name",
    [
        "awe-pack-{}",  # the distribution
        "{}",  # the pack
        "{}.put",  # a capability
        "{}_entry",  # a facade
    ],
)
def test_a_name_that_could_be_taken_for_a_known_one_is_refused(pack, name):
    mine, twin = (name.format(one) for one in (pack.name, pack.name.replace("m", "rn")))
    report = pack.inspect(known=["x", twin])
    assert {"pack.name"} == refused(pack, report)
    assert f"{mine} looks like {twin}" in str(report.refusals[0])
    assert [] == codes(pack.inspect(known=["x", mine]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("files1", "filesl"),
        ("stdl1b", "stdlib"),
        ("filesI", "filesl"),
        ("f0lder", "folder"),
        ("fOlder", "f0lder"),
        ("corn.put", "com.put"),
        ("savve", "sawe"),
    ],
)
def test_what_looks_alike_is_a_twin_of_the_other(one, other):
    assert lookalike(one, ["x", other]) == other
    assert lookalike(other, [one]) == one
    assert lookalike(one, [one, "x"]) is None


@pytest.mark.parametrize(
    ("one", "other"), [("file", "fill"), ("mail", "mall"), ("fs.put", "fs_put"), ("a1", "a2")]
)
def test_what_only_is_similar_is_none(one, other):
    assert lookalike(one, [other]) is None


def test_two_capabilities_of_one_pack_that_look_alike_are_refused(pack):
    contract = pack.files[f"{pack.package}/contracts/put.yaml"]
    for name in ("l1st", "list"):
        written = contract.replace(f"id: {pack.name}.put", f"id: {pack.name}.{name}")
        pack.files[f"{pack.package}/contracts/{name}.yaml"] = written
    assert {"pack.name"} == refused(pack, pack.inspect())


@pytest.mark.parametrize(
    "path",
    [
        "json/__init__.py",
        "awe_core/__init__.py",
        "awe_pack_other/__init__.py",
        "awe_x.py",
        "LICENSE",
        "not-a-name/__init__.py",
    ],
)
def test_a_top_level_that_is_not_its_own_is_refused(pack, path):
    pack.files[path] = ""
    report = pack.inspect()
    assert "pack.top_level" in refused(pack, report)
    whose = {"awe_core/__init__.py": "somebody else's", "not-a-name/__init__.py": "no Python name"}
    assert whose.get(path, "") in " ".join(map(str, report.refusals))


def test_a_top_level_of_another_distribution_is_refused_and_its_own_is_not(pack):
    pack.files["shared/__init__.py"] = ""
    mine = {pack.distribution}
    taken = {"shared": {"somebody", *mine}, pack.package: mine}
    assert {"pack.top_level"} == refused(pack, pack.inspect(taken=taken))
    assert [] == codes(pack.inspect(taken={"shared": mine}))


def test_a_namespace_package_is_refused(pack):
    pack.files["somewhere/x.py"] = ""
    pack.files["somewhere.py"] = ""
    report = pack.inspect()
    assert {"pack.top_level"} == refused(pack, report)
    assert "somewhere: it is a folder without __init__.py" in str(report.refusals[0])


def test_a_folder_is_not_called_by_a_part_of_its_name(pack):
    pack.files[f"{pack.package}.more/x.txt"] = ""
    report = pack.inspect()
    assert {"pack.top_level"} == refused(pack, report)
    assert f"{pack.package}.more: it is no Python name" in str(report.refusals[0])


def test_a_file_that_only_ends_like_a_module_is_none(pack):
    pack.files["some/where.py"] = ""
    pack.files["where.txt"] = ""
    report = pack.inspect()
    named = [refusal.attributes["top_level"] for refusal in report.refusals]
    assert ["some", "where"] == named


def test_a_folder_that_cannot_be_imported_is_no_top_level(pack):
    pack.files["my-data/__init__.py"] = ""
    report = pack.inspect()
    assert {"pack.top_level"} == refused(pack, report)
    assert "my-data: it is no Python name" in str(report.refusals[0])


@pytest.mark.parametrize("path", ["{p}.py", "{w}/__init__.py", "{w}.abi3.so"])
def test_two_forms_of_one_module_are_refused(pack, path):
    pack.files[path.format(p=pack.package, w=f"{pack.package}/work")] = ""
    assert "pack.top_level" in refused(pack, pack.inspect())


def test_a_single_module_is_a_top_level_too(pack):
    pack.files["lonely_module.py"] = ""
    report = pack.inspect()
    assert [] == codes(report)
    assert ("awe_pack_" + pack.name, "lonely_module") == report.top_level


@pytest.mark.parametrize(
    ("path", "content"),
    [
        *(("fast.abi3.so", b""), ("blob.bin", b"\x7fELF..."), ("x.dll", b"")),
        *(("y.exe", b"MZ..PE\0\0"), ("libx.so.1", b"")),
    ],
)
def test_machine_code_needs_a_grant(pack, path, content):
    pack.files[f"{pack.package}/{path}"] = content
    report = pack.inspect()
    assert (f"{pack.package}/{path}",) == report.native
    with pytest.raises(PackError) as caught:
        pack.record()
    assert caught.value.code == "pack.native"
    assert pack.record(native=True).native


def test_machine_code_that_looks_beside_itself_for_libraries_is_named(pack):
    pack.files[f"{pack.package}/plain.so"] = b"\x7fELF..."
    pack.files[f"{pack.package}/linked.so"] = b"\x7fELF..$ORIGIN/../lib\0"
    pack.files[f"{pack.package}/data/note.txt"] = "$ORIGIN is where it lies"
    report = pack.inspect()
    assert len(report.native) == 2
    assert (f"{pack.package}/linked.so",) == report.origin
    assert [f"{pack.package}/linked.so"] == report.as_json()["origin"]


def test_text_that_begins_like_a_program_is_no_machine_code(pack):
    pack.files[f"{pack.package}/data/mz.txt"] = "MZ is how it begins"
    pack.files[f"{pack.package}/data/pe.txt"] = "it goes on with PE\0\0"
    assert () == pack.inspect().native


@pytest.mark.parametrize("handler", ["{p}.absent:put", "{p}.work:absent", "os:system", "{p}x:put"])
def test_a_handler_that_is_not_in_the_wheel_is_refused(pack, handler):
    path = f"{pack.package}/contracts/put.yaml"
    named = handler.format(p=pack.package)
    pack.files[path] = pack.files[path].replace(f"{pack.package}.work:put", named)
    assert {"pack.handler"} == refused(pack, pack.inspect())


def test_a_handler_may_come_from_an_import_or_stand_in_a_condition(pack):
    pack.files[f"{pack.package}/more.py"] = "def real(ctx, *, text, times): return {}\n"
    for bound in (
        "if sys.version_info > (3,):\n    from .more import real as put\n",
        "try:\n    from .more import real as put\nexcept ImportError:\n    put = None\n",
        "from .more import real\nput = real\n",
        "put: object = None\n",
        "from .more import *\n",
        "class put: ...\n",
    ):
        pack.files[f"{pack.package}/work.py"] = f"import sys\n{bound}def other(): ...\n"
        assert [] == codes(pack.inspect())
    pack.files[f"{pack.package}/work.py"] = "import sys\ndef other():\n    put = 1\n"
    assert {"pack.handler"} == refused(pack, pack.inspect())


@pytest.mark.parametrize(
    "code",
    [
        "import put\n",
        "import put.below\n",
        "from .more import put\n",
        "from .more import *\n",
        "put = other = len\n",
        "a.b = c[0] = put = len\n",
        "put: object = len\n",
        "with open('x') as x:\n    class put: pass\n",
        "try:\n    async def put(): pass\nexcept ImportError: pass\n",
        "try: x = 1\nexcept ImportError:\n    put = len\n",
    ],
)
def test_every_way_to_bind_a_name_makes_a_handler(pack, code):
    pack.files[f"{pack.package}/work.py"] = code
    assert [] == codes(pack.inspect())
    pack.files[f"{pack.package}/work.py"] = code.replace("put", "absent").replace("*", "absent")
    assert ["pack.handler"] == codes(pack.inspect())


def test_flaws_of_documents_are_refusals_with_their_place(pack):
    path = f"{pack.package}/contracts/put.yaml"
    pack.files[path] = pack.files[path].replace("risk: low", "rsik: low")
    report = pack.inspect()
    assert not pack.ran
    (flaw, *_) = report.refusals
    assert flaw.place.startswith(f"{path}:5:")


def test_one_capability_written_twice_is_refused(pack):
    contract = pack.files[f"{pack.package}/contracts/put.yaml"]
    pack.files[f"{pack.package}/contracts/again.yaml"] = contract
    assert {"pack.contents"} == refused(pack, pack.inspect())
    other = contract.replace("1.2.0", "2.0.0")
    pack.files[f"{pack.package}/contracts/again.yaml"] = other
    assert [] == codes(pack.inspect())


def test_a_pattern_does_not_cross_a_folder(pack):
    pack.files[f"{pack.package}/contracts/more.yaml/note.txt"] = "no contract"
    assert [] == codes(pack.inspect())


def test_a_contract_that_breaks_a_promise_has_its_place(pack):
    path = f"{pack.package}/contracts/put.yaml"
    pack.files[path] = pack.files[path].replace("risk: low", "risk: high\nconfirm: never")
    (flaw, *_) = pack.inspect().refusals
    assert ("capability.confirm_never", True) == (flaw.code, flaw.place.startswith(f"{path}:6:"))


def test_the_size_of_a_wheel_and_of_all_its_files_is_limited_before_anything_is_read(pack):
    wheel = pack.folder / f"{pack.package}-1.0.0-py3-none-any.whl"
    with wheel.open("wb") as file:
        file.truncate(512 * 1024 * 1024 + 1)
    with pytest.raises(PackError, match="size") as caught:
        inspect_wheel(wheel)
    assert caught.value.code == "pack.limits"
    wheel = pack.build()
    with zipfile.ZipFile(wheel, "a") as archive:
        for n in range(9):
            archive.writestr(f"{pack.package}/n{n}", b"")
            archive.filelist[-1].file_size = 60 * 1024 * 1024
    with pytest.raises(PackError, match="size of all files") as caught:
        inspect_wheel(wheel)
    assert caught.value.code == "pack.limits"


def test_notes_have_limits_of_their_own(pack):
    name = f"{pack.dist_info}/WHEEL"
    files = pack.all_files()
    files[name] = files[name].ljust(64 * 1024)
    assert [] == codes(inspect_wheel(pack.zipped(files)))
    files[name] += b" "
    with pytest.raises(PackError, match="WHEEL") as caught:
        inspect_wheel(pack.zipped(files))
    assert caught.value.code == "pack.limits"


def test_a_table_of_files_has_rows_enough_for_every_wheel_and_no_more():
    assert [["a", "b", "1"], ["a", "c", "2"]] == record_rows(b"a,b,1\n\na,c,2\n")
    assert 20_000 == len(record_rows(b"a\n" * 20_000))
    with pytest.raises(csv.Error):
        record_rows(b"a\n" * 20_001)


def test_folders_may_be_listed_and_hold_nothing(pack):
    wheel = pack.build()
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(f"{pack.package}/empty/", b"")
    assert [] == codes(inspect_wheel(wheel))
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(f"{pack.package}/full/", b"x")
    report = inspect_wheel(wheel)
    assert {"pack.path"} == refused(pack, report)
    assert "a folder with content" in str(report.refusals[0])


def test_too_many_files_are_over_a_limit(pack):
    wheel = pack.build(extra={f"{pack.package}/f{n}": b"" for n in range(5_000)})
    with pytest.raises(PackError) as caught:
        inspect_wheel(wheel)
    assert caught.value.code == "pack.limits"


def test_a_file_over_the_limit_is_not_unpacked_whole(pack):
    wheel = pack.build()
    with zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{pack.package}/bomb", bytes(64 * 1024 * 1024 + 1))
    with pytest.raises(PackError) as caught:
        inspect_wheel(wheel)
    assert caught.value.code == "pack.limits"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing", b"\0" * 100])
def test_what_is_no_archive_is_no_wheel(pack, content):
    wheel = pack.build()
    wheel.write_bytes(content)
    with pytest.raises(PackError) as caught:
        inspect_wheel(wheel)
    assert caught.value.code == "pack.wheel"
    with pytest.raises(PackError):
        inspect_wheel(wheel.with_name("absent.whl"))


def test_a_file_that_does_not_parse_is_named_and_its_handlers_are_not_judged(pack):
    pack.files[f"{pack.package}/data/old.py"] = "print 'two'\n"
    assert (f"{pack.package}/data/old.py",) == pack.inspect().unreadable


def test_a_proposal_is_about_this_wheel(pack):
    report = pack.inspect()
    proposal = asked_for(report, proposed_by="dave", reason="r")
    for other in (
        attrs.evolve(proposal, version="2.0.0"),
        attrs.evolve(proposal, distribution="awe-pack-other"),
    ):
        with pytest.raises(PackError) as caught:
            record_from_wheel(report, other)
        assert caught.value.code == "pack.name"
    spelled = attrs.evolve(proposal, distribution=pack.distribution.upper().replace("-", "_"))
    assert record_from_wheel(report, spelled).distribution == pack.distribution


def test_a_facade_record_names_what_it_reaches_through_workflows(pack):
    contents = pack.inspect().contents
    (facade,), (contract,) = contents.facades, contents.contracts
    record = facade_record(facade, [contents], pack=pack.distribution, proposed_by="dave")
    assert FacadeRecord.from_json(record.to_json()) == record
    assert [(f"{pack.name}.put", contract.digest)] == [(r.id, r.contract) for r in record.reaches]


def test_a_facade_reaches_what_takes_effects_back_too(pack):
    path = f"{pack.package}/contracts/put.yaml"
    put = pack.files[path]
    pack.files[path] = put.replace(
        "risk: low",
        "risk: medium\nundo: {compensate: {capability: NAME.drop, with: {}}}\n"
        "effects: [{net.http: {methods: [POST], hosts: [files.example.com]}}]",
    ).replace("NAME", pack.name)
    pack.files[f"{pack.package}/contracts/drop.yaml"] = put.replace(".put\n", ".drop\n")
    contents = pack.inspect().contents.checked()
    record = facade_record(contents.facades[0], [contents], pack=None, proposed_by="dave")
    assert [f"{pack.name}.drop", f"{pack.name}.put"] == [reach.id for reach in record.reaches]
    assert ("net.http",) == pack.record().capabilities[1].effects


def test_a_facade_reaches_what_a_step_is_taken_back_with(pack):
    flow, put = f"{pack.package}/workflows/twice.yaml", f"{pack.package}/contracts/put.yaml"
    pack.files[f"{pack.package}/contracts/drop.yaml"] = pack.files[put].replace(".put\n", ".drop\n")
    pack.files[flow] += (
        f"    compensation: {{compensate: {{capability: {pack.name}.drop, with: {{}}}}}}\n"
    )
    contents = pack.inspect().contents.checked()
    record = facade_record(contents.facades[0], [contents], pack=None, proposed_by="dave")
    assert [f"{pack.name}.drop", f"{pack.name}.put"] == [reach.id for reach in record.reaches]


def test_workflows_that_call_each_other_in_a_circle_are_reached_once(pack):
    flow = f"{pack.package}/workflows/twice.yaml"
    pack.files[flow] += f"  - id: again\n    workflow: {pack.name}_twice@1\n    with: {{}}\n"
    contents = pack.inspect().contents.checked()
    record = facade_record(contents.facades[0], [contents], pack=None, proposed_by="dave")
    assert [f"{pack.name}.put"] == [reach.id for reach in record.reaches]


def test_a_facade_reaches_what_a_step_is_compensated_with(pack):
    put = pack.files[f"{pack.package}/contracts/put.yaml"]
    pack.files[f"{pack.package}/contracts/drop.yaml"] = put.replace(".put\n", ".drop\n")
    pack.files[f"{pack.package}/workflows/twice.yaml"] += (
        f"    compensation: {{compensate: {{capability: {pack.name}.drop, with: {{text: x}}}}}}\n"
    )
    contents = pack.inspect().contents.checked()
    record = facade_record(contents.facades[0], [contents], pack=None, proposed_by="dave")
    assert [f"{pack.name}.drop", f"{pack.name}.put"] == [reach.id for reach in record.reaches]


def test_a_facade_to_nowhere_is_refused(pack):
    contents = pack.inspect().contents
    with pytest.raises(AccessError) as caught:
        facade_record(contents.facades[0], [], pack=None, proposed_by="dave")
    assert caught.value.code == "facade.unknown_target"


def test_a_plugin_needs_no_pack_file_and_a_policy_makes_it_one(pack):
    path = f"{pack.package}/pack.yaml"
    pack.files[path] += ""
    pack.files[path] = pack.files[path].replace(
        "[awe_capabilities]", "[awe_capabilities, awe_confirmation_policies]"
    )
    assert pack.inspect().kind == "plugin"
    for name in ("pack.yaml", "contracts/put.yaml", "workflows/twice.yaml", "facades/entry.yaml"):
        del pack.files[f"{pack.package}/{name}"]
    report = pack.inspect()
    assert [] == codes(report)
    assert (report.kind, report.name, report.hooks) == ("plugin", pack.name, ())
    assert asked_for(report, proposed_by="dave", reason="r").hooks == ()


@pytest.fixture
def declarative(pack):
    """A pack of data alone, as ``awe packs build`` makes it."""
    words = pack.files
    contract = words[f"{pack.package}/contracts/put.yaml"]
    contract = contract.replace(f"{pack.package}.work:put", "awe_openapi:operation")
    contract = contract.replace(
        "risk: low",
        "risk: critical\nundo: {none: not reviewed}\n"
        "effects: [{net.http: {methods: [POST], hosts: [files.example.com]}}]",
    )
    pack.files = {
        f"{pack.package}/pack.yaml": (
            f"awe: pack/v1\nname: {pack.name}\ncontracts: contracts/*.yaml\n"
            "bindings: bindings/*.yaml\ninterpreter: awe_openapi:operation\n"
        ),
        f"{pack.package}/contracts/put.yaml": contract + "binding: bindings/put.yaml\n",
        f"{pack.package}/bindings/put.yaml": (
            "awe: binding/v1\nmethod: POST\nurl: https://files.example.com/put\n"
        ),
        f"{pack.package}/source.lock.json": "{}",
    }
    pack.entry_points = {}
    return pack


def test_a_declarative_pack_names_its_interpreter_its_lock_and_exact_hosts(declarative):
    record = declarative.record()
    assert record.kind == "declarative"
    assert record.interpreter == "awe-openapi"
    assert record.source == canonical.sha256_hex(b"{}")
    assert record.hooks == ()
    assert record.capabilities[0].effects == ("net.http files.example.com",)
    granted = declarative.record(hooks=("awe_capabilities",))
    assert granted.hooks == ()


def test_only_the_hosts_that_are_called_are_named(declarative):
    path = f"{declarative.package}/contracts/put.yaml"
    more = ", {secret.use: {names: [token], hosts: [login.example.com]}}]"
    declarative.files[path] = declarative.files[path].replace("}}]", "}}" + more)
    effects = ("net.http files.example.com", "secret.use")
    assert declarative.record().capabilities[0].effects == effects


def test_an_effect_without_hosts_is_named_by_its_kind(declarative):
    path = f"{declarative.package}/contracts/put.yaml"
    effects = "{net.http: {methods: [POST], hosts: [files.example.com]}}"
    declarative.files[path] = declarative.files[path].replace(effects, "{fs.write: {paths: [x]}}")
    assert declarative.record().capabilities[0].effects == ("fs.write",)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        *(("__init__.py", b""), ("data/x.py", b""), ("data/no-name.py", b"")),
        *(("data/run.so", b""), ("data/run", b"\x7fELF"), (f"work{EXTENSION_SUFFIXES[0]}", b"")),
    ],
)
def test_code_in_a_declarative_pack_is_refused(declarative, path, content):
    declarative.files[f"{declarative.package}/{path}"] = content
    report = declarative.inspect()
    assert "pack.path" in refused(declarative, report)
    assert path in " ".join(map(str, report.refusals))


def test_an_entry_point_in_a_declarative_pack_is_refused(declarative):
    declarative.entry_points = {"awe": {"x": declarative.package}}
    report = declarative.inspect()
    assert {"pack.entry_points"} == refused(declarative, report)


def test_a_declarative_contract_needs_the_packs_interpreter_and_a_binding(declarative):
    path = f"{declarative.package}/contracts/put.yaml"
    good = declarative.files[path]
    declarative.files[path] = good.replace("awe_openapi:operation", "awe_mcp:tool")
    assert {"pack.handler"} == refused(declarative, declarative.inspect())
    declarative.files[path] = good.replace("bindings/put.yaml", "bindings/absent.yaml")
    assert {"pack.handler"} == refused(declarative, declarative.inspect())


def test_a_declarative_pack_without_its_lock_becomes_no_record(declarative):
    del declarative.files[f"{declarative.package}/source.lock.json"]
    with pytest.raises(PackError) as caught:
        declarative.record()
    assert caught.value.code == "pack.wheel"


def test_a_schema_that_does_not_compile_is_found_before_anybody_approves_it(pack):
    path = f"{pack.package}/contracts/put.yaml"
    pack.files[path] = pack.files[path].replace(
        "text: {type: string}\n    times", "text: {type: string, format: no-such}\n    times"
    )
    report = pack.inspect()
    assert not pack.ran
    assert ["contract.schema"] == codes(report)
    with pytest.raises(ContractError):
        record_from_wheel(report, asked_for(report, proposed_by="dave", reason="r"))


@pytest.mark.parametrize("name", ["METADATA", "WHEEL", "RECORD"])
def test_a_wheel_without_its_metadata_is_refused(pack, name):
    wheel = pack.build()
    whole = zipfile.ZipFile(wheel)
    bare = wheel.with_name("bare") / wheel.name
    bare.parent.mkdir()
    with zipfile.ZipFile(bare, "w") as archive:
        for one in whole.namelist():
            if one != f"{pack.dist_info}/{name}":
                archive.writestr(one, whole.read(one))
    whole.close()
    report = inspect_wheel(bare)
    assert "pack.wheel" in refused(pack, report)
    assert f"it has no {name}" in " ".join(map(str, report.refusals))


def test_a_record_that_lists_a_file_twice_or_is_no_table_is_refused(pack):
    wheel = pack.build()
    for spoil in (b"x,,\nx,,\n", b'"' + b"x" * 200_000):
        with zipfile.ZipFile(wheel) as whole:
            files = {one: whole.read(one) for one in whole.namelist()}
        files[f"{pack.dist_info}/RECORD"] = files[f"{pack.dist_info}/RECORD"] + spoil
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        assert "pack.wheel" in refused(pack, inspect_wheel(wheel))
    path = f"{pack.package}/work.py"
    again = f"{path},sha256=,0\n"
    report = inspect_wheel(pack.zipped(pack.all_files(), rows=again))
    assert {"pack.wheel"} == refused(pack, report)
    assert "lists a file twice" in str(report.refusals[0])


def test_a_compression_that_installers_do_not_know_is_refused(pack):
    wheel = pack.build()
    with zipfile.ZipFile(wheel, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr(f"{pack.package}/packed.txt", "x")
    assert "pack.path" in refused(pack, inspect_wheel(wheel))


def test_two_pack_files_are_refused(pack):
    pack.files["other_top/__init__.py"] = ""
    pack.files["other_top/pack.yaml"] = f"awe: pack/v1\nname: {pack.name}\n"
    assert "pack.contents" in refused(pack, pack.inspect())


def test_a_wheel_without_dist_info_is_told_so_once(pack):
    files = {path: data for path, data in pack.all_files().items() if "dist-info" not in path}
    wheel = pack.build()
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    report = inspect_wheel(wheel)
    assert "pack.wheel" in refused(pack, report)
    assert 1 == codes(report).count("pack.wheel")


def test_a_wheel_that_is_not_there_is_said_to_be_missing(pack):
    with pytest.raises(PackError, match="No such file") as caught:
        inspect_wheel(pack.folder / "absent-1-py3-none-any.whl")
    assert caught.value.code == "pack.wheel"


def test_a_wheel_of_nothing_is_refused(pack):
    pack.files = {}
    assert {"pack.top_level", "pack.entry_points"} == refused(pack, pack.inspect())


def test_installed_top_levels_name_their_owners():
    owners = installed_top_levels()
    assert owners["attrs"] == {"attrs"}
    assert owners["_pytest"] == {"pytest"}


def test_a_top_level_that_somebody_else_has_installed_too_is_named(pack, dependency, monkeypatch):
    record = pack.record()
    monkeypatch.syspath_prepend(str(pack.install()))
    assert [] == foreign_top_levels(record)
    wheel = dependency("intruder", {f"{pack.package}/more.py": ""})
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(pack.site)
    (error,) = foreign_top_levels(record)
    assert error.code == "pack.top_level"
    assert f"{pack.package}: it belongs to intruder as well" in str(error)
    report = pack.inspect(taken=installed_top_levels())
    assert {"pack.top_level"} == refused(pack, report)


@hypothesis.given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6))
def test_whatever_the_bytes_a_wheel_gives_a_report_or_an_error_of_ours(made, changes):
    pack, wheel, whole = made
    content = bytearray(whole)
    for at, byte in changes:
        content[int(at * (len(content) - 1))] = byte
    wheel.write_bytes(bytes(content))
    try:
        report = inspect_wheel(wheel)
    except AweError:
        report = None
    assert report is None or report.digest
    assert not pack.ran


@pytest.fixture(scope="module")
def made(tmp_path_factory, pack_in):
    """One wheel, with its bytes in plain sight: every change of a byte reaches its parser."""
    pack = pack_in(tmp_path_factory.mktemp("made"))
    wheel = pack.build()
    return pack, wheel, wheel.read_bytes()


@pytest.mark.parametrize(("length", "fits"), [(4096, True), (4097, False)])
def test_a_row_of_record_has_room_for_a_path_a_hash_and_a_size(length, fits):
    row = b"x" * (length - 3) + b",,\n"
    if fits:
        assert [["x" * (length - 3), "", ""]] == record_rows(row)
    else:
        with pytest.raises(csv.Error, match="a row of more than"):
            record_rows(row)


def test_a_name_that_stands_twice_is_nobody_s_entry_point():
    with pytest.raises(ValueError, match="x = b"):
        entry_points("[awe]\nx = a\nx = b\n")
    assert {"awe": {"x": "a"}, "more": {"x": "b"}} == entry_points("[awe]\nx = a\n[more]\nx = b\n")


def test_a_report_says_what_the_pack_asks_to_be_granted(pack):
    assert {"executor", "reuse", "native"} == set(pack.inspect().as_json()["asks"])
    del pack.files[f"{pack.package}/pack.yaml"]
    assert {} == pack.inspect().as_json()["asks"]
