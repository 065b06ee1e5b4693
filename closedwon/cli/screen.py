"""The console of all commands. Imported only where something is drawn: `closedwon --help` stays instant."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from closedwon.safe_text import terminal


class SafeConsole(Console):
    """Shows texts from outside (names of deals, words of ERPs) without obeying what is in them.

    rich writes colors by itself, after this: in the texts that it gets there is no reason for a control character.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, with texts that are safe."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else terminal(text), style, control)
