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


def test_faults_are_noticed_and_files_stay_as_they_are() -> None:
    """A run of the tool over one small file: all its faults are killed, and the file is untouched."""
    before = (ROOT / _ONE).read_bytes()
    command = [sys.executable, "-m", "tests.mutants", "--only", "money.py", "--size", "6", "--seed", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert 0 == run.returncode, run.stdout + run.stderr
    assert "6 of 6 mutants killed" in run.stdout
    assert before == (ROOT / _ONE).read_bytes()


def test_a_survivor_that_nobody_has_listed_fails_the_run(tmp_path: Path) -> None:
    """With the entry to be completed; here the tests are ones that notice nothing."""
    (tmp_path / "test_nothing.py").write_text('"""Nothing."""\ndef test_nothing() -> None:\n    """Yes."""\n')
    code = (
        "import sys, tests.mutants.__main__ as tool\n"
        f"tool.targets = lambda: {{{_ONE!r}: [{str(tmp_path / 'test_nothing.py')!r}]}}\n"
        "sys.argv[1:] = ['--size', '2']\n"
        "sys.exit(tool.main())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert 1 == run.returncode, run.stdout + run.stderr
    assert "0 of 2 mutants killed" in run.stdout
    assert 2 == run.stdout.count("[[mutation]]\nfile = 'closedwon/money.py'")
