"""Undo of file effects: identity, other people's changes, crashes at every line, races."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from awe_core.errors import EffectError, UndoError
from awe_core.events import UndoRecord
from awe_core.hookspecs import UndoStrategy
from awe_core.undo import FILE_STRATEGIES, Applied, Conflict
from awe_core.workspace import Workspace
from awe_core.workspace.store import back
from awe_core.workspace.syscalls import AtomicRenames, PlainRenames


@attrs.frozen
class World:
    """What a strategy is handed."""

    workspace: Workspace


def undo(workspace, record):
    record = UndoRecord(record.strategy, json.loads(json.dumps(record.payload)))
    return FILE_STRATEGIES[record.strategy].undo(record, World(workspace), "key")


def inspect(workspace, record):
    return FILE_STRATEGIES[record.strategy].inspect(record, World(workspace))


def act(staged):
    with staged:
        staged.sync_stage()
        staged.act()
        staged.sync_act()
    return staged.undo


@contextmanager
def opened(folder: Path, *, renames=None, backend="auto"):
    (folder / "ws").mkdir(exist_ok=True)
    with Workspace.open(folder / "ws", store=folder / "home", backend=backend) as workspace:
        if renames is None:
            yield workspace
        else:
            yield attrs.evolve(workspace, moves=attrs.evolve(workspace.moves, renames=renames))


@pytest.fixture(params=[AtomicRenames(), PlainRenames()], ids=lambda r: r.capture)
def workspace(request, tmp_path: Path):
    with opened(tmp_path, renames=request.param) as workspace:
        fill(workspace.root)
        yield workspace


def fill(root: Path) -> None:
    (root / "a").write_bytes(b"old")
    (root / "a").chmod(0o640)
    os.setxattr(root / "a", "user.tag", b"1")
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "f").write_text("f")
    (root / "d" / "link").symlink_to("f")


def slots(workspace) -> tuple[str, ...]:
    """What is kept for undo."""
    return tuple(str(p) for p in sorted(workspace.store.path.glob("[!.]*/*")))


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything the world can see, times of files included."""
    seen = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = (
            str(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else None
        )
        mtime = status.st_mtime_ns if path.is_file() and not path.is_symlink() else None
        tags = [] if path.is_symlink() else [(n, os.getxattr(path, n)) for n in os.listxattr(path)]
        seen[str(path.relative_to(root))] = (status.st_mode, status.st_uid, content, mtime, tags)
    return seen


EFFECTS = {
    "replace": lambda w: w.stage_write("a", b"new", mode="replace", run="r"),
    "replace with the same": lambda w: w.stage_write("a", b"old", mode="replace", run="r"),
    "create": lambda w: w.stage_write("n", b"new", mode="create", run="r"),
    "append": lambda w: w.stage_append("a", b"+more", run="r"),
    "append much": lambda w: w.stage_append("a", b"+more" * 2000, run="r"),
    "delete": lambda w: w.stage_delete("a", run="r"),
    "delete a tree": lambda w: w.stage_delete("d", run="r", recursive=True),
    "delete a link": lambda w: w.stage_delete("d/link", run="r"),
    "move": lambda w: w.stage_move("a", "d/a"),
    "move a tree": lambda w: w.stage_move("d", "m"),
    "mkdir": lambda w: w.stage_mkdir("n"),
}
each_effect = pytest.mark.parametrize("stage", EFFECTS.values(), ids=EFFECTS)


def test_the_strategies_fulfil_the_public_protocol():
    assert all(isinstance(s, UndoStrategy) for s in FILE_STRATEGIES.values())
    assert {"fs.swap", "fs.create", "fs.append", "fs.delete", "fs.move", "fs.mkdir"} == set(
        FILE_STRATEGIES
    )


@each_effect
def test_undo_is_the_identity_and_twice_is_once(workspace, stage):
    before = snapshot(workspace.root)
    staged = stage(workspace)
    assert "not_applied" == inspect(workspace, staged.undo)
    intended = staged.undo
    staged.act()
    staged.sync_act()
    assert "applied" == inspect(workspace, intended) == inspect(workspace, staged.undo)
    assert Applied() == undo(workspace, staged.undo)
    assert before == snapshot(workspace.root)
    assert Applied() == undo(workspace, staged.undo)
    assert Applied() == undo(workspace, intended)
    assert before == snapshot(workspace.root)
    assert "not_applied" == inspect(workspace, staged.undo)
    assert () == slots(workspace)


@each_effect
def test_undo_of_what_was_intended_and_never_done_changes_nothing(workspace, stage):
    before = snapshot(workspace.root)
    record = stage(workspace).undo
    assert Applied() == undo(workspace, record)
    assert before == snapshot(workspace.root)


@each_effect
def test_a_fresh_process_can_undo_from_the_record_alone(tmp_path: Path, stage):
    with opened(tmp_path) as workspace:
        fill(workspace.root)
        before = snapshot(workspace.root)
        record = act(stage(workspace))
    script = (
        "import json, sys; from pathlib import Path; import attrs\n"
        "from awe_core.events import UndoRecord; from awe_core.undo import FILE_STRATEGIES\n"
        "from awe_core.workspace import Workspace\n"
        "name, payload, root, store = json.load(sys.stdin)\n"
        "World = attrs.make_class('World', ['workspace'])\n"
        "workspace = Workspace.open(Path(root), store=Path(store))\n"
        "record = UndoRecord(name, payload)\n"
        "print(FILE_STRATEGIES[name].undo(record, World(workspace), 'key'))\n"
    )
    given_to = json.dumps(
        [record.strategy, record.payload, str(tmp_path / "ws"), str(tmp_path / "home")]
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], input=given_to, check=True, capture_output=True, text=True
    )
    assert repr(Applied()) == ran.stdout.strip()
    assert before == snapshot(tmp_path / "ws")


