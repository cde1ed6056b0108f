"""Conversations to measure with: made from a seed, or read from a file of real ones."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

# Sessions that talk at the same time; each turn goes to the next of them in the ring.
OPEN_SESSIONS: Final = 500
_SENTENCE: Final = (
    "time table seat train coffee doctor ticket hotel rain Berlin Monday morning quiet window "
    "please confirm cheaper later nine people garden music card number address tomorrow"
)


class CorpusTurn(NamedTuple):
    """One line of a corpus."""

    session: str
    role: str
    content: str


def made(sessions: int, *, turns_each: int = 18, seed: int = 1) -> Iterator[CorpusTurn]:
    """Dialogues of made-up sentences, about 100 characters a turn, one dialogue after another."""
    chance = random.Random(seed)
    vocabulary = _SENTENCE.split()
    for number in range(sessions):
        for turn in range(chance.randint(2, 2 * turns_each - 2)):
            words = chance.choices(vocabulary, k=chance.randint(4, 30))
            role = "assistant" if turn % 2 else "user"
            yield CorpusTurn(f"bench_{number:06d}", role, " ".join(words))


def read(path: Path) -> Iterator[CorpusTurn]:
    """The lines of a `.jsonl` or `.jsonl.gz`."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield CorpusTurn(row["session"], row["role"], row["content"])


def interleaved(turns: Iterator[CorpusTurn]) -> Iterator[CorpusTurn]:
    """The same turns as they come from many sessions at once, each session's in order."""
    dialogues: dict[str, list[CorpusTurn]] = {}
    for turn in turns:
        dialogues.setdefault(turn.session, []).append(turn)
    waiting = iter(dialogues.values())
    ring = [iter(dialogue) for _, dialogue in zip(range(OPEN_SESSIONS), waiting, strict=False)]
    while ring:
        going: list[Iterator[CorpusTurn]] = []
        for dialogue in ring:
            turn = next(dialogue, None)
            if turn is not None:
                yield turn
                going.append(dialogue)
            elif (following := next(waiting, None)) is not None:
                going.append(iter(following))
        ring = going
