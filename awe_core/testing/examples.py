"""Contract examples as tests: a world, a call, a result, and the way back.

Each example is run by a real `Runtime` over a pack that people approved, never by a shortcut:
files are laid, the call is made (and approved, where somebody has to), output or error compared,
then every file of the workspace and every canary around it; then the run is taken back and the
world compared once more, by snapshot.  Files are compared after success, folders too after undo.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.capability import ExampleError, ExampleMatch, ExampleOutput, UndoNone
from awe_core.contract import Schema
from awe_core.errors import AweError, ContractError, PackError
from awe_core.packs import discover, inspect_wheel, normalised, rebuild_wheel
from awe_core.testing.deployment import Deployment, me
from awe_core.testing.world import WORKSPACE, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from awe_core.capability import CapabilitySpec, Example, FileContent
    from awe_core.runtime import RunHandle, RunResult, Runtime
    from awe_core.testing.world import Snapshot
    from awe_core.values import Json


@attrs.frozen
class Case:
    """One example of one contract."""

    spec: CapabilitySpec
    example: Example

    def __str__(self) -> str:
        return f"{self.spec.id}: {self.example.name}"


def installed_contracts(distribution: str) -> tuple[CapabilitySpec, ...]:
    """Read the contracts of an installed pack; nothing of it is imported.

    :raises PackError: ``pack.not_installed``, or what is wrong with it
    """
    found = next((one for one in discover() if one.name == normalised(distribution)), None)
    if found is None:
        raise PackError("pack.not_installed", distribution=distribution, version="any version")
    with tempfile.TemporaryDirectory() as folder:
        contents = inspect_wheel(rebuild_wheel(found, Path(folder))).contents.checked()
    return tuple(contract.spec for contract in contents.contracts)


def cases(contracts: tuple[CapabilitySpec, ...]) -> tuple[Case, ...]:
    """Give every example of *contracts*."""
    return tuple(Case(spec, example) for spec in contracts for example in spec.examples)


@attrs.frozen
class Bench:
    """A runtime over a world of its own, to run examples on."""

    world: World
    runtime: Runtime

    def problems(self, case: Case) -> tuple[str, ...]:
        """Run one example and say what of it does not hold; empty: it holds."""
        self.world.clear()
        self.world.lay(case.example.before)
        return tuple(self._problems(case))

    def call(self, capability: str, arguments: Mapping[str, Json]) -> tuple[RunHandle, RunResult]:
        """Make a call and approve it where somebody has to.

        :raises AweError: it was refused before there was a run
        """
        handle = self.runtime.submit_call(capability, arguments)
        return handle, self.approved(handle)

    def approved(self, handle: RunHandle) -> RunResult:
        """Wait until the run has ended, saying yes to every question."""
        result: RunResult = handle.wait()
        while result.waiting:
            for name in result.waiting:
                asked = self.runtime.approval(name)
                handle.approve(asked.id, asked.digest, asked.version, "a test")
            result = handle.wait()
        return result

    def taken_back(self, handle: RunHandle) -> RunResult:
        """Take a completed run back."""
        handle.rollback("a test")
        return self.approved(handle)

    def _problems(self, case: Case) -> Iterator[str]:
        if case.example.service is not None or case.example.secrets:
            yield "it needs a remote side or secrets, which this bench does not have"
            return
        before = self.world.snapshot()
        try:
            handle, result = self.call(case.spec.id, case.example.input)
        except AweError as error:
            yield from _unlike_error(case.example, error.code, error.summary)
        else:
            if result.is_completed:
                yield from _unlike_output(case.example, result.output)
                yield from self._unlike_files(before, case.example.after, "after success")
                yield from self._unlike_undone(case, before, handle)
                return
            failure = result.error
            code, message = (failure.code, failure.msg) if failure else ("", "no error")
            yield from _unlike_error(case.example, code, message)
        yield from (f"after failure: {one}" for one in before.diff(self.world.snapshot()))

    def _unlike_undone(self, case: Case, before: Snapshot, handle: RunHandle) -> Iterator[str]:
        """Take the run back and compare the world with how it was."""
        if isinstance(case.spec.undo, UndoNone):
            return
        if handle.result().standing:
            ended = self.taken_back(handle)
            if ended.state != "ROLLED_BACK":
                yield f"taken back, the run is {ended.state}, with residue {ended.residue}"
        if case.example.undone is not None:
            yield from self._unlike_files(before, case.example.undone, "after undo")
        else:
            yield from (f"after undo: {one}" for one in before.diff(self.world.snapshot()))

    def _unlike_files(
        self, before: Snapshot, changes: Mapping[str, FileContent], when: str
    ) -> Iterator[str]:
        changed = {f"{WORKSPACE}/{path}": content for path, content in changes.items()}
        expected = {**before.files, **changed}
        found = self.world.snapshot().files
        for path in sorted({*expected, *found}):
            wanted = expected.get(path)
            if (wanted.encode() if isinstance(wanted, str) else wanted) != found.get(path):
                yield f"{when}: {path} holds {found.get(path)!r}, not {wanted!r}"


@contextlib.contextmanager
def bench(folder: Path, *packs: Path | str) -> Iterator[Bench]:
    """Make a deployment in *folder* with *packs* ACTIVE, and open it over a world of its own."""
    world = World.create(folder / "area")
    where = world.workspace.relative_to(folder).as_posix()
    with (
        Deployment.create(folder, packs, people=[me()], workspace=where) as deployment,
        deployment.open() as runtime,
    ):
        yield Bench(world, runtime)


def _unlike_output(example: Example, found: Json) -> Iterator[str]:
    match example.outcome:
        case ExampleOutput(expected) if expected != found:
            yield f"the output is {found!r}, not {expected!r}"
        case ExampleMatch(schema):
            try:
                Schema.compile(schema, where=example.name).apply(found, side="output")
            except ContractError as error:
                yield f"the output {found!r} does not fit: {error.summary}"
        case ExampleError(code):
            yield f"it gave {found!r}, not the error {code}"


def _unlike_error(example: Example, code: str, message: str) -> Iterator[str]:
    match example.outcome:
        case ExampleError(expected) if expected == code:
            return
        case ExampleError(expected):
            yield f"it failed with {code} ({message}), not with {expected}"
        case _:
            yield f"it failed with {code} ({message})"