# ---- any sequence -------------------------------------------------------------------------------
NAMES = st.sampled_from(["a", "b", "d", "d/a", "d/e", "d/e/f"])
CONTENT = st.binary(max_size=3) | st.just(b"x" * 5000)
STEP = st.one_of(
    st.tuples(st.just("write"), NAMES, CONTENT),
    st.tuples(st.just("append"), NAMES, CONTENT),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("move"), NAMES, NAMES),
    st.tuples(st.just("mkdir"), NAMES),
)
FOREIGN = st.tuples(
    st.just("foreign"), st.sampled_from(["write", "edit", "delete", "rename"]), NAMES
)


def stage_step(workspace, step):
    match step:
        case ("write", path, data):
            return workspace.stage_write(path, data, mode="upsert", run="r")
        case ("append", path, data):
            return workspace.stage_append(path, data, run="r")
        case ("delete", path):
            return workspace.stage_delete(path, run="r", recursive=True)
        case ("move", source, target):
            return workspace.stage_move(source, target)
        case ("mkdir", path):
            return workspace.stage_mkdir(path)
    raise AssertionError(step)


def play(workspace, steps):
    """Do what can be done; give the records, and every foreign text in the order it was written."""
    records, texts, codes = [], [], set()
    for number, step in enumerate(steps):
        if step[0] == "foreign":
            texts += meddle(
                workspace.root, step[1], workspace.root / step[2], text=f"foreign-{number};"
            )
            continue
        try:
            records.append(act(stage_step(workspace, step)))
        except EffectError as error:
            codes.add(error.code.partition(".")[0])
    assert codes <= {"fs", "workspace"}
    return records, texts


def meddle(root: Path, how: str, path: Path, *, text: str) -> list[str]:
    """Do what another program might."""
    if how == "delete" and path.is_file():
        path.unlink()
    elif how == "rename" and path.exists() and not (root / "theirs").exists():
        path.rename(root / "theirs")
    elif path.parent.is_dir() and not path.is_dir() and how in {"write", "edit"}:
        if how == "write":
            path.unlink(missing_ok=True)
        with path.open("a") as opened:
            opened.write(text)
        return [text]
    return []


