"""What an option is: its kind of value, its bounds, its spellings, its help.

Called by `daphne.settings`, which lists the options, and by whoever generates something from that list
(`daphne.cli`: the flags; a test: the README's tables). Calls nothing of daphne.

A *kind* reads a value, which is text from a command line or an environment variable, or an object from Python
or a configuration file. It gives the value in its proper type or raises ValueError. Its `allowed` ends the
sentence "it takes ...", and is all that error messages need to know about it.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import math
import re
from collections.abc import Iterable
from typing import Any, Protocol

LONGEST_SECONDS = 10_000_000_000
"""Three hundred years: in milliseconds it still fits the timers of every event loop."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ON = {"1", "true", "yes", "on"}
_OFF = {"0", "false", "no", "off"}


class Kind(Protocol):
    """Reads one value."""

    @property
    def metavar(self) -> str:
        """What stands for a value in a help text."""

    @property
    def allowed(self) -> str:
        """What the option takes, as the end of a sentence."""

    def read(self, value: object) -> Any:
        """Give `value` in the option's type, or raise ValueError when it is not allowed."""


@dataclasses.dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, both included."""

    low: int | None = None
    high: int | None = None
    metavar: str = "N"

    @property
    def allowed(self) -> str:
        return "a whole number" + _range(self.low, self.high)

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError("not a whole number")
        if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?[0-9]+\s*", value, re.ASCII):
            raise ValueError("not a whole number")
        number = int(value)
        _check_range(number, self.low, self.high)
        return number


@dataclasses.dataclass(frozen=True)
class Seconds:
    """A number of seconds, fractions allowed."""

    low: float | None = 0
    metavar: str = "SECONDS"

    @property
    def allowed(self) -> str:
        return "a number of seconds" + _range(self.low, LONGEST_SECONDS)

    def read(self, value: object) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError("not a number")
        number = float(value)
        if not math.isfinite(number):
            raise ValueError("not a finite number")
        _check_range(number, self.low, LONGEST_SECONDS)
        return int(number) if number.is_integer() else number


@dataclasses.dataclass(frozen=True)
class Octal:
    """The permission bits of a file: octal digits as text, or the number itself."""

    metavar: str = "MODE"
    allowed: str = "a file mode in octal: 0 to 777 as text, or a number such as 0o660"

    def read(self, value: object) -> int:
        if isinstance(value, str):
            value = int(value, 8)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("not a file mode")
        _check_range(value, 0, 0o777)
        return value


@dataclasses.dataclass(frozen=True)
class Switch:
    """On or off."""

    metavar: str = "SWITCH"
    allowed: str = "1, true, yes or on; or 0, false, no or off"

    def read(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower()
        if text not in _ON | _OFF:
            raise ValueError("neither on nor off")
        return text in _ON


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        return "|".join(self.words)

    @property
    def allowed(self) -> str:
        return ", ".join(self.words[:-1]) + " or " + self.words[-1]

    def read(self, value: object) -> str:
        if value not in self.words:
            raise ValueError("not one of the words")
        return str(value)


@dataclasses.dataclass(frozen=True)
class Text:
    """Any text without control characters."""

    metavar: str = "TEXT"
    allowed: str = "text without control characters"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or any(
            ord(character) < 32 or ord(character) == 127 for character in value
        ):
            raise ValueError("not plain text")
        return value


@dataclasses.dataclass(frozen=True)
class FieldName:
    """The name of a header field (RFC 9110 section 5.1), or nothing for none."""

    metavar: str = "NAME"
    allowed: str = "the name of a header field, or nothing"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or (value and not _TOKEN.fullmatch(value)):
            raise ValueError("not a field name")
        return value


@dataclasses.dataclass(frozen=True)
class FieldText:
    """The value of a header field, ASCII (RFC 9110 section 5.5)."""

    metavar: str = "TEXT"
    allowed: str = "printable ASCII text"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value.isascii() or not (value.isprintable() or not value):
            raise ValueError("not printable ASCII")
        return value


@dataclasses.dataclass(frozen=True)
class LogFormat:
    """A format of Python's logging in its `%(name)s` style."""

    metavar: str = "FORMAT"
    allowed: str = "a format of Python's logging, such as '%(levelname)s %(message)s'"

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("not text")
        # Both raise ValueError: for what is no format, and for a field that no line has.
        logging.Formatter(value).format(logging.makeLogRecord({}))
        return value


@dataclasses.dataclass(frozen=True)
class Words:
    """Several words; as text they are separated by blanks."""

    metavar: str = "TEXT"
    allowed: str = "one or more words separated by blanks"

    def read(self, value: object) -> tuple[str, ...]:
        return tuple(self._read_words(value.split() if isinstance(value, str) else value))

    def _read_words(self, words: object) -> Iterable[str]:
        if not isinstance(words, Iterable):
            raise ValueError("not a list")
        for word in words:
            if not isinstance(word, str) or not word:
                raise ValueError("not a list of words")
            yield self.read_word(word)

    def read_word(self, word: str) -> str:
        return word


@dataclasses.dataclass(frozen=True)
class Subprotocols(Words):
    """Names of WebSocket subprotocols (RFC 6455 section 4.1: tokens), in text with blanks or commas."""

    metavar: str = "NAME"
    allowed: str = "names of subprotocols, separated by blanks or commas"

    def read(self, value: object) -> tuple[str, ...]:
        return super().read(value.replace(",", " ") if isinstance(value, str) else value)

    def read_word(self, word: str) -> str:
        if not _TOKEN.fullmatch(word):
            raise ValueError("not a subprotocol")
        return word


@dataclasses.dataclass(frozen=True)
class Peers(Words):
    """Addresses, networks, `unix` and `*`; text has commas between them; `none` alone means nobody."""

    metavar: str = "PEERS"
    allowed: str = "addresses, networks, 'unix' or '*', separated by commas; or 'none'"

    def read(self, value: object) -> tuple[str, ...]:
        words = value.replace(",", " ").split() if isinstance(value, str) else value
        return () if words == ["none"] else super().read(words)

    def read_word(self, word: str) -> str:
        if word not in ("unix", "*"):
            ipaddress.ip_network(word, strict=False)  # raises ValueError
        return word


@dataclasses.dataclass(frozen=True)
class Option:
    """One option, apart from its name and default, which stand in `daphne.settings.Settings`."""

    kind: Kind
    group: str
    flags: tuple[str, ...]
    """All spellings on the command line, short ones first; empty when the option has none."""
    help: str
    repeatable: bool = False
    """Each use of the flag adds one word."""
    optional: bool = False
    """None is a value of its own: not given."""
    off: Any = None
    """What the flag with `--no-` in front sets; None when there is no such flag."""

    @property
    def flag(self) -> str:
        """The long spelling, or an empty string when the option has no flag."""
        return next((flag for flag in self.flags if flag.startswith("--")), "")

    @property
    def off_flag(self) -> str:
        """The spelling that sets `off`, or an empty string."""
        return "--no-" + self.flag.removeprefix("--") if self.flag and self.off is not None else ""

    def read(self, value: object) -> Any:
        """Give `value` in the option's type, or raise ValueError with what the option takes."""
        if value is None and self.optional:
            return None
        try:
            return self.kind.read(value)
        except (ValueError, TypeError, OverflowError):
            raise ValueError(f"{value!r:.80} is not allowed; it takes {self.kind.allowed}") from None


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return ""
    if high is None or high == LONGEST_SECONDS:
        return f", {low} or more"
    return f" from {low} to {high}"


def _check_range(number: float, low: float | None, high: float | None) -> None:
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError("out of range")
