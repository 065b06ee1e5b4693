"""The tool behind `make mutants`: it finds faults, plants them, notices what notices them, and changes no file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cosmic_ray.mutating import mutate_code

from tests.mutants.__main__ import equivalent, fault_of, targets
from tests.mutants.mutations import ROOT, mutations_of, sample
from tests.mutants.operators import DropCall, DropKeyword, DropOperand

_ONE = "closedwon/money.py"


@pytest.mark.parametrize("operator", [DropOperand, DropCall, DropKeyword])
def test_each_operator_of_our_own_does_what_its_examples_say(operator: type[DropOperand]) -> None:
    """The examples are Cosmic Ray's form of documentation."""
    for example in operator.examples():
        assert example.post_mutation_code == mutate_code(example.pre_mutation_code, operator(), example.occurrence)
        assert mutate_code(example.pre_mutation_code, operator(), 9) is None


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    """Another seed chooses others; no place is chosen twice, and no annotation."""
    files = [_ONE, "closedwon/erp/comparing.py"]
    first, again, other = sample(files, 30, 9), sample(files, 30, 9), sample(files, 30, 10)
    assert first == again
    assert set(first) != set(other)
    assert 30 == len({(mutation.file, mutation.span) for mutation in first})
    assert not [one for one in mutations_of(_ONE) if "def " in fault_of(one).before and " -> " in fault_of(one).before]


def test_every_target_and_every_test_of_it_exists() -> None:
    """A file that was renamed would drop out in silence."""
    for file, tests in targets().items():
        assert (ROOT / file).is_file(), file
        assert tests
        assert all((ROOT / path).exists() for path in tests), tests


def test_every_listed_survivor_can_still_be_made() -> None:
    """And says why it changes nothing; an entry whose code has changed is removed."""
    listed = equivalent()
    assert all(len(reason) > 20 for reason in listed.values())
    functions = {(fault.file, fault.function) for fault in listed}
    made = {
        fault_of(mutation)
        for file in {fault.file for fault in listed}
        for mutation in mutations_of(file)
        if (file, mutation.function) in functions
    }
    assert set() == set(listed) - made


_DECISION = """
def is_large(amount: int, *, strict: bool = False) -> bool:
    least = 11 if strict else 10
    return amount >= least
"""
_TESTS = """
import sys
sys.path.insert(0, {folder!r})
from decision import is_large
def test_it() -> None:
    assert [is_large(n) for n in (9, 10, 11, 12)] == [False, True, True, True]
    assert [is_large(n, strict=True) for n in (9, 10, 11, 12)] == [False, False, True, True]
"""


def tool(folder: Path, tests: str, equivalent_toml: str = "") -> subprocess.CompletedProcess[str]:
    """Run the tool over a decision and its tests, in a folder of their own."""
    (folder / "decision.py").write_text(_DECISION)
    (folder / "test_decision.py").write_text(tests.format(folder=str(folder)))
    (folder / "equivalent.toml").write_text(equivalent_toml)
    code = (
        "import pathlib, sys, tests.mutants.__main__ as tool\n"
        f"tool.HERE = pathlib.Path({str(folder)!r})\n"
        f"tool.targets = lambda: {{{str(folder / 'decision.py')!r}: [{str(folder / 'test_decision.py')!r}]}}\n"
        "sys.argv[1:] = ['--all']\n"
        "sys.exit(tool.main())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )


def test_faults_are_noticed_and_files_stay_as_they_are(tmp_path: Path) -> None:
    """All faults of a decision that is well tested are killed, and the file is untouched."""
    run = tool(tmp_path, _TESTS)
    assert 0 == run.returncode, run.stdout + run.stderr
    assert "(100.0%;" in run.stdout
    assert _DECISION == (tmp_path / "decision.py").read_text()


def test_a_survivor_that_is_not_listed_fails_the_run_and_a_listed_one_must_survive(tmp_path: Path) -> None:
    """With the entry to be completed; each survivor of tests that notice nothing, and no other."""
    blind = tool(tmp_path, "def test_nothing() -> None:\n    pass\n")
    assert (1, "(0.0%;") == (blind.returncode, "(0.0%;" if "(0.0%;" in blind.stdout else blind.stdout + blind.stderr)
    entries = blind.stdout[blind.stdout.index("[[mutation]]") :]
    assert entries.count("[[mutation]]") == entries.count("\nfunction = 'is_large'\n") > 3
    listed = tool(tmp_path, _TESTS, entries)
    assert 1 == listed.returncode
    assert "listed in equivalent.toml, but noticed by a test" in listed.stdout


def test_tests_that_fail_by_themselves_are_said_to(tmp_path: Path) -> None:
    """They would kill every mutant."""
    run = tool(tmp_path, "def test_it() -> None:\n    raise ValueError\n")
    assert 1 == run.returncode
    assert "must pass without a mutation" in run.stdout
