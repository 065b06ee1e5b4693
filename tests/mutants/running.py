"""Runs tests against one mutation each, in a forked process whose importer reads the mutated text. No file is changed.

The parent has imported the libraries, pytest and its plugins once, and none of the code under test; each child then
needs a fraction of a second. A child that hangs is ended, and counts as killed: its tests would not have passed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.machinery
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Final, NamedTuple

import pytest

from tests.mutants.mutations import ROOT, Mutation

_LIBRARIES: Final = (
    "aiohttp.web", "cryptography.hazmat.primitives.ciphers.aead", "hypothesis.stateful",
    "jmespath", "lxml.etree", "opentelemetry.trace", "pydantic_settings", "pytest_asyncio.plugin", "pytest_timeout",
    "rich.console", "schemathesis.pytest.plugin", "simple_salesforce.api", "structlog", "temporalio.client",
    "temporalio.contrib.opentelemetry", "temporalio.contrib.pydantic", "temporalio.testing", "temporalio.worker",
    "typer", "xdist.plugin", "zeep",
)  # fmt: skip
_OPTIONS: Final = (
    "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--hypothesis-seed=0", "--tb=short",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip
_MOST_MEMORY: Final = 6 << 30
_BROKEN: Final = 2
"""pytest: the tests could not even be collected."""
_POLL: Final = 0.02


class Result(StrEnum):
    """The outcome of a mutation's tests."""

    KILLED = "killed"
    BROKEN = "broken"
    """The module does not even import: every test kills it."""
    HUNG = "hung"
    SURVIVED = "survived"
    FAILED = "failed"
    """pytest itself failed: wrong paths, for example."""


class Verdict(NamedTuple):
    """What became of one mutation."""

    mutation: Mutation | None
    """None: the code as it is."""
    result: Result
    seconds: float
    output: str


class _Child(NamedTuple):
    mutation: Mutation | None
    pid: int
    began: float
    patience: float
    output: IO[bytes]


def import_libraries() -> None:
    """Import what takes long, once; none of it is under test."""
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    ours = [name for name in sys.modules if name.split(".")[0] in {"closedwon", "workflows", "activities", "workers"}]
    assert not ours, f"imported before its mutation: {ours}"
    gc.collect()
    gc.freeze()  # pages that no collector touches stay shared with the children


def run(work: Iterable[tuple[Mutation | None, list[str], float]], *, side_by_side: int) -> Iterator[Verdict]:
    """Run each mutation's tests for at most the given seconds; yield verdicts as tests end."""
    waiting, running = iter(work), list[_Child]()
    more = True
    try:
        while more or running:
            while more and len(running) < side_by_side:
                if (item := next(waiting, None)) is None:
                    more = False
                else:
                    running.append(_start(*item))
            for child in list(running):
                if (verdict := _look_at(child)) is not None:
                    running.remove(child)
                    yield verdict
            time.sleep(_POLL)
    finally:
        for child in running:
            _end(child)


def _start(mutation: Mutation | None, tests: list[str], patience: float) -> _Child:
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its child
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be_a_child(mutation, tests, output)
    return _Child(mutation, pid, time.monotonic(), patience, output)


def _be_a_child(mutation: Mutation | None, tests: list[str], output: IO[bytes]) -> None:
    code = int(pytest.ExitCode.INTERNAL_ERROR)
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        if mutation is not None:
            _replace(ROOT / mutation.file, mutation.source())
        code = int(pytest.main([*_OPTIONS, "--rootdir", str(ROOT), *tests]))
    except BaseException:  # noqa: BLE001 - the parent must read every error
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _replace(file: Path, source: str) -> None:
    """Have imports of `file` read `source`; also those of Temporal's workflow sandbox."""
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: importlib.machinery.SourceFileLoader, fullname: str) -> types.CodeType | None:
        if Path(self.path).resolve() == file:
            return compile(source, str(file), "exec", dont_inherit=True)
        return original(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]


def _look_at(child: _Child) -> Verdict | None:
    pid, status = os.waitpid(child.pid, os.WNOHANG)
    seconds = time.monotonic() - child.began
    if pid == 0 and seconds < child.patience:
        return None
    if pid == 0:
        _end(child)
        return Verdict(child.mutation, Result.HUNG, seconds, "")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # what its tests may have left
    with child.output as output:
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Verdict(child.mutation, _result(os.waitstatus_to_exitcode(status), text), seconds, text)


def _end(child: _Child) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    child.output.close()


def _result(code: int, text: str) -> Result:
    if code < 0 or code == pytest.ExitCode.TESTS_FAILED:
        return Result.KILLED
    if code == _BROKEN or "while loading conftest" in text:
        return Result.BROKEN
    return Result.SURVIVED if code == pytest.ExitCode.OK else Result.FAILED
