"""Child processes: started until they are ready, killed, stopped, started again on the same ports and data.

The subclasses in `stack` define what a part is and when it is ready; this module only manages processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TextIO

from closedwon.demo import guard
from closedwon.emulators.ports import claim, free_port, is_free, release
from closedwon.errors import ClosedwonError

_POLL: Final = 0.05
"""Seconds between two looks at a process."""
_ATTEMPTS: Final = 5
_TAIL: Final = 15
"""Lines that are shown of a log."""
_STACKS: Final = 150
"""Lines that are shown of the log of a process that hung, whose end is what each of its threads was doing."""
_ABORTING: Final = 5.0
"""Seconds that a process has to write that."""
_PYTHON: Final = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
_LINE: Final = 300
"""Characters that are shown of a line: servers log a whole stack trace in one."""


class PartError(ClosedwonError):
    """A part did not start, or ended by itself. The text has the part, its log file and the log's last lines."""


class State(StrEnum):
    """Where a part stands."""

    NOT_STARTED = "not started"
    STARTING = "starting"
    READY = "ready"
    STOPPED = "stopped"
    KILLED = "killed"
    FAILED = "failed"


def program(name: str) -> str:
    """The path of an installed command: beside the interpreter, or on PATH. Raises `PartError` with the hint."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise PartError(f"The command `{name}` is not installed. Run `make setup`, or `pip install 'closedwon[demo]'`.")
    return found


def make_data_dir(data_dir: Path) -> Path:
    """Make the directory where it is missing and return its whole path. Raises `PartError`."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PartError(f"{data_dir} cannot be used: {error.strerror}; name another --data-dir") from None
    return data_dir.absolute()


def lock_data_dir(data_dir: Path) -> TextIO:
    """Keep others from using the directory until the returned file is closed. Raises `PartError` if another does."""
    lock = (data_dir / "lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise PartError(f"Another demo runs on {data_dir}. Stop it, or use another --data-dir.") from None
    return lock


class Ports:
    """One port of loopback for each name, remembered in a file from run to run."""

    def __init__(self, file: Path) -> None:
        """Read what is remembered."""
        self._file = file
        self._ports: dict[str, int] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def get(self, name: str) -> int:
        """The port of `name`; a free one, remembered from now on, where it has none."""
        return self._ports.get(name) or self._change(name)

    def replace_taken(self, names: Iterable[str]) -> None:
        """Claim the ports, and give other ones to those whose port is claimed by another process or in use.

        A stranger's server must not pass for ours.
        """
        for name in names:
            if not (claim(self.get(name)) and is_free(self.get(name))):
                self._change(name)

    def release(self) -> None:
        """Let others choose these ports: the servers have ended."""
        for port in self._ports.values():
            release(port)

    def suggest(self, ports: Mapping[str, int]) -> None:
        """Give these names these ports, where they have none and the ports are free."""
        for name, port in ports.items():
            if name not in self._ports and is_free(port):
                self._set(name, port)

    def _change(self, name: str) -> int:
        return self._set(name, free_port())

    def _set(self, name: str, port: int) -> int:
        self._ports[name] = port
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps(self._ports, indent=2), encoding="utf-8")
        draft.replace(self._file)
        return port


