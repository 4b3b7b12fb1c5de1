"""What a pack runs with: followed and pinned when it is proposed, compared when it starts."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import zipfile

import attrs
import pytest

from awe_core.errors import PackError
from awe_core.packs import check_requirements, requirements_of
from awe_core.records import Requirement


def names(requirements):
    return [one.distribution for one in requirements]


def refused(*lines, deps=None):
    with pytest.raises(PackError) as caught:
        requirements_of(lines, deps)
    assert caught.value.code == "pack.requirement"
    return str(caught.value)


@pytest.fixture
def deps(tmp_path):
    return tmp_path / "deps"


# -------------------------------------------------------------------------- what would be installed


def test_installed_requirements_are_followed_and_the_core_is_left_out():
    found = requirements_of(["jsonschema>=4", "awe-core>=1"])
    assert {"jsonschema", "referencing", "attrs"} <= set(names(found))
    assert "awe-core" not in names(found)
    assert {""} == {one.tree for one in found}


@pytest.mark.parametrize(
    "marker",
    [
        'python_version < "3.8"',
        'sys_platform == "win32"',
        'extra == "fast"',
        'sys_platform != "win32" and extra == "fast"',
    ],
)
def test_a_marker_that_is_false_here_needs_nothing(marker):
    assert () == requirements_of([f"no-such-distribution; {marker}"])


@pytest.mark.parametrize(
    "marker", ['python_version >= "3.8"', 'sys_platform != "win32"', 'extra != "fast"']
)
def test_a_marker_that_is_true_here_needs_it(marker):
    assert "No package" in refused(f"no-such-distribution; {marker}")


def test_an_extra_counts_where_it_is_asked_for(dependency, deps):
    dependency("aaa", requires=['bbb; extra == "fast"', 'ccc; extra == "slow"'])
    dependency("bbb", requires=["aaa[fast]"])
    dependency("ddd", requires=["aaa", "aaa[fast]"])
    assert ["aaa"] == names(requirements_of(["aaa"], deps))
    assert ["aaa", "bbb"] == names(requirements_of(["aaa[fast]"], deps))
    assert ["aaa", "bbb", "ddd"] == names(requirements_of(["ddd"], deps))


def test_what_is_found_must_fit_what_was_asked_for(dependency, deps):
    dependency("aaa", version="2.0rc1")
    assert "2.0rc1" in refused("aaa<2.0rc1", deps=deps)
    assert "2.0rc1" in refused("aaa", "aaa>=3", deps=deps)
    assert requirements_of(["aaa>1,<3"], deps)


def test_what_is_no_requirement_is_refused():
    assert "what is this" in refused("what is this?")


@pytest.mark.parametrize(("version", "line"), [("", "aaa"), ("", "aaa>=1"), ("banana", "aaa>=1")])
def test_what_has_no_version_fits_nothing(dependency, deps, version, line):
    dependency("aaa", version=version)
    assert line in refused(line, deps=deps)


def test_one_wheel_of_each_requirement_must_be_there(dependency, deps):
    dependency("aaa", requires=["B_b.b>=1"])
    (deps / "b_b_b-1.0.tar.gz").write_bytes(b"")
    assert "holds 0 wheels" in refused("aaa", deps=deps)
    dependency("b_b_b")
    assert ["aaa", "b-b-b"] == names(requirements_of(["aaa"], deps))
    dependency("b_b_b", version="1.1")
    assert "holds 2 wheels" in refused("aaa", deps=deps)


def test_a_wheel_that_cannot_be_read_is_refused(dependency, deps):
    wheel = dependency("aaa")
    whole = wheel.read_bytes()
    for content in (b"", whole[:-30], whole.replace(b"METADATA", b"METADATE")):
        wheel.write_bytes(content)
        assert "aaa is required" in refused("aaa", deps=deps)


def test_the_tree_digest_covers_each_file_by_path_and_not_what_installers_write(dependency, deps):
    files = {"aaa/z.py": "z", "aaa/__init__.py": "", "aaa-1.0.data/scripts/tool": "#!python\n"}
    with zipfile.ZipFile(dependency("aaa", files)) as archive:
        kept = [one for one in archive.namelist() if "RECORD" not in one and ".data" not in one]
        bodies = {one: archive.read(one) for one in sorted(kept)}
    lines = [f"{hashlib.sha256(b).hexdigest()} {len(b)} {path}\n" for path, b in bodies.items()]
    (found,) = requirements_of(["aaa"], deps)
    assert found == Requirement("aaa", "1.0", hashlib.sha256("".join(lines).encode()).hexdigest())


# ------------------------------------------------------------------------------ what is installed

NAMESPACE = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
AAA = {
    "aaa/__init__.py": "",
    "aaa/deep/more.py": "more = 1\n",
    "aaa_alone.py": "",
    "shared/of_aaa/__init__.py": "",
    "older/__init__.py": NAMESPACE,
    "older/aaa.py": "",
    "aaa.libs/lib.so": b"\x7fELF",
    "aaa-1.0.data/purelib/aaa/also.py": "also = 1\n",
    "aaa-1.0.data/scripts/aaa-tool": "#!python\n",
    "aaa-1.0.dist-info/entry_points.txt": "[console_scripts]\naaa = aaa:x\n",
    "aaa-1.0.dist-info/licenses/LICENSE": "free\n",
}
BBB = {
    "shared/of_bbb/__init__.py": "",
    "shared/bbb.py": "",
    "older/__init__.py": NAMESPACE,
    "older/bbb.py": "",
}


@pytest.fixture
def wheels(dependency):
    return dependency("aaa", AAA, requires=["bbb"]), dependency("bbb", BBB)


@pytest.fixture
def runs_with(pack, wheels, deps, monkeypatch):  # noqa: ARG001 - the wheels are there
    """A record that pins both, and a folder on the path that they may be installed in."""
    pack.install()
    monkeypatch.syspath_prepend(str(pack.site))
    requires = requirements_of(["aaa"], deps)
    assert ["aaa", "bbb"] == names(requires)
    return attrs.evolve(pack.record(), requires=requires)


@pytest.fixture
def installed(pack, wheels, runs_with):
    """Both as they are after an installation, without the time that an installer takes."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(pack.site)
    data = pack.site / "aaa-1.0.data"
    (data / "purelib/aaa/also.py").rename(pack.site / "aaa/also.py")
    shutil.rmtree(data)
    record = pack.site / "aaa-1.0.dist-info/RECORD"
    lines = record.read_text().replace("aaa-1.0.data/purelib/", "").splitlines()
    record.write_text("\n".join(line for line in lines if ".data/" not in line) + "\n")
    pack.approved = runs_with
    check_requirements(pack.approved, deep=True)
    return pack


