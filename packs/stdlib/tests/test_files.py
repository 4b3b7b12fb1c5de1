"""``fs.*``: everything is taken back, and no path argument leads out."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awe_core.errors import AweError
from awe_core.testing import Deployment, installed_contracts, me

CONTRACTS = {one.id: one for one in installed_contracts("awe-pack-stdlib")}

#: A call of each capability that has a path; each path argument in turn is made hostile.
CALLS = {
    "fs.append_text": {"path": "a.txt", "text": "x"},
    "fs.copy": {"source": "a.txt", "target": "new.txt"},
    "fs.delete": {"path": "a.txt"},
    "fs.list": {"path": "."},
    "fs.make_dir": {"path": "new"},
    "fs.move": {"source": "a.txt", "target": "new.txt"},
    "fs.patch": {"path": "a.txt", "diff": "@@ -1 +1 @@\n-hi\n+ho\n"},
    "fs.read_bytes": {"path": "a.txt"},
    "fs.read_text": {"path": "a.txt"},
    "fs.stat": {"path": "a.txt"},
    "fs.write_bytes": {"path": "new.bin", "base64": "aGkK"},
    "fs.write_text": {"path": "new.txt", "text": "x", "parents": True},
    "hash.sha256": {"path": "a.txt"},
    "hash.verify": {"path": "a.txt", "sha256": "0" * 64},
}
PLACES = [
    (capability, argument)
    for capability, arguments in CALLS.items()
    for argument in arguments
    if argument in {"path", "source", "target"}
]
HOSTILE = [
    "..",
    "../outside.txt",
    "dir/../../outside.txt",
    "/etc/passwd",
    "out/outside.txt",
    "./../x",
    "out/neighbour/new.txt",
    ".awe/journal.db",
    ".AWE/x",
    "a\x00b",
    "a\nb/../..",
    "..\\outside.txt",
    "//etc/passwd",
    "dir//b.bin",
    "C:\\x",
    "~/x/../../..",
    "../workspace-2/keep.txt",
    "%2e%2e/x/..",
]


@pytest.fixture
def furnished(stdlib):
    """A workspace with all that a file system can hold."""
    stdlib.world.lay(
        {"a.txt": "hi\n", "dir/b.bin": b"\x00\xff", "dir/deep/c.txt": "c", "run.sh": "#!"}
    )
    root = stdlib.world.workspace
    root.joinpath("run.sh").chmod(0o755)
    root.joinpath("dir/deep").chmod(0o700)
    root.joinpath("dir/link").symlink_to("b.bin")
    root.joinpath("out").symlink_to(stdlib.world.area)
    root.joinpath("secret.txt").symlink_to(stdlib.world.area / "outside.txt")
    return stdlib


def test_every_capability_with_a_path_is_tried_here():
    paths = {
        (id_, name)
        for id_, contract in CONTRACTS.items()
        for name, schema in contract.input["properties"].items()
        if schema.get("format") == "workspace-path"
    }
    assert paths <= set(PLACES)
    assert {id_ for id_ in CONTRACTS if id_.startswith("fs.")} <= {*CALLS, "fs.find"}


@pytest.mark.parametrize(("capability", "argument"), PLACES)
@pytest.mark.parametrize("path", HOSTILE)
def test_no_path_argument_leads_out(furnished, capability, argument, path):
    before = furnished.world.snapshot()
    code = furnished.failure(capability, **{**CALLS[capability], argument: path})
    assert code.startswith(("workspace.", "fs.", "contract.", "effect."))
    assert () == before.diff(furnished.world.snapshot())


#: As patterns these are names inside, behind a link, protected or simply not there.
INSIDE = ["out/outside.txt", "out/neighbour/new.txt", ".awe/journal.db", ".AWE/x", "C:\\x"]
INSIDE += ["..\\outside.txt", "out/*", "out/**", ".awe/*", "**/journal.db"]


@pytest.mark.parametrize("pattern", INSIDE)
def test_a_search_finds_nothing_behind_a_link_or_of_awe_itself(furnished, pattern):
    assert [] == furnished.output("fs.find", pattern=pattern)["entries"]


@pytest.mark.parametrize("pattern", [one for one in HOSTILE if one not in INSIDE])
def test_a_search_never_begins_outside(furnished, pattern):
    assert furnished.failure("fs.find", pattern=pattern).startswith(("workspace.", "contract."))


@pytest.mark.parametrize(("capability", "argument"), PLACES)
def test_a_link_that_leads_out_is_never_followed(furnished, capability, argument):
    outside = furnished.world.area.joinpath("outside.txt").read_bytes()
    arguments = {**CALLS[capability], argument: "secret.txt"}
    try:
        _, result = furnished.call(capability, arguments)
    except AweError as error:
        shown = error.summary
    else:
        shown = f"{result.output}{result.error}"
    assert outside == furnished.world.area.joinpath("outside.txt").read_bytes()
    assert outside.decode() not in shown
    assert base64.b64encode(outside).decode() not in shown


@pytest.mark.parametrize(
    "path",
    [
        "awe.yaml",
        "governance/x",
        "governance/manifests/1.json",
        ".git/config",
        ".git/hooks/pre-commit",
    ],
)
def test_what_a_deployment_stands_on_is_not_for_writing(tmp_path, path):
    with (
        Deployment.create(tmp_path, ["awe-pack-stdlib"], people=[me()]) as deployment,
        deployment.open() as runtime,
    ):
        for text in ("x", "y"):
            handle = runtime.submit_call(
                "fs.write_text", {"path": path, "text": text, "parents": True}
            )
            result = handle.wait()
            assert "workspace.protected" == result.error.code
        assert not tmp_path.joinpath(".git").exists()


@pytest.mark.parametrize(
    ("capability", "arguments"),
    [
        ("fs.write_text", {"path": "new.txt", "text": "x"}),
        ("fs.write_text", {"path": "run.sh", "text": "x"}),
        ("fs.write_text", {"path": "new/er/est.txt", "text": "x", "parents": True}),
        ("fs.write_bytes", {"path": "dir/b.bin", "base64": "", "mode": "replace"}),
        (
            "fs.write_bytes",
            {"path": "dir/new/x", "base64": "aGkK", "mode": "create", "parents": True},
        ),
        ("fs.append_text", {"path": "run.sh", "text": "more"}),
        ("fs.append_text", {"path": "a.txt", "text": ""}),
        ("fs.copy", {"source": "run.sh", "target": "copy.sh"}),
        ("fs.move", {"source": "run.sh", "target": "dir/run.sh"}),
        ("fs.move", {"source": "dir", "target": "moved"}),
        ("fs.move", {"source": "dir/link", "target": "link"}),
        ("fs.delete", {"path": "run.sh"}),
        ("fs.delete", {"path": "dir/link"}),
        ("fs.delete", {"path": "out"}),
        ("fs.delete", {"path": "dir", "recursive": True}),
        ("fs.make_dir", {"path": "new"}),
        ("fs.make_dir", {"path": "new/er/est", "parents": True}),
        ("fs.patch", {"path": "a.txt", "diff": "@@ -1 +1 @@\n-hi\n+ho\n"}),
    ],
)
def test_taken_back_the_world_is_as_before(furnished, capability, arguments):
    before = furnished.world.snapshot()
    handle, result = furnished.call(capability, arguments)
    assert result.is_completed, result.error
    ended = furnished.taken_back(handle)
    assert ("ROLLED_BACK", ()) == (ended.state, ended.residue)
    assert () == before.diff(furnished.world.snapshot())


@pytest.mark.parametrize("mode", ["create", "upsert"])
def test_a_folder_made_for_a_file_that_failed_goes_again(stdlib, mode):
    before = stdlib.world.snapshot()
    name = "x" * 300  # longer than a file system takes
    arguments = {"path": f"new/er/{name}", "text": "x", "mode": mode, "parents": True}
    stdlib.failure("fs.write_text", **arguments)
    assert () == before.diff(stdlib.world.snapshot())


def test_a_later_change_by_somebody_else_is_kept_and_named(stdlib):
    handle, _ = stdlib.call("fs.write_text", {"path": "a.txt", "text": "ours"})
    stdlib.world.lay({"a.txt": "theirs"})
    ended = stdlib.taken_back(handle)
    assert "FAILED" == ended.state
    assert ["a.txt"] == [one.what for one in ended.residue]
    assert "theirs" == stdlib.world.workspace.joinpath("a.txt").read_text()


@settings(max_examples=40)
@given(data=st.binary(max_size=200))
def test_bytes_written_are_the_bytes_read(library, data):
    text = base64.b64encode(data).decode()
    library.output("fs.write_bytes", path="any.bin", base64=text)
    assert data == library.world.workspace.joinpath("any.bin").read_bytes()
    assert text == library.output("fs.read_bytes", path="any.bin")["base64"]


@pytest.mark.parametrize(
    "text", ["a", "aGk", "aGk=\n", " aGk=", "aGk-", "aGk_", "====", "aGk=aGk=", "é"]
)
def test_what_is_no_standard_base64_is_refused(stdlib, text):
    assert "not_base64" == stdlib.failure("fs.write_bytes", path="a.bin", base64=text)
    assert [] == list(stdlib.world.workspace.iterdir())


def test_a_file_larger_than_granted_is_refused_whole(stdlib):
    stdlib.world.lay({"large.txt": b"x" * (8 * 1024 * 1024 + 1)})
    for capability in ("fs.read_text", "fs.read_bytes"):
        assert stdlib.failure(capability, path="large.txt") in {"effect.limit", "fs.too_large"}
    assert 64 == len(stdlib.output("hash.sha256", path="large.txt")["sha256"])


def test_a_pipe_is_never_waited_for(stdlib):
    os.mkfifo(stdlib.world.workspace / "pipe")
    assert stdlib.failure("fs.read_text", path="pipe").startswith(("fs.", "workspace."))
    assert "other" == stdlib.output("fs.stat", path="pipe")["entry"]["type"]
