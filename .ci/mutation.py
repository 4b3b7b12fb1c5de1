"""Take each check of governance and of the decider away, one at a time, and see who notices.

usage: python .ci/mutation.py [--only PATH] [--sample N] [--workers N]

A mutant differs from a module of `SUITES` in one place: a refusal is dropped, a
condition never or always holds, a comparison is another, an operand or a filter is gone.  One
pytest session imports everything, runs all tests once and learns which of them call which function;
then a fork of it a mutant exchanges the code of the one function in memory and runs these tests
until the first fails.  No file is written, so there is nothing to restore.  A survivor is a missing
test or a check that nothing needs, or it stands in `EQUIVALENT` with the reason.
"""

from __future__ import annotations

import argparse
import ast
import faulthandler
import functools
import gc
import os
import random
import resource
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
#: Modules, and the tests that hold them.
SUITES = (
    (
        ("trust/*.py", "lifecycle.py", "packs/*.py"),
        (
            *("tests/test_lifecycle.py", "tests/test_trust.py", "tests/test_governance.py"),
            *("tests/test_gate.py", "tests/packs/test_wheel.py", "tests/packs/test_installed.py"),
            *("tests/packs/test_pinned.py", "tests/packs/test_registry.py"),
            "tests/packs/test_requirements.py",
        ),
    ),
    (("decider/*.py",), ("tests/test_decider.py", "tests/test_decider_plan.py")),
)
TOO_LARGE = "not 50_000 and not costs"  #: tests of size and speed, which say nothing more here
MUTANT_S = 60  #: a mutant that takes longer hangs, which somebody would notice
MUTANT_BYTES = 4 * 2**30

#: Mutants that no test can notice, as they are printed, and why.
FOR_TYPES = "a declarative pack has an interpreter; this is for the type checker"
EQUIVALENT: dict[str, str] = {
    "trust/decisions.py _uncounted: `said.expires or 0` → `said.expires`": (
        "an approval says when it ends (`Statement.check`); the 0 is for the type checker"
    ),
    "trust/history.py _walk_back: `mark is not None and version == seen and (envelope.digest !="
    " mark.digest)` → `version == seen and envelope.digest != mark.digest`": (
        "without a mark `seen` is 0, and no manifest has that version"
    ),
    "decider/rewind.py resume: always `not run.hold`": (
        "whoever holds a run may resume it; a dry one is refused where it is asked for"
    ),
    "decider/rewind.py _reopen: `container.state is StepState.FAILED and container.is_open` →"
    " `container.state is StepState.FAILED`": "one that is not open is in the set itself",
    "decider/rewind.py _selection: `isinstance(unit, Container) and unit.children` →"
    " `isinstance(unit, Container)`": "one that is at work has children, or ends in the same turn",
    "decider/rewind.py _Choice.add_dependents: `unit.index and unit.index not in self._touched` →"
    " `unit.index not in self._touched`": "nothing depends on the run itself",
    "decider/rewind.py _Choice.add_dependents: `unit.index and unit.index not in self._touched` →"
    " `unit.index`": "it saves walking twice",
    "decider/rewind.py _Choice.add_dependents: drop `self._touched.add(unit.index)`": (
        "it saves walking twice"
    ),
    "decider/rewind.py _Later.than: `of[-1].order > item.order` → `of[-1].order >= item.order`": (
        "of the same order are effects of the same unit"
    ),
    "decider/rewind.py _reopen: always `container.state is StepState.STARTED`": (
        "the others are in the set itself"
    ),
    "packs/discovery.py _offered: `PROJECT not in text or len(text) > _MAX_NOTE` →"
    " `len(text) > _MAX_NOTE`": "it only saves reading what cannot hold the group",
    "packs/archive.py _unfit_member: never `member.filename != name`": (
        "only a null byte parts them before Python 3.13, and `unfit_path` knows that"
    ),
    "packs/contents.py _written: always `not built`": "built twice, and the first is taken",
    "packs/discovery.py _offered: `PROJECT in text and len(text) <= _MAX_NOTE` →"
    " `len(text) <= _MAX_NOTE`": "it saves reading what holds no such section",
    "packs/pinned.py PinnedFinder.install: always `sys.meta_path[:1] != [self]`": (
        "the same list anew; others may be walking it meanwhile"
    ),
    "packs/proposal.py _source: always `pack`": FOR_TYPES,
    "packs/proposal.py _source: `pack.interpreter or ''` → `pack.interpreter`": FOR_TYPES,
    "packs/wheel.py _Checks.unfit_handler: always `contents.pack`": FOR_TYPES,
    "packs/wheel.py _Checks.unfit_handler: `contents.pack.interpreter or ''` →"
    " `contents.pack.interpreter`": FOR_TYPES,
}

SWAPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