def differences(pack, *, deep=True):
    with pytest.raises(PackError) as caught:
        check_requirements(pack.approved, deep=deep)
    assert caught.value.code == "pack.dependency"
    return caught.value.details


def test_what_real_installers_leave_behind_is_what_was_in_the_wheels(
    wheels, runs_with, installer, tmp_path, monkeypatch
):
    site = installer(tmp_path / "prefix", *wheels)
    monkeypatch.syspath_prepend(str(site))
    check_requirements(runs_with, deep=True)
    (site / "aaa/extra.py").write_text("")
    with pytest.raises(PackError) as caught:
        check_requirements(runs_with, deep=True)
    (why,) = caught.value.details
    assert why.startswith("aaa: aaa/extra.py: ")


def test_a_version_is_compared_always(installed):
    (aaa, bbb) = installed.approved.requires
    other, gone = attrs.evolve(aaa, version="0.9"), Requirement("no-such-distribution", "1.0", "")
    installed.approved = attrs.evolve(installed.approved, requires=(other, bbb, gone))
    assert (
        differences(installed, deep=False)
        == differences(installed)
        == (
            "aaa: approved 0.9, installed 1.0",
            "no-such-distribution: approved 1.0, installed not at all",
        )
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("aaa/deep/more.py", "sha256=GjQdwwwGg4maoq4iXdEV_SIReIuZBgR3-RDqIiZXRgw"),
        ("aaa/also.py", "sha256=ysAWAoLqu-HHW5wk4W6QQWCGcokHDDC-aMPEpbtoQS4"),
        ("shared/of_aaa/__init__.py", "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"),
        ("aaa-1.0.dist-info/METADATA", "sha256="),
        ("aaa-1.0.dist-info/entry_points.txt", "sha256="),
        ("aaa/extra.py", "nothing, "),
        ("aaa/extra.pyc", "nothing, "),
        ("aaa/deep/er/extra.so", "nothing, "),
        ("shared/of_aaa/extra.py", "nothing, "),
        ("aaa.cpython-311-x86_64-linux-gnu.so", "nothing, "),
        ("aaa_alone/__init__.py", "nothing, "),
        ("aaa-1.0.dist-info/extra", "nothing, "),
    ],
)
def test_a_changed_and_an_added_file_are_found_where_one_looks_deep(installed, path, said):
    place = installed.site / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes((place.read_bytes() if place.exists() else b"") + b"\nLicense: other\n")
    (why,) = differences(installed)
    assert why.startswith(f"aaa: {path}: its RECORD says {said}")
    check_requirements(installed.approved)


