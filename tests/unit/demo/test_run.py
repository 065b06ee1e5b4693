"""A signal ends the demo as stopped, whatever the call raises that it cuts off."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from closedwon.demo import ErpKind, Stream, TemporalKind, Via, run, show
from closedwon.demo.run import Options, demo
from closedwon.tasks import StoppedError


class _Stack:
    """A world that starts at once."""

    def __init__(self, *_args: object, **_options: object) -> None:
        self.parts: list[object] = []
        self.is_stopped = False

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.is_stopped = True


@pytest.mark.parametrize("raised", [RuntimeError("Failed client connect"), None], ids=["another-error", "none"])
async def test_ctrl_c_counts_whatever_the_call_does_that_it_cuts_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, raised: Exception | None
) -> None:
    """The Temporal SDK raises `RuntimeError` when a connection attempt is cut off; `asyncio.wait_for` may return."""
    stack, waiting = _Stack(), asyncio.Event()

    async def cut_off(*_args: object) -> bool:
        waiting.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if raised is not None:
                raise raised from None
        return True

    monkeypatch.setattr(run, "Stack", lambda *_args, **_options: stack)
    monkeypatch.setattr(run, "_win_and_count", cut_off)
    monkeypatch.setattr(show, "where_to_look", lambda *_args, **_options: "")
    options = Options(
        1, ErpKind.STUB, Via.EVENT, Stream.COMETD, TemporalKind.DEVELOPMENT, kill=False, keep=False, data_dir=tmp_path
    )
    task = asyncio.create_task(demo(options))
    await waiting.wait()
    signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError):
        await task
    assert stack.is_stopped