class Guard:
    """The process that kills our children should we die without doing so; see `guard.py`."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, before the first child."""
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE, start_new_session=True, bufsize=0
        )

    def watch(self, pid: int) -> None:
        """Name a child that has started."""
        self._write(pid)

    def forget(self, pid: int) -> None:
        """Name a child that has ended: its number may be given to a stranger."""
        self._write(-pid)

    def close(self) -> None:
        """Let it kill who is still named, and wait for its end."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _write(self, number: int) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % number)


class Part(ABC):
    """One child process in a session of its own, so that Ctrl-C reaches only us and we end the parts in order.

    `environment` is added to the child's environment at every start: a test may change it between two starts.
    """

    passing: Sequence[str] = ("in use",)
    """Words that a process writes before it ends for a reason that passes, as for a port that is held by another."""
    patience = 120.0
    """Seconds without a new line in its log after which a part that is not ready counts as hung."""
    grace = 15.0
    """Seconds that a stopping part has before it is killed."""

    def __init__(self, name: str, *, log_dir: Path, ports: Ports, guard: Guard) -> None:
        """Start nothing yet."""
        self.name = name
        self.log = log_dir / f"{name}.log"
        self.state = State.NOT_STARTED
        self.environment: dict[str, str] = {}
        self.says = ""
        """What it answered last when it was asked whether it is ready."""
        self._ports = ports
        self._guard = guard
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._has_served = False

    @property
    def pid(self) -> int:
        """The process id of the last start. Raises `PartError` where there was none."""
        if self._process is None:
            raise PartError(f"{self.name} was never started.")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the last process ended (negative: by which signal); None while it runs or where none was started."""
        if self._process is None:
            return None
        if self._process.returncode is None and self._process.poll() is not None:
            self._signal_group(signal.SIGKILL)  # nothing of its group outlives the leader
            self._guard.forget(self.pid)
        return self._process.returncode

    @property
    def port_names(self) -> Sequence[str]:
        """The names of its ports."""
        return (self.name,)

    @property
    def port(self) -> int:
        """Its first port."""
        return self._ports.get(self.port_names[0])

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments for the next start."""

    @abstractmethod
    async def is_ready(self) -> bool:
        """Whether the process that runs now can be used."""

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises `PartError` when it ends before that, or hangs.

        It is started again if it ends for a reason that passes. A port that is taken is tried again when the part has
        served on it before (others know it by that port), and is otherwise replaced by another one.
        """
        if self._process is not None and self.exit_code is None:
            raise PartError(f"{self.name} runs already.")
        for attempt in range(1, _ATTEMPTS + 1):
            if not self._has_served:
                self._ports.replace_taken(self.port_names)
            self._spawn()
            try:
                await self._until_ready()
            except PartError:
                if attempt == _ATTEMPTS or not any(reason in self.last_lines() for reason in self.passing):
                    raise
                if self._has_served:
                    await asyncio.sleep(1)
            else:
                self.state, self._has_served = State.READY, True
                return

    async def kill(self) -> None:
        """End it as a crash would (SIGKILL), whatever it is doing."""
        if self._process is None or self.exit_code is not None:
            return
        self.state = State.KILLED
        self._signal_group(signal.SIGKILL)
        await self._until_gone()

    async def stop(self) -> int:
        """Ask it to end (SIGTERM) and return its exit code; it is killed when its grace is over."""
        if self._process is None:
            return 0
        if self.exit_code is None:
            self.state = State.STOPPED
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            try:
                await asyncio.wait_for(self._until_gone(), self.grace)
            except TimeoutError:
                self._signal_group(signal.SIGKILL)
                await self._until_gone()
        return self._process.returncode

    async def restart(self) -> None:
        """Start it again, on the same ports and data, after stopping it where it runs."""
        await self.stop()
        await self.start()

    def check(self) -> None:
        """Raise `PartError` if it has ended without being stopped."""
        if self.state is State.READY and self.exit_code is not None:
            self.state = State.FAILED
            raise self._error(f"ended by itself ({_how(self.exit_code)})")

    def last_lines(self, count: int = _TAIL) -> str:
        """The last `count` lines of its log since its last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-count:])

    def _spawn(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = self.command()
        with self.log.open("ab") as log:
            log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} start of {self.name}\n".encode())
            log.flush()  # otherwise the child may write first, and its lines count as those of an earlier start
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                command,
                env=_child_environment(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._guard.watch(self.pid)
        self.state = State.STARTING

    async def _until_ready(self) -> None:
        try:
            problem = await self._wait_until_ready()
        except BaseException:  # a cancelled start, too, must leave no process behind
            await self._give_up()
            raise
        if problem:
            lines = await self._show_stacks()
            await self._give_up()
            raise self._error(problem, lines)

    async def _wait_until_ready(self) -> str | None:
        """Return what went wrong, if anything."""
        moved, said = time.monotonic(), self.last_lines()
        while self.exit_code is None:
            if await self.is_ready():
                return None
            if (now := self.last_lines()) != said:
                moved, said = time.monotonic(), now
            if time.monotonic() > moved + self.patience:
                says = f" (it says: {self.says})" if self.says else ""
                return f"is not ready{says}, and has logged nothing for {self.patience:.0f} s"
            await asyncio.sleep(_POLL)
        return f"ended while it was starting ({_how(self.exit_code)})"

    async def _show_stacks(self) -> int:
        """Let a hung process log its stacks, as Python and Go do at SIGABRT. Returns how many lines to show."""
        if self.exit_code is not None:
            return _TAIL
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGABRT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._until_gone(), _ABORTING)
        return _STACKS

    async def _give_up(self) -> None:
        self.state = State.FAILED
        if self.exit_code is None:
            self._signal_group(signal.SIGKILL)
            await self._until_gone()

    async def _until_gone(self) -> None:
        while self.exit_code is None:  # noqa: ASYNC110 - nothing sets an event when a process ends
            await asyncio.sleep(_POLL)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _error(self, what: str, lines: int = _TAIL) -> PartError:
        end = _indented(self.last_lines(lines))
        return PartError(f"{self.name} {what}. Its log is {self.log} and ends with:\n{end}")


async def together(*jobs: Coroutine[Any, Any, object]) -> None:
    """Do the jobs side by side; the first error ends the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _how(exit_code: int) -> str:
    return f"exit code {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name


def _indented(text: str) -> str:
    return "\n".join(f"    {line[:_LINE]}" for line in text.splitlines()) or "    (nothing)"


def _child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Our own environment without settings that would lead a part astray, and with `extra`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "CLOSEDWON_"))}
    direct = ",".join(filter(None, (inherited.get("NO_PROXY") or inherited.get("no_proxy"), "localhost,127.0.0.1")))
    return inherited | {"NO_PROXY": direct, "no_proxy": direct, **_PYTHON} | dict(extra)
