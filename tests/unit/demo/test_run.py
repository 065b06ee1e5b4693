"""Ctrl-C ends the demo as cancelled, whatever the call raises that it cuts off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from closedwon.demo import ErpKind, TemporalKind, Via, run
from closedwon.demo.run import Options, demo


class _Stack:
    """A world that starts at once."""

    def __init__(self, *_args: object, **_options: object) -> None:
        self.parts: list[object] = []
        self.is_stopped = False

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.is_stopped = True


async def test_ctrl_c_counts_whatever_error_the_call_raises_that_it_cuts_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The Temporal SDK raises `RuntimeError` when a connection attempt is cut off."""
    stack, waiting = _Stack(), asyncio.Event()

    async def cut_off(*_args: object) -> bool:
        waiting.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise RuntimeError("Failed client connect") from None
        return True

    monkeypatch.setattr(run, "Stack", lambda *_args, **_options: stack)
    monkeypatch.setattr(run, "stop_on_signals", lambda: None)
    monkeypatch.setattr(run, "_win_and_count", cut_off)
    options = Options(1, ErpKind.STUB, Via.EVENT, TemporalKind.DEVELOPMENT, kill=False, keep=False, data_dir=tmp_path)
    task = asyncio.create_task(demo(options))
    await waiting.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert stack.is_stopped
