"""The command line's flags, made from the settings.

Called by `daphne.cli` and the worker's command line; calls `daphne.settings` for what there is. Flags are not
converted here: what was written goes to `settings_from`, which reads every source alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from daphne.options import Option, Switch
from daphne.settings import OPTIONS, Settings

_DEFAULTS = Settings()
_FLAGS = {flag for option in OPTIONS.values() for flag in (option.flag, option.off_flag) if flag}


class FlagParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which takes underscores for hyphens in our flags."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does."""
        return super().parse_known_args(None if args is None else with_hyphens(args), namespace)


def with_hyphens(args: Sequence[str]) -> list[str]:
    """Spell our flags with hyphens; what follows a bare `--` is left alone."""
    end = list(args).index("--") if "--" in args else len(args)
    return [*(_with_hyphens(arg) for arg in args[:end]), *args[end:]]


def add_flags(
    parser: argparse.ArgumentParser, names: Iterable[str] = tuple(OPTIONS)
) -> dict[str, argparse.Action]:
    """Add the flags of the settings in `names`, by their groups; give the action of each setting.

    In the parsed namespace a setting is there only if it was given, unconverted, under its field's name.
    """
    groups: dict[str, Any] = {}
    actions = {}
    for name in names:
        option = OPTIONS[name]
        if option.flag:
            group = groups.get(option.group) or groups.setdefault(
                option.group, parser.add_argument_group(option.group)
            )
            actions[name] = _add_flag(group, name, option)
    return actions


def given_flags(namespace: argparse.Namespace) -> dict[str, Any]:
    """What was given on the command line, by the names of the settings."""
    return {name: value for name, value in vars(namespace).items() if name in OPTIONS}


def _add_flag(group: Any, name: str, option: Option) -> argparse.Action:
    details: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": _help(name, option)}
    if isinstance(option.kind, Switch):
        details["action"] = argparse.BooleanOptionalAction
    else:
        details["metavar"] = option.kind.metavar
    if option.repeatable:
        details["action"] = "append"
    if name == "ws_protocols":
        details |= {"action": "append", "nargs": "*"}
    action: argparse.Action = group.add_argument(*option.flags, **details)
    if option.off_flag and not isinstance(option.kind, Switch):
        group.add_argument(
            option.off_flag,
            dest=name,
            action="store_const",
            const=option.off,
            default=argparse.SUPPRESS,
            help="send none",
        )
    return action


def _help(name: str, option: Option) -> str:
    text = option.help.replace("%", "%%")
    default = getattr(_DEFAULTS, name)
    if default in (None, False, (), ""):
        return text
    if default is True:
        default = "on"
    if name == "unix_socket_mode":
        default = f"{default:o}"
    if isinstance(default, tuple):
        default = ",".join(default)
    return f"{text} (default: {str(default).replace('%', '%%')})"


def _with_hyphens(arg: str) -> str:
    flag, equals, value = arg.partition("=")
    spelled = flag.replace("_", "-")
    return spelled + equals + value if spelled in _FLAGS else arg
