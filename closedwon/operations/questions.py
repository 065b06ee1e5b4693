"""The questions of `closedwon doctor`: all are asked side by side, and each has an answer, or says that it has none.

An operator asks while something is slow, so no question may wait for another one, and none longer than the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

from temporalio.service import RPCError

from closedwon.encryption.codec import CodecError, KeyUnfitError
from closedwon.errors import ClosedwonError
from closedwon.operations.troubles import Harm, Trouble

PATIENCE: Final = 8.0
"""Seconds for all questions: with the start of the process, the answer is there within 10."""
RECOVER: Final = (
    'They do not continue by themselves: see "When something was written with a wrong key" in '
    "docs/operate/encryption.md. List them: closedwon codec undecryptable"
)
"""The hint for what was written with a wrong key."""
_LACKS_A_KEY: Final = "If the workers have the key, only this command lacks it; otherwise orders wait for it."


class Question(NamedTuple):
    """Something that the doctor asks."""

    subject: str
    ask: Callable[[], Awaitable[Iterable[Trouble]]]
    """Returns what is wrong."""
    hint: str
    """What to do if it gets no answer."""


async def answers(questions: Sequence[Question], until: float) -> list[Trouble]:
    """Ask all, side by side, until that time of the event loop; what has no answer then is a trouble of its own."""
    began = asyncio.get_running_loop().time()
    found = await asyncio.gather(*(_answer(question, until, began) for question in questions))
    return list(dict.fromkeys(trouble for some in found for trouble in some))


async def _answer(question: Question, until: float, began: float) -> list[Trouble]:
    try:
        async with asyncio.timeout_at(until):
            return [*await question.ask()]
    except TimeoutError:
        text = f"no answer within {until - began:.0f} s"
        return [Trouble(Harm.UNKNOWN, question.subject, text, question.hint)]
    except CodecError as error:
        hint = RECOVER if isinstance(error, KeyUnfitError) else _LACKS_A_KEY
        return [Trouble(Harm.STOPPED, "encryption", str(error), hint)]
    except RPCError as error:
        text = f"Temporal answers {error.status.name}: {error.message.removesuffix('.')}"
        return [Trouble(Harm.UNKNOWN, question.subject, text, question.hint)]
    except ClosedwonError as error:
        return [Trouble(Harm.UNKNOWN, question.subject, str(error), question.hint)]


async def all_of(troubles: AsyncIterator[Trouble]) -> list[Trouble]:
    """Collect them."""
    return [trouble async for trouble in troubles]