@pytest.mark.parametrize(
    "path",
    [
        "shared/of_others.py",
        "shared/of_others/__init__.py",
        "older/of_others.py",
        "aaa/__pycache__/more.cpython-311.pyc",
        "aaa/deep/__pycache__/more.cpython-311.pyc",
        "aaab.py",
        "shared/aaa.py",
        "shared.event-1.0-nspkg.pth",
        "aaa-1.0.dist-info/REQUESTED",
    ],
)
def test_what_others_and_installers_write_is_no_difference(installed, path):
    place = installed.site / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"")
    check_requirements(installed.approved, deep=True)


@pytest.mark.parametrize("path", ["aaa/deep/more.py", "shared/of_aaa/__init__.py"])
def test_a_missing_file_is_found(installed, path):
    (installed.site / path).unlink()
    (why,) = differences(installed)
    assert why.startswith(f"aaa: {path}: its RECORD says sha256=")
    assert why.endswith("found nothing")


@pytest.mark.parametrize("path", ["aaa", "aaa/deep", "aaa/deep/more.py", "shared", "aaa_alone.py"])
def test_a_link_is_found_even_if_its_bytes_are_right(installed, path):
    place = installed.site / path
    place.rename(installed.folder / "elsewhere")
    place.symlink_to(installed.folder / "elsewhere")
    assert f"aaa: {path}: is a link" in differences(installed)


def test_an_added_link_is_found(installed):
    (installed.site / "aaa/extra.py").symlink_to("/etc/hostname")
    assert "aaa: aaa/extra.py: is a link" in differences(installed)


@pytest.mark.parametrize("path", ["aaa/deep/more.py", "aaa-1.0.dist-info/RECORD"])
def test_a_fifo_is_found_without_waiting_for_it(installed, path):
    place = installed.site / path
    place.unlink()
    os.mkfifo(place)
    assert f"aaa: {path}: is no regular file" in differences(installed)


def test_record_is_not_believed(installed):
    place = installed.site / "aaa/deep/more.py"
    place.write_text("evil = 1\n")
    record = installed.site / "aaa-1.0.dist-info/RECORD"
    whole = record.read_text()
    digest = hashlib.sha256(b"evil = 1\n").digest()
    urlsafe = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    other = [
        f"aaa/deep/more.py,sha256={urlsafe},9" if line.startswith("aaa/deep/more") else line
        for line in whole.splitlines()
    ]
    record.write_text("\n".join(other) + "\n")
    (why,) = differences(installed)
    assert why.startswith(f"aaa: approved tree {installed.approved.requires[0].tree}, installed ")
    for spoilt in ("", "x" * 200_000, whole.replace("aaa/__init__.py", "aaa/__gone__.py")):
        record.write_text(f'"{spoilt}' if "xx" in spoilt else spoilt)
        assert differences(installed)
    record.unlink()
    assert ("aaa: aaa-1.0.dist-info/RECORD: is not there",) == differences(installed)


def test_two_installs_of_a_requirement_are_a_difference(installed, monkeypatch):
    other = installed.folder / "other-site"
    shutil.copytree(installed.site / "aaa-1.0.dist-info", other / "aaa-1.0.dist-info")
    monkeypatch.syspath_prepend(str(other))
    assert ("aaa: is not installed in one place, from a wheel",) == differences(installed)


def test_names_and_depths_that_no_wheel_has_are_found_all_the_same(installed):
    (installed.site / "aaa" / os.fsdecode(b"\xff.py")).write_text("")
    deep = installed.site / "aaa"
    for _ in range(600):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "x.py").write_text("")
    first, second = differences(installed)
    assert first.startswith("aaa: aaa/d/d/d/d/")
    assert second.startswith("aaa: aaa/\\udcff.py: ")
    first.encode("ascii")
    second.encode("ascii")


def test_the_first_twenty_differences_are_named(installed):
    for n in range(30):
        (installed.site / f"aaa/extra{n:02}.py").write_text("")
    assert len(differences(installed)) == 20


def test_a_requirement_pinned_by_its_version_alone_is_compared_by_it_alone(installed):
    requires = [attrs.evolve(one, tree="") for one in installed.approved.requires]
    installed.approved = attrs.evolve(installed.approved, requires=tuple(requires))
    (installed.site / "aaa/extra.py").write_text("")
    check_requirements(installed.approved, deep=True)