@settings(max_examples=60)
@given(st.lists(STEP, max_size=8))
@example(
    [
        ("mkdir", "d"),
        ("write", "d/a", b"1"),
        ("append", "d/a", b"2"),
        ("move", "d", "b"),
        ("delete", "b"),
    ]
)
def test_any_effects_and_their_undo_in_reverse_leave_the_same_tree(steps):
    folder = Path(tempfile.mkdtemp())
    with opened(folder) as workspace:
        (workspace.root / "a").write_text("first")
        before, digest = snapshot(workspace.root), workspace.tree_digest()
        records, _ = play(workspace, steps)
        assert [Applied()] * len(records) == [undo(workspace, r) for r in reversed(records)]
        assert before == snapshot(workspace.root)
        assert digest == workspace.tree_digest()
    shutil.rmtree(folder)


@settings(max_examples=80)
@given(st.lists(STEP | FOREIGN, max_size=10))
@example([("write", "a", b"1"), ("foreign", "edit", "a")])
@example([("append", "a", b"1"), ("foreign", "edit", "a")])
@example([("move", "a", "b"), ("foreign", "write", "a")])
@example([("mkdir", "d"), ("foreign", "write", "d/a")])
@example([("delete", "a"), ("foreign", "write", "a"), ("append", "a", b"1")])
def test_what_others_wrote_survives_undo(steps):
    folder = Path(tempfile.mkdtemp())
    with opened(folder) as workspace:
        (workspace.root / "a").write_text("first")
        records, texts = play(workspace, steps)
        standing = [t for t in texts if stands(workspace.root, t)]
        outcomes = []
        for record in reversed(records):
            try:
                outcomes.append(undo(workspace, record))
            except UndoError as error:
                outcomes.append(error.code)
        assert [t for t in standing if not stands(workspace.root, t)] == []
        codes = {o for o in outcomes if isinstance(o, str)}
        assert codes <= {"undo.failed", "undo.preimage_damaged"}
    shutil.rmtree(folder)


def stands(root: Path, text: str) -> bool:
    return any(text in p.read_text("latin-1") for p in root.rglob("*") if p.is_file())


# ---- conflicts ----------------------------------------------------------------------------------
def removed(path: Path) -> None:
    path.unlink()


def altered(path: Path) -> None:
    with path.open("a") as held:
        held.write("x")


def theirs(path: Path) -> None:
    path.parent.joinpath("tmp").write_text("theirs")
    path.parent.joinpath("tmp").rename(path)


@pytest.mark.parametrize(
    ("kind", "path", "meddling", "keeps"),
    [
        ("replace", "a", theirs, True),
        ("replace", "a", removed, True),
        ("replace", "a", altered, True),
        ("create", "n", theirs, False),
        ("append", "a", theirs, False),
        ("append", "a", altered, False),
        ("append", "a", removed, False),
        ("delete", "a", theirs, True),
        ("delete a tree", "d", lambda p: p.mkdir(), True),
        ("delete a link", "d", shutil.rmtree, True),
        ("move", "a", theirs, False),
        ("move", "d/a", theirs, False),
        ("move", "d/a", removed, False),
        ("move a tree", "m/x", altered, False),
        ("mkdir", "n/x", altered, False),
        ("mkdir", "n", lambda p: (p.rmdir(), p.write_text("x")), False),
    ],
)
def test_a_later_change_by_others_is_left_alone_and_reported(
    workspace, kind, path, meddling, keeps
):
    record = act(EFFECTS[kind](workspace))
    meddling(workspace.root / path)
    before = snapshot(workspace.root)
    for _ in range(2):
        outcome = undo(workspace, record)
        assert isinstance(outcome, Conflict)
        found = workspace.digest(outcome.path)
        assert (found.sha256 or None) == outcome.found_sha256
        assert keeps == (outcome.kept is not None)
        if keeps:
            assert (
                record.payload["pre"]["sha256"] == workspace.moves.slot(outcome.kept).image().sha256
            )
        assert before == snapshot(workspace.root)


def test_a_directory_made_anew_by_others_is_not_ours_to_remove(workspace):
    record = act(workspace.stage_mkdir("n"))
    (workspace.root / "n").rename(workspace.root / "away")
    (workspace.root / "n").mkdir()
    assert isinstance(undo(workspace, record), Conflict)
    assert (workspace.root / "n").is_dir()


