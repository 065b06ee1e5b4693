"""`make mutants`: plants small faults in the code that decides, one at a time; its quick tests must fail.

    make mutants                                    the sample of 400, at most ten minutes
    make mutants ARGS="--only comparing"            files whose path has that text
    make mutants ARGS="--size 50 --seed 7"          another sample
    make mutants ARGS="--all --minutes 120"         everything

It fails if less than 95 % of the faults are noticed, if one survives that `equivalent.toml` does not list with the
reason why it changes nothing, or if a listed one is noticed. With `--only` the percentage does not count.
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.mutants.mutations import Mutation, sample
from tests.mutants.running import Result, Verdict, import_libraries, run

HERE: Final = Path(__file__).parent
DEMANDED: Final = 0.95
_SIDE_BY_SIDE: Final = 2
_EVERYTHING: Final = 1_000_000
_PATIENCE: Final = (10.0, 10)
"""A hanging mutant is stopped after so many seconds, or after so many times what the tests take without it."""


class Fault(NamedTuple):
    """A mutation as `equivalent.toml` names it: line numbers move, these do not."""

    file: str
    function: str
    before: str
    after: str


def targets() -> dict[str, list[str]]:
    """The quick tests of each file that decides."""
    with (HERE / "targets.toml").open("rb") as file:
        found: dict[str, list[str]] = tomllib.load(file)["tests"]
    return found


def equivalent() -> dict[Fault, str]:
    """The known survivors, with the reason of each."""
    with (HERE / "equivalent.toml").open("rb") as file:
        entries = tomllib.load(file).get("mutation", [])
    return {
        Fault(entry["file"], entry["function"], entry["before"], entry["after"]): entry["reason"] for entry in entries
    }


def fault_of(mutation: Mutation) -> Fault:
    """The mutation as `equivalent.toml` names it."""
    return Fault(mutation.file, mutation.function, *mutation.change())


def main() -> int:
    """Run the sample; the exit code is 0 if enough mutants are noticed and every survivor is listed."""
    asked = _arguments()
    tests = {file: paths for file, paths in targets().items() if asked.only in file}
    chosen = sample(tests, _EVERYTHING if asked.all else asked.size, asked.seed)
    import_libraries()
    files = sorted({mutation.file for mutation in chosen})
    patience = _patience({file: tests[file] for file in files})
    if patience is None:
        return 1
    print(f"{len(chosen)} mutants of {len(files)} files, seed {asked.seed}, at most {asked.minutes} minutes")  # noqa: T201
    until = time.monotonic() + asked.minutes * 60
    work = ((mutation, tests[mutation.file], patience[mutation.file]) for mutation in _in_time(chosen, until))
    verdicts = []
    for verdict in run(work, side_by_side=_SIDE_BY_SIDE):
        verdicts.append(verdict)
        _show_progress(verdicts, len(chosen))
    return _report(verdicts, len(chosen), demanded=0 if asked.only else DEMANDED)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants ARGS=...")
    parser.add_argument("--size", type=int, default=400, help="how many mutants (400)")
    parser.add_argument("--all", action="store_true", help="one for each place that can be mutated")
    parser.add_argument("--seed", type=int, default=9, help="another seed chooses other mutants (9)")
    parser.add_argument("--minutes", type=float, default=10, help="no mutant is begun later (10)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only files whose path has this text")
    return parser.parse_args()


def _in_time(chosen: list[Mutation], until: float) -> Iterator[Mutation]:
    for mutation in chosen:
        if time.monotonic() > until:
            return
        yield mutation


def _patience(tests: dict[str, list[str]]) -> dict[str, float] | None:
    """Run the tests without any mutation: how long a mutant of each file may take. None: they do not pass."""
    known: dict[tuple[str, ...], float] = {}
    for paths in {tuple(paths) for paths in tests.values()}:
        (verdict,) = run([(None, list(paths), 600)], side_by_side=1)
        if verdict.result is not Result.SURVIVED:
            print(f"{' '.join(paths)} must pass without a mutation:\n{verdict.output}")  # noqa: T201
            return None
        least, times = _PATIENCE
        known[paths] = least + times * verdict.seconds
    return {file: known[tuple(paths)] for file, paths in tests.items()}


def _show_progress(verdicts: list[Verdict], size: int) -> None:
    verdict = verdicts[-1]
    survived = sum(verdict.result is Result.SURVIVED for verdict in verdicts)
    if verdict.result is Result.SURVIVED and verdict.mutation is not None:
        place = f"{verdict.mutation.file}:{verdict.mutation.span[0][0]}"
        before, after = verdict.mutation.change()
        print(f"  survived  {place}\n      - {before}\n      + {after}", flush=True)  # noqa: T201
    if len(verdicts) % 25 == 0:
        print(f"{len(verdicts):5} of {size}, {survived} survived", flush=True)  # noqa: T201


def _report(verdicts: list[Verdict], size: int, *, demanded: float) -> int:
    listed = equivalent()
    complaints: list[str] = []
    by_file: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        assert verdict.mutation is not None
        by_file.setdefault(verdict.mutation.file, []).append(verdict)
        complaints += _complaints(verdict.mutation, verdict, listed)
    print()  # noqa: T201
    for file, some in sorted(by_file.items()):
        print(f"  {file:40} {_killed(some):4} of {len(some):4} killed")  # noqa: T201
    killed, ran = _killed(verdicts), len(verdicts)
    broken, hung = (sum(verdict.result is kind for verdict in verdicts) for kind in (Result.BROKEN, Result.HUNG))
    print(  # noqa: T201
        f"\n{killed} of {ran} mutants killed ({killed / max(ran, 1):.1%}; {broken} of them on import, {hung} hung), "
        f"{ran - killed} survived; {size - ran} not run for lack of time"
    )
    if complaints:
        print("\nSurvivors that change something need a test; list the others in equivalent.toml:\n")  # noqa: T201
        print("\n".join(complaints))  # noqa: T201
    return int(bool(complaints) or ran == 0 or killed / ran < demanded)


def _complaints(mutation: Mutation, verdict: Verdict, listed: dict[Fault, str]) -> Iterator[str]:
    has_survived = verdict.result is Result.SURVIVED
    if verdict.result is Result.FAILED:
        yield f"pytest itself failed, for {fault_of(mutation)}:\n{verdict.output}"
    elif not has_survived and not any(
        mutation.file == one.file and mutation.function == one.function for one in listed
    ):
        return  # to find out what the fault looks like takes a while
    elif has_survived and (fault := fault_of(mutation)) not in listed:
        yield _entry(fault)
    elif not has_survived and (fault := fault_of(mutation)) in listed:
        yield f"listed in equivalent.toml, but noticed by a test: {fault}\n"


def _killed(verdicts: list[Verdict]) -> int:
    return sum(verdict.result in {Result.KILLED, Result.BROKEN, Result.HUNG} for verdict in verdicts)


def _entry(fault: Fault) -> str:
    lines = [f"{name} = {_quoted(value)}" for name, value in fault._asdict().items()]
    return "\n".join(("[[mutation]]", *lines, 'reason = ""', ""))


def _quoted(text: str) -> str:
    if "'" not in text:
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


if __name__ == "__main__":
    sys.exit(main())