@dataclass
class Mutant:
    """One function of the core with one change."""

    path: Path
    module: ast.Module = field(repr=False)  #: shared: a fork changes its own copy
    function: str  #: the outermost one, by its qualified name
    place: tuple[ast.AST, str, int | None] = field(repr=False)  #: parent, member, index
    instead: ast.AST = field(repr=False)
    line: int
    change: str

    def __str__(self) -> str:
        file = self.path.relative_to(core())
        return f"{file} {self.function}: {self.change}"

    def put_in(self) -> None:
        """Exchange the code of the living function; only ever done in a fork."""
        parent, member, index = self.place
        if index is None:
            setattr(parent, member, self.instead)
        else:
            getattr(parent, member)[index] = self.instead
        whole = compile(ast.fix_missing_locations(self.module), str(self.path), "exec")
        codes = {(c.co_qualname, c.co_firstlineno): c for c in _codes(whole)}
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename == str(self.path):
                old = each.__code__
                if old.co_qualname == self.function:
                    each.__code__ = codes[old.co_qualname, old.co_firstlineno]


@functools.cache
def core() -> Path:
    """Give the folder of the core under test: in tox the installed one."""
    spec = find_spec("awe_core")
    return Path((spec.submodule_search_locations or [""])[0]) if spec else Path()


def mutants(path: Path) -> list[Mutant]:
    """Make every mutant of a module; what runs at import only is left alone."""
    module = ast.parse(path.read_bytes())
    found = []
    for name, function in _functions(module.body):
        inner = (node for statement in function.body for node in ast.walk(statement))
        places = [(node, member) for node in inner for member in node._fields]
        for parent, member in [(function, "body"), *places]:
            value = getattr(parent, member)
            several = isinstance(value, list)
            for n, child in enumerate(value if several else [value]):
                for change, instead in _changes(child):
                    place = parent, member, n if several else None
                    line = getattr(child, "lineno", function.lineno)
                    found.append(Mutant(path, module, name, place, instead, line, change))
    return sorted(found, key=lambda mutant: mutant.line)


def _functions(body: list[ast.stmt], outer: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner):
                yield from _functions(inner, f"{outer}{name}.")
            case ast.FunctionDef(name=name):
                yield f"{outer}{name}", node
            case ast.If(body=inner):
                yield from _functions(inner, outer)


def _changes(node: object) -> Iterator[tuple[str, ast.AST]]:
    """Give what could stand in the place of *node*: first for statements, then for expressions."""
    match node:
        case ast.Raise() | ast.AugAssign() | ast.Expr(value=ast.Call() | ast.Yield()):
            yield f"drop `{_text(node)}`", ast.Pass()
        case ast.Expr(value=ast.YieldFrom()):
            yield f"drop `{_text(node)}`", ast.Pass()
        case ast.If(test=test) | ast.IfExp(test=test):
            for word, value in (("never", False), ("always", True)):
                yield f"{word} `{_text(test)}`", _but(node, test=ast.Constant(value))
        case ast.comprehension(ifs=ifs):
            for n, test in enumerate(ifs):
                yield f"no filter `{_text(test)}`", _but(node, ifs=[*ifs[:n], *ifs[n + 1 :]])
        case ast.expr():
            for other in _others(node):
                yield f"`{_text(node)}` → `{_text(other)}`", other


def _others(node: ast.expr) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=ops):
            for n, op in enumerate(ops):
                yield _but(node, ops=[*ops[:n], SWAPS[type(op)](), *ops[n + 1 :]])
        case ast.BoolOp(values=values):
            for n in range(len(values)):
                rest = [*values[:n], *values[n + 1 :]]
                yield rest[0] if len(rest) == 1 else _but(node, values=rest)
        case ast.BinOp(op=ast.Sub(), left=kept) | ast.UnaryOp(op=ast.Not(), operand=kept):
            yield kept


def _but(node: ast.AST, **changes: object) -> ast.AST:
    fields = {**dict(ast.iter_fields(node)), **changes}
    return ast.copy_location(type(node)(**fields), node)


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