@pytest.mark.parametrize("kind", ["replace", "delete"])
def test_a_damaged_pre_image_is_not_restored(workspace, kind):
    (workspace.root / "a").chmod(0o644)
    with (workspace.root / "a").open("r+") as held:
        record = act(EFFECTS[kind](workspace))
        before = snapshot(workspace.root)
        held.write("evil")
    with pytest.raises(UndoError) as refused:
        undo(workspace, record)
    assert "undo.preimage_damaged" == refused.value.code
    assert before == snapshot(workspace.root)
    assert "applied" == inspect(workspace, record)


@pytest.mark.parametrize("kind", ["replace", "delete", "delete a tree"])
def test_a_dropped_pre_image_is_named_and_nothing_is_touched(workspace, kind):
    record = act(EFFECTS[kind](workspace))
    shutil.rmtree(workspace.store.path / "r", ignore_errors=True)
    before = snapshot(workspace.root)
    with pytest.raises(UndoError) as refused:
        undo(workspace, record)
    assert "undo.discarded" == refused.value.code
    assert before == snapshot(workspace.root)


@pytest.mark.parametrize("kind", ["create", "append", "move", "mkdir"])
def test_what_needs_no_pre_image_is_undone_even_after_the_store_was_dropped(workspace, kind):
    before = snapshot(workspace.root)
    record = act(EFFECTS[kind](workspace))
    shutil.rmtree(workspace.store.path / "r", ignore_errors=True)
    assert Applied() == undo(workspace, record)
    assert before == snapshot(workspace.root)


@pytest.mark.parametrize("backend", ["openat2", "walk"])
@each_effect
def test_undo_does_not_follow_links_that_appeared_later(tmp_path: Path, stage, backend):
    outside = tmp_path / "outside"
    outside.mkdir()
    with opened(tmp_path, backend=backend) as workspace:
        inner = workspace.root / "in"
        inner.mkdir()
        fill(inner)
        record = act(stage(Below(workspace)))
        shutil.move(inner, outside / "in")
        inner.symlink_to(outside / "in")
        before = snapshot(outside)
        with pytest.raises(UndoError) as refused:
            undo(workspace, record)
        assert "undo.failed" == refused.value.code
        told_by_the_slot = {"applied"} if record.strategy == "fs.swap" else set()
        assert inspect(workspace, record) in {"unknown"} | told_by_the_slot
        assert before == snapshot(outside)


class Below:
    """The same calls, on paths below ``in``."""

    def __init__(self, workspace):
        self._workspace = workspace

    def __getattr__(self, name):
        def call(*paths, **more):
            inner = [f"in/{p}" if isinstance(p, str) else p for p in paths]
            return getattr(self._workspace, name)(*inner, **more)

        return call


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"path": "a"},
        {"path": "a", "pre": {"kind": "file"}, "post": {"kind": "absent"}},
        {"path": "a", "pre": {"kind": "absent"}, "post": {"kind": "absent"}, "slot": "../../etc/x"},
        {"path": "a", "pre": {"kind": "absent"}, "post": {"kind": "absent"}, "data": "%"},
        {"path": "a", "pre": {"kind": "absent"}, "post": {"kind": "absent"}, "slot": 7},
        {"path": "a", "pre": [], "post": {}},
        {"path": ["a"], "pre": {"kind": "absent"}, "post": {"kind": "absent"}},
        {"path": "a", "pre": {"kind": "absent"}, "post": {"kind": "absent"}, "to": 7},
    ],
)
def test_a_record_of_another_shape_is_refused(workspace, payload):
    for name, strategy in FILE_STRATEGIES.items():
        with pytest.raises(UndoError) as refused:
            strategy.undo(UndoRecord(name, payload), World(workspace), "key")
        assert "undo.payload" == refused.value.code


def test_a_record_cannot_point_outside(workspace):
    record = act(workspace.stage_write("n", b"1", mode="create", run="r"))
    for path in ("../n", "/etc/passwd", ".awe/x"):
        with pytest.raises(UndoError) as refused:
            undo(workspace, UndoRecord("fs.create", record.payload | {"path": path}))
        assert "undo.failed" == refused.value.code


