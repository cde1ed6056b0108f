"""What Redis' errors mean: what passes by itself, what is full, what only a person can change.

Every error of Redis is sorted here, by the word with which Redis begins it, such as NOREPLICAS.
Where a script or a transaction failed, the word of what failed in it counts. Where Redis says just
ERR, its text decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, ClassVar, Final, cast

from redis import exceptions
from redis.asyncio.connection import DefaultParser
from redis.exceptions import RedisError

from sessions.errors import RedisRefused, SessionError, StreamFull, StreamUnavailable
from sessions.process.urls import redacted, without_secrets

# All that a command can raise. Timeouts of asyncio are OSErrors.
ERRORS: Final = (RedisError, OSError)


class ErrorMeaning(Enum):
    """What an error of Redis asks for."""

    PASSING = auto()
    """Wait: a restart, a failover, a busy script, a disk that is full."""
    FULL = auto()
    """Wait until the worker has made room."""
    FORBIDDEN = auto()
    """A person must permit it, or give the right password."""
    UNSUITABLE = auto()
    """A person must name another server, database or prefix."""
    DEFECT = auto()
    """The command was wrong, so ours is the fault."""


# Words that say something about us or our command. Any other word, also one that a later Redis
# or another make of server invents, tells of a state of the server, and states pass.
_LASTING: Final = {
    "OOM": ErrorMeaning.FULL,
    "NOAUTH": ErrorMeaning.FORBIDDEN,
    "WRONGPASS": ErrorMeaning.FORBIDDEN,
    "NOPERM": ErrorMeaning.FORBIDDEN,
    "DENIED": ErrorMeaning.FORBIDDEN,
    "MOVED": ErrorMeaning.UNSUITABLE,
    "ASK": ErrorMeaning.UNSUITABLE,
    "CROSSSLOT": ErrorMeaning.UNSUITABLE,
    "WRONGTYPE": ErrorMeaning.UNSUITABLE,
    "NOPROTO": ErrorMeaning.UNSUITABLE,
    "ERR": ErrorMeaning.DEFECT,
    "EXECABORT": ErrorMeaning.DEFECT,
    "INVALIDOBJ": ErrorMeaning.DEFECT,
    "BUSYKEY": ErrorMeaning.DEFECT,
    "BUSYGROUP": ErrorMeaning.DEFECT,
    "NOGROUP": ErrorMeaning.DEFECT,
}

# What Redis, and proxies before it, say without a word of its own. The first match counts.
_TEXTS: Final = (
    (
        r"max number of clients|max \S*\s?requests? limit|too many (connections|requests)",
        "MAXCLIENTS",
    ),
    (r"Script killed by user|(is|server) shutting down|failover in progress", "SCRIPTKILLED"),
    (r"(no )?upstream|no healthy|connection (refused|reset|timed out)|host is down", "UPSTREAM"),
    (r"DB index|SELECT is not allowed|non local key in a cluster", "MOVED"),
    (r"ACL failure in script|can't run this command or subcommand", "NOPERM"),
    (r"unknown (sub)?command|command .*(not (allowed|available|permitted)|disabled)", "NOPERM"),
    (r"invalid password|\bAUTH\b|without any password", "WRONGPASS"),
)
_WORD: Final = re.compile(r"-?([A-Z][A-Z0-9_]{2,}|OK)(?= |$)")
# Redis up to 6.2 puts what failed in a script at the end of a longer sentence.
_INNER: Final = re.compile(r"(?:because of|user_script: ?\d+): -?([A-Z][A-Z0-9_]{2,})(?= |$)")
# What follows repeats the arguments, which may be somebody's words.
_ARGUMENTS: Final = re.compile(r",? with args beginning with.*", re.DOTALL)

# redis-py takes these words from the text and tells them by the class.
_CLASSES: Final = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.AuthorizationError, "NOPERM"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.NoScriptError, "NOSCRIPT"),
    (exceptions.ConnectionError, "AWAY"),
    (exceptions.TimeoutError, "AWAY"),
    # No answer of Redis at all: a proxy says something in its own words.
    (exceptions.InvalidResponse, "AWAY"),
    (exceptions.WatchError, "AWAY"),
    (OSError, "AWAY"),
)


class ReplyParser(cast("Any", DefaultParser)):
    """redis-py's parser, which keeps what Redis said: the errors themselves drop the word.

    A pipeline puts the command into the error's text, with all that somebody wrote.
    """

    # Said by a server that became a replica; on ReadOnlyError the connection to it is left.
    EXCEPTION_CLASSES: ClassVar[dict[str, Any]] = {
        **cast("Any", DefaultParser).EXCEPTION_CLASSES,
        **dict.fromkeys(("UNBLOCKED", "MASTERDOWN"), exceptions.ReadOnlyError),
    }

    @classmethod
    def parse_error(cls, response: str) -> Exception:
        """The error for a reply."""
        parser: Any = super()
        error = parser.parse_error(response)
        error.said = _ARGUMENTS.sub("", response)
        return error


def meaning_of(error: BaseException) -> ErrorMeaning:
    """What this error of Redis asks for."""
    return _LASTING.get(word_of(error), ErrorMeaning.PASSING)


def word_of(error: BaseException) -> str:
    """The word with which Redis began what it said; AWAY where it said nothing."""
    said = _said(error)
    if said is not None:
        return _word_in(said)
    return next((word for kind, word in _CLASSES if isinstance(error, kind)), "ERR")


def explain(error: Exception, url: str) -> SessionError:
    """The error of ours for an error of Redis, with the text that says what to do.

    StreamUnavailable for what passes by itself, StreamFull, RedisRefused for what only a person
    can change, SessionError for a defect of ours.
    """
    said, where = _said(error), f"Redis at {redacted(url)}"
    said = None if said is None else without_secrets(said, url)
    text = without_secrets(str(error), url)
    match meaning_of(error):
        case ErrorMeaning.PASSING if said is None:
            return StreamUnavailable(
                f"{where} does not answer ({text}); is it running, and is the URL right?"
            )
        case ErrorMeaning.PASSING:
            return StreamUnavailable(f"{where} refuses for now: {said}")
        case ErrorMeaning.FULL:
            return StreamFull(
                "Redis is at its memory limit and takes no new entries; the same event can be "
                "sent again once the worker has caught up",
                retry_after=2.0,
            )
        case ErrorMeaning.FORBIDDEN:
            return RedisRefused(_forbidden(where, said or text))
        case ErrorMeaning.UNSUITABLE:
            return RedisRefused(
                f"{where} cannot be used ({said}): Turnstream needs one server, no cluster, with a "
                "prefix whose keys nobody else uses"
            )
        case ErrorMeaning.DEFECT:
            return SessionError(f"{where} refused a command: {said or type(error).__name__}")


def _forbidden(where: str, said: str) -> str:
    if _word_in(said) == "NOPERM":
        return (
            f'{where} does not permit what this service needs: {said}. Permit it: under "Redis '
            'users" docs/operating.md lists the commands, keys and channels of each service'
        )
    return f"{where} refuses the user or password: {said}"


def _said(error: BaseException) -> str | None:
    """What Redis said, and the errors in between told so; None where it said nothing."""
    for one in _causes(error):
        said: str | None = getattr(one, "said", None)
        if said is not None:
            one.args = (said,)
            return said
        word = next((word for kind, word in _CLASSES if isinstance(one, kind)), "AWAY")
        if word not in ("AWAY", "ERR"):
            return f"{word} {one}"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from: redis-py wraps what a new connection was told."""
    while error is not None:
        yield error
        error = error.__cause__


def _word_in(said: str) -> str:
    found = _INNER.search(said) or _WORD.match(said)
    word = found[1] if found else "ERR"
    if word not in ("ERR", "EXECABORT"):
        return word
    named = (name for text, name in _TEXTS if re.search(text, said, re.IGNORECASE))
    return next(named, word)


__all__ = ["ERRORS", "ErrorMeaning", "ReplyParser", "explain", "meaning_of", "word_of"]
