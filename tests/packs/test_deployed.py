"""Packs in a whole deployment: what a proposal compares itself with, and who takes whom down."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from awe_core.config import load_config
from awe_core.errors import AccessError, PackError
from awe_core.runtime import deployment as loading
from awe_core.runtime.proposals import draft, inspected
from awe_core.testing.deployment import Deployment


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path that several packs are installed in."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.fixture
def packs(tmp_path, site, pack_in):
    """Two packs, installed."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(pack_in(tmp_path / name))
        made[-1].site = site
        made[-1].install()
    return made


@pytest.fixture
def loaded():
    """Load a deployment as a start does; its finder stands nowhere afterwards."""
    finders = []

    def load(made):
        config = load_config(made.config, flags={}, environ={})
        here = loading.load(config, now_s=int(time.time()), mark=None)
        finders.append(here.finder)
        return here

    yield load
    for finder in finders:
        finder.uninstall()


def refusals(here):
    return {name: error.code for name, error in here.refused}


def proposed(here, wheel, **how):
    return draft(here, wheel, proposed_by="ana", reason="a test", **how)


def test_a_spoilt_pack_takes_no_other_down(tmp_path, packs, loaded):
    one, two = packs
    made = Deployment.create(tmp_path / "d", [one.build(), two.build()])
    one.place("work.py").write_text("evil = 1\n")
    here = loaded(made)
    assert refusals(here) == {one.distribution: "pack.file_changed"}
    assert here.capability(f"{two.name}.put").id == f"{two.name}.put"
    with pytest.raises(PackError) as caught:
        here.capability(f"{one.name}.put")
    assert caught.value.code == "pack.file_changed"
    with pytest.raises(AccessError):
        here.gate.facade(f"{one.name}_entry")
    assert here.gate.facade(f"{two.name}_entry")
    assert not one.ran
    assert not two.ran


def editable(pack):
    source = pack.folder / "checkout"
    source.mkdir()
    pack.place("").rename(source / pack.package)
    note = {"url": source.as_uri(), "dir_info": {"editable": True}}
    (pack.site / pack.dist_info / "direct_url.json").write_text(json.dumps(note))


@pytest.mark.parametrize(("people", "is_taken"), [(("ana",), True), (("ana", "ben", "cy"), False)])
def test_an_editable_install_is_taken_where_the_root_says_so(
    tmp_path, packs, loaded, people, is_taken
):
    one, _ = packs
    made = Deployment.create(tmp_path / "d", [one.build()], people=people)
    assert made.governance.verdict(now=int(time.time())).root.policy.editable is is_taken
    editable(one)
    here = loaded(made)
    assert refusals(here) == ({} if is_taken else {one.distribution: "pack.install_kind"})
    assert [True] * is_taken == [one.is_editable for one in here.packs]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["contracts/put.yaml", "workflows/twice.yaml"], "{}.put"),
        (["facades/entry.yaml"], "{}_entry"),
    ],
)
def test_what_looks_like_something_known_is_not_proposed(tmp_path, packs, loaded, files, name):
    one, two = packs
    here = loaded(Deployment.create(tmp_path / "d", [one.build()]))
    assert proposed(here, two.build())
    known, twin = name.format(one.name), name.format(one.name.replace("m", "rn"))
    for path in files:
        place = f"{two.package}/{path}"
        two.files[place] = two.files[place].replace(name.format(two.name), twin)
    with pytest.raises(PackError) as caught:
        proposed(here, two.build())
    assert caught.value.code == "pack.name"
    assert "pack.name" in [one.code for one in inspected(here, two.build()).refusals]
    assert f"{twin} looks like {known}, which is known" in str(caught.value)


def test_a_top_level_of_a_governed_pack_is_its_own_also_where_it_is_not_installed(
    tmp_path, packs, loaded
):
    one, two = packs
    one.files["lonely_module.py"] = two.files["lonely_module.py"] = ""
    (one.site / "lonely_module.py").write_bytes(one.all_files()["lonely_module.py"])
    made = Deployment.create(tmp_path / "d", [one.build()])
    for path in (one.place(""), one.site / one.dist_info):
        shutil.rmtree(path)
    (one.site / "lonely_module.py").unlink()
    with pytest.raises(PackError) as caught:
        proposed(loaded(made), two.build())
    assert caught.value.code == "pack.top_level"
    assert f"belongs to {one.distribution}" in str(caught.value)


def test_what_was_revoked_holds_no_name(tmp_path, packs, loaded):
    one, two = packs
    made = Deployment.create(tmp_path / "d", [one.build()])
    twin = one.name.replace("m", "rn")
    for path in ("contracts/put.yaml", "workflows/twice.yaml"):
        place = f"{two.package}/{path}"
        two.files[place] = two.files[place].replace(f"{two.name}.put", f"{twin}.put")
    with pytest.raises(PackError):
        proposed(loaded(made), two.build())
    now, key = int(time.time()), made.key("ana")
    made.governance.revoke(made.subjects[0], signer=key, reason="a test", now=now)
    assert proposed(loaded(made), two.build())


def test_a_proposal_pins_the_files_of_what_it_requires(tmp_path, packs, loaded, dependency):
    one, _ = packs
    here = loaded(Deployment.create(tmp_path / "d"))
    dependency("needed")
    assert proposed(here, one.build()).record.requires == ()
    info = f"{one.dist_info}/METADATA"
    whole = one.all_files()[info] + b"Requires-Dist: needed>=1\n"
    one.files[info] = whole
    original = one.all_files
    one.all_files = lambda: {**original(), info: whole}
    with pytest.raises(PackError) as caught:
        proposed(here, one.build())
    assert caught.value.code == "pack.requirement"
    (found,) = proposed(here, one.build(), deps=tmp_path / "deps").record.requires
    assert (found.distribution, found.version, len(found.tree)) == ("needed", "1.0", 64)