@each_effect
def test_where_nothing_may_be_written_nothing_is_looked_at_or_taken_back(workspace, stage):
    record = act(stage(workspace))
    read_only = attrs.evolve(workspace, moves=None)
    assert "unknown" == inspect(read_only, record)
    with pytest.raises(UndoError) as refused:
        undo(read_only, record)
    assert "undo.failed" == refused.value.code


def test_half_an_append_is_partial_and_can_be_undone(workspace):
    before = snapshot(workspace.root)
    for data in (b"+more", b"+more" * 2000):
        record = workspace.stage_append("a", data, run="r").undo
        with (workspace.root / "a").open("ab") as held:
            held.write(data[:3])
        assert "partial" == inspect(workspace, record)
        assert Applied() == undo(workspace, record)
        assert before == snapshot(workspace.root)


# ---- a change in the very moment of undo, as a crash there leaves it ----------------------------
def test_a_foreign_file_that_a_crash_left_in_the_slot_is_given_back(workspace):
    swapped = act(EFFECTS["replace"](workspace))
    theirs(workspace.root / "a")
    moves = workspace.moves
    moves.swap(moves.slot(swapped.payload["slot"]), moves.at("a"))
    assert isinstance(undo(workspace, swapped), Conflict)
    assert "theirs" == (workspace.root / "a").read_text()

    created = act(EFFECTS["create"](workspace))
    theirs(workspace.root / "n")
    moves.move(moves.at("n"), moves.slot(created.payload["slot"]))
    assert isinstance(undo(workspace, created), Conflict)
    assert "theirs" == (workspace.root / "n").read_text()


def test_a_foreign_end_that_a_crash_left_beside_the_slot_is_given_back(workspace):
    record = act(EFFECTS["append"](workspace))
    with workspace.moves.new_in_store(back(record.payload["slot"])) as held:
        os.write(held, b"old")
    (workspace.root / "a").write_text("old+more+theirs")
    moves = workspace.moves
    moves.swap(moves.slot(back(record.payload["slot"])), moves.at("a"))
    assert isinstance(undo(workspace, record), Conflict)
    assert "old+more+theirs" == (workspace.root / "a").read_text()


@attrs.frozen
class Meddler:
    """Renames with another program that acts once, in the last moment before ours does."""

    renames: object
    meddling: list

    def __getattr__(self, name):
        if name in {"exchange", "exclusive", "link", "rmdir"} and self.meddling:
            self.meddling.pop()()
        return getattr(self.renames, name)


def meddled(workspace, *meddling):
    moves = workspace.moves
    renames = Meddler(moves.renames, [*meddling])
    return attrs.evolve(workspace, moves=attrs.evolve(moves, renames=renames))


@pytest.mark.parametrize(
    ("kind", "path", "meddling"),
    [
        ("replace", "a", theirs),
        ("replace", "a", removed),
        ("create", "n", theirs),
        ("append", "a", theirs),
        ("append", "a", altered),
        ("delete", "a", theirs),
        ("delete a tree", "d", Path.mkdir),
        ("move", "a", theirs),
        ("move", "d/a", theirs),
        ("move", "d/a", removed),
        ("mkdir", "n/x", theirs),
    ],
)
def test_a_change_in_the_last_moment_before_undo_is_kept(workspace, kind, path, meddling):
    record = act(EFFECTS[kind](workspace))
    seen = []

    def another_program():
        meddling(workspace.root / path)
        seen.append(snapshot(workspace.root))

    try:
        outcome = undo(meddled(workspace, another_program), record)
    except UndoError as error:
        outcome = error.code
    assert outcome == "undo.failed" or isinstance(outcome, Conflict)
    assert seen == [snapshot(workspace.root)]
    assert isinstance(undo(workspace, record), Conflict)
    assert seen == [snapshot(workspace.root)]