class Session:
    """The plugin that has the tests and puts the mutants before them."""

    def __init__(self, chosen: list[Mutant], workers: int, out: int) -> None:
        self.survivors: list[Mutant] = []
        self._mutants = chosen
        self._workers = workers
        self._out = out
        self._paths = {str(mutant.path) for mutant in chosen}
        self._failure = ""
        self._callers: dict[tuple[str, str], list[pytest.Item]] = {}
        self._took_s: dict[str, float] = {}
        self._noticed: Counter[tuple[Path, str]] = Counter()

    def say(self, line: str) -> None:
        """Print past pytest, which keeps what tests print."""
        os.write(self._out, f"{line}\n".encode())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember that a test failed, and how."""
        if report.failed:
            self._failure = report.longreprtext or report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all tests once, and then those that concern it for every mutant."""
        items = session.items
        for item, following in zip(items, [*items[1:], items[0]], strict=True):
            self._learn(item, following)
            if self._failure:
                self.say(f"without any mutant {item.nodeid} fails:\n{self._failure}")
                raise pytest.UsageError(item.nodeid)
        self.say(f"{len(items)} tests pass; {len(self._mutants)} mutants")
        gc.collect()
        running: dict[int, tuple[Mutant, int]] = {}
        for n, mutant in enumerate(self._mutants):
            if len(running) >= self._workers:
                self._wait(running)
            if n % 50 == 0:
                self.say(f"  {n} tried, {len(self.survivors)} survived")
            reader, writer = os.pipe()
            if pid := os.fork():
                os.close(writer)
                running[pid] = mutant, reader
            else:
                self._try(mutant, writer)
        while running:
            self._wait(running)
        return True

    def _learn(self, item: pytest.Item, following: pytest.Item) -> None:
        """Run one test and note which functions it calls."""
        called: set[tuple[str, str]] = set()

        def note(frame: FrameType, event: str, _: object) -> None:
            code = frame.f_code
            if event == "call" and code.co_filename in self._paths:
                called.add((code.co_filename, code.co_qualname.partition(".<locals>")[0]))

        _forget()
        begun = monotonic()
        threading.settrace(note)
        sys.settrace(note)
        try:
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        finally:
            sys.settrace(None)
            threading.settrace(None)
        self._took_s[item.nodeid] = monotonic() - begun
        for function in called:
            self._callers.setdefault(function, []).append(item)

    def _try(self, mutant: Mutant, writer: int) -> None:
        """Be the fork: change the code, run the tests, and end with 1 when one has failed."""
        faulthandler.dump_traceback_later(MUTANT_S, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 - as long as the process
        resource.setrlimit(resource.RLIMIT_AS, (MUTANT_BYTES, MUTANT_BYTES))
        code = 1
        try:
            mutant.put_in()
            _forget()
            items = self._callers.get((str(mutant.path), mutant.function), [])
            items.sort(
                key=lambda i: (-self._noticed[mutant.path, i.nodeid], self._took_s[i.nodeid])
            )
            for item, following in zip(items, [*items[1:], None], strict=True):
                item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
                if self._failure:
                    os.write(writer, item.nodeid.encode())
                    break
            code = int(bool(self._failure))
        finally:
            os._exit(code)

    def _wait(self, running: dict[int, tuple[Mutant, int]]) -> None:
        pid, status = os.wait()
        mutant, reader = running.pop(pid)
        with os.fdopen(reader) as pipe:
            self._noticed[mutant.path, pipe.read()] += 1
        if status == 0:
            self.survivors.append(mutant)
            known = "  (equivalent)" if str(mutant) in EQUIVALENT else ""
            source = mutant.path.read_text().splitlines()[mutant.line - 1].strip()
            self.say(f"SURVIVES {mutant.path}:{mutant.line}\n    {mutant}\n    {source}{known}")


def _forget() -> None:
    """Empty what functions of the core remember between calls."""
    for each in gc.get_objects():
        if isinstance(each, type(core)) and each.__module__.startswith("awe_core"):
            each.cache_clear()


def main() -> int:
    """Try the mutants and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", help="a file or folder of awe_core, as trust/history.py")
    parser.add_argument("--sample", type=int, help="as many mutants, drawn at random")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    wanted = core() / options.only.removeprefix("awe_core/") if options.only else core()
    chosen: list[Mutant] = []
    paths_of_tests: list[str] = []
    for subjects, tests in SUITES:
        paths = sorted(path for subject in subjects for path in core().glob(subject))
        paths = [path for path in paths if path == wanted or wanted in path.parents]
        chosen += [mutant for path in paths for mutant in mutants(path)]
        paths_of_tests += [str(ROOT / test) for test in tests if paths]
    if options.sample:
        chosen = random.sample(chosen, min(options.sample, len(chosen)))
    quick = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # nobody reads what is shrunk
    hypothesis.settings.register_profile(
        "mutation", max_examples=300, deadline=None, derandomize=True, database=None, phases=quick
    )
    session = Session(chosen, options.workers, os.dup(1))
    with tempfile.TemporaryDirectory() as folder:
        without = [f"-pno:{name}" for name in ("randomly", "xdist", "cacheprovider", "terminal")]
        where = [f"--rootdir={ROOT}", f"--basetemp={folder}/tests", "-otimeout=0"]
        where.append(f"-k{TOO_LARGE}")
        where.append("-Wignore:Module already imported:pytest.PytestAssertRewriteWarning")
        ended = pytest.main(
            [*without, *where, "--hypothesis-profile=mutation", *paths_of_tests], [session]
        )
    if ended != pytest.ExitCode.OK:
        return int(ended)
    unknown = [mutant for mutant in session.survivors if str(mutant) not in EQUIVALENT]
    noticed = len(chosen) - len(session.survivors)
    session.say(
        f"{len(chosen)} mutants, {noticed} noticed, {len(session.survivors)} survived,"
        f" of which {len(session.survivors) - len(unknown)} are known to be equivalent"
    )
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