@pytest.mark.parametrize(
    ("kind", "path", "meddling"),
    [
        ("replace", "a", theirs),
        ("replace", "a", removed),
        ("create", "n", theirs),
        ("delete", "a", altered),
        ("delete a tree", "d/f", altered),
        ("delete a tree", "d/g", theirs),
        ("move", "a", theirs),
        ("move a tree", "d/f", altered),
        ("move", "d/a", theirs),
    ],
)
def test_a_change_in_the_last_moment_before_the_act_is_kept(workspace, kind, path, meddling):
    seen = []

    def another_program():
        meddling(workspace.root / path)
        seen.append(snapshot(workspace.root))

    staged = EFFECTS[kind](meddled(workspace, another_program))
    if kind == "replace":
        staged.is_bound = True
    with pytest.raises(EffectError) as refused:
        staged.act()
    assert refused.value.code in {"fs.changed", "fs.exists", "fs.missing"}
    assert seen == [snapshot(workspace.root)]
    assert "not_applied" == inspect(workspace, staged.undo) or meddling is theirs


def test_a_name_taken_while_a_deletion_is_put_back_leaves_both_versions(workspace):
    meddling = [lambda: theirs(workspace.root / "a"), lambda: altered(workspace.root / "a")]
    staged = EFFECTS["delete"](meddled(workspace, *meddling))
    with pytest.raises(EffectError) as failed:
        staged.act()
    assert "fs.failed" == failed.value.code
    assert staged.slot in str(failed.value)
    assert "theirs" == (workspace.root / "a").read_text()
    assert "file" == workspace.moves.slot(staged.slot).image().kind


def reborn(path: Path) -> None:
    """Give a file another inode, as a backup does."""
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").rename(path)


def test_records_outlive_a_restored_backup_in_which_every_inode_is_another(workspace):
    (workspace.root / "b").write_text("b")
    before = snapshot(workspace.root)
    replaced = act(EFFECTS["replace"](workspace))
    deleted = act(workspace.stage_delete("b", run="r"))
    moved = act(workspace.stage_move("d/f", "d/g"))
    for record in (replaced, deleted):
        reborn(workspace.store.path / record.payload["slot"])
    for name in ("a", "d/g"):
        reborn(workspace.root / name)
    for record in (moved, deleted, replaced):
        assert "applied" == inspect(workspace, record)
        assert Applied() == undo(workspace, record)
    assert before == snapshot(workspace.root)
    pending = EFFECTS["replace"](workspace)
    reborn(workspace.root / "a")
    reborn(workspace.store.path / pending.slot)
    assert "not_applied" == inspect(workspace, pending.undo)
    same = EFFECTS["replace with the same"](workspace)
    reborn(workspace.store.path / same.slot)
    assert "unknown" == inspect(workspace, same.undo)


# ---- SIGKILL at every line ----------------------------------------------------------------------
STRIDE = 11  #: lines from one kill to the next; with 1 it takes minutes, and passes too
FINE_STRIDE = 5  #: the lines between intent and act are few
WATCHED = (
    "moves.py",
    "syscalls.py",
    "staged.py",
    "store.py",
    "strategy.py",
    "contents.py",
    "names.py",
)


each_crash = pytest.mark.parametrize(
    ("stage", "renames"),
    [
        *(pytest.param(stage, AtomicRenames(), id=name) for name, stage in EFFECTS.items()),
        *(
            pytest.param(EFFECTS[name], PlainRenames(), id=f"{name}, racy")
            for name in ("replace", "create", "append", "delete", "move")
        ),
    ],
)


def killed_at(line: int, action) -> bool:
    """Run *action* in a child killed before its n-th line of ours; False when it ended first."""
    child = os.fork()
    if not child:
        count = 0

        def trace(frame, event, _):
            nonlocal count
            if Path(frame.f_code.co_filename).name not in WATCHED:
                return None
            if event == "line":
                count += 1
                if count == line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@each_crash
def test_killed_at_any_line_of_an_effect_inspect_is_right_and_undo_complete(
    tmp_path, stage, renames
):
    found, line = set(), 0
    (tmp_path / "ws").mkdir()
    fill(tmp_path / "ws")
    with opened(tmp_path, renames=renames) as workspace:
        while True:
            line += FINE_STRIDE
            before = snapshot(workspace.root)
            intent = tmp_path / "intent"
            intent.unlink(missing_ok=True)

            def effect(intent=intent):
                with stage(workspace) as staged:
                    staged.sync_stage()
                    intent.write_text(json.dumps([staged.undo.strategy, staged.undo.payload]))
                    staged.act()
                    staged.sync_act()

            was_killed = killed_at(line, effect)
            if not intent.exists():
                shutil.rmtree(workspace.store.path / "r", ignore_errors=True)  # a child's garbage
                assert before == snapshot(workspace.root)
            else:
                record = UndoRecord(*json.loads(intent.read_text()))
                seen = inspect(workspace, record)
                is_same = before == snapshot(workspace.root)
                found.add(seen)
                assert is_same == ("not_applied" == seen)
                assert Applied() == undo(workspace, record)
                assert before == snapshot(workspace.root)
            if not was_killed:
                break
    assert {"not_applied", "applied"} == found


@each_crash
def test_killed_at_any_line_of_an_undo_the_next_one_completes_it(tmp_path, stage, renames):
    (tmp_path / "ws").mkdir()
    fill(tmp_path / "ws")
    with opened(tmp_path, renames=renames) as workspace:
        before, line, was_killed = snapshot(workspace.root), 0, True
        while was_killed:
            line += STRIDE
            record = act(stage(workspace))
            was_killed = killed_at(line, lambda record=record: undo(workspace, record))
            assert Applied() == undo(workspace, record)
            assert before == snapshot(workspace.root)
    assert line > STRIDE


# ---- races --------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", ["openat2", "walk"])
def test_a_directory_that_keeps_turning_into_a_link_never_leaks(tmp_path: Path, backend):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("outside")
    with opened(tmp_path, backend=backend) as workspace:
        (workspace.root / "d").mkdir()
        (workspace.root / "d" / "file").write_text("inside")
        (workspace.root / "l").symlink_to(outside)
        before = snapshot(outside)
        swapper = os.fork()
        if not swapper:
            root = os.open(workspace.root, os.O_DIRECTORY)
            while sum(range(2000)):  # long enough for some calls to get through
                AtomicRenames().exchange(root, "d", root, "l")
        try:
            leaks, reads, refusals = 0, 0, set()
            for number in range(1500):
                leaks += "outside" in (workspace.root / "d" / "file").read_text()
                try:
                    assert b"inside" == workspace.read("d/file", max_bytes=9)
                    reads += 1
                    record = act(under_fire(workspace, number))
                    undo(workspace, record)
                except (EffectError, UndoError) as error:
                    refusals.add(error.code)
        finally:
            os.kill(swapper, signal.SIGKILL)
            os.waitpid(swapper, 0)
        assert leaks > 0, "the control never saw the link, so this proved nothing"
        assert reads > 0
        assert "workspace.escape" in refusals
        own = {"workspace.escape", "workspace.busy", "workspace.not_regular", "undo.failed"}
        assert refusals <= own | {"fs.missing", "fs.exists", "fs.changed", "fs.failed"}
        assert before == snapshot(outside)


def under_fire(workspace, number):
    match number % 4:
        case 0:
            return workspace.stage_write("d/file", b"inside", mode="replace", run="r")
        case 1:
            return workspace.stage_write("d/new", b"x", mode="upsert", run="r")
        case 2:
            return workspace.stage_append("d/file", b"", run="r")
        case _:
            return workspace.stage_mkdir(f"d/{number}")


def test_two_writers_of_one_file_leave_one_of_them_and_lose_nothing(tmp_path: Path):
    with opened(tmp_path) as workspace:
        target = workspace.root / "a"
        target.write_text("0")
        writer = os.fork()
        if not writer:
            number = 0
            while True:
                number += 1
                draft = tmp_path / "draft"
                draft.write_text(f"theirs {number}")
                draft.rename(target)
        try:
            refusals = set()
            for _ in range(300):
                digest = workspace.digest("a").sha256
                try:
                    with workspace.stage_write(
                        "a", b"ours", mode="upsert", run="r", expect=digest
                    ) as staged:
                        staged.act()
                except EffectError as error:
                    refusals.add(error.code)
                else:
                    assert digest == workspace.moves.slot(staged.slot).image().sha256
        finally:
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)
        assert refusals <= {"fs.changed", "fs.missing", "workspace.not_regular"}
        assert target.read_text() == "ours" or target.read_text().startswith("theirs")
