"""The target: `module:attribute.path` on the command line becomes the object that is served.

Called by the doors (`daphne.cli`, the worker's command line) to load it and by the server to judge it; calls
nothing.
"""

from __future__ import annotations

import importlib
import traceback
from typing import Any

from daphne.errors import TargetError


def load_target(path: str) -> Any:
    """Import the module that `path` names and give the attribute it names.

    Raises TargetError, in one line, if there is no colon, no such module or no such attribute, and with the
    place if importing the module fails by itself. What the object is, `check_target` judges.
    """
    module_name, colon, attributes = path.partition(":")
    if not colon or not module_name or not all(attributes.split(".")) or module_name.startswith("."):
        raise TargetError(f"{path!r} is not of the form module:attribute, such as project.asgi:application")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _failed(module_name, error) from error
        raise TargetError(f"there is no module {error.name!r} (for {path!r})") from error
    except (Exception, SystemExit) as error:  # whatever the module's own code raises
        raise _failed(module_name, error) from error
    done = module_name
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise TargetError(f"{done!r} has no attribute {attribute!r} (for {path!r})") from error
        done = f"{done}.{attribute}"
    return found


def is_channel_layer(target: object) -> bool:
    """Whether `target` has the shape of a channel layer: `send`, `receive`, and `extensions` or
    `new_channel`.

    Classic layers and those of Channels 4, whose `send` and `receive` are coroutine functions, both have
    it. A class is none, for its instances are the layers.
    """
    if isinstance(target, type):
        return False
    return _has_layer_shape(target)


def check_target(target: object) -> None:
    """Raise TargetError unless `target` is a channel layer or callable, as ASGI applications are."""
    if isinstance(target, type) and _has_layer_shape(target):
        raise TargetError(
            f"{target.__qualname__} is the class of a channel layer; the target is an instance of it"
        )
    if not is_channel_layer(target) and not callable(target):
        raise TargetError(
            f"the target is neither a channel layer (it has no send, receive and extensions) nor an ASGI "
            f"application (it is not callable): {target!r:.60} of type {type(target).__name__}"
        )


def check_worker(path: str, application: object) -> None:
    """Raise TargetError unless `application`, which `path` names, can run in a worker."""
    if not callable(application):
        raise TargetError(f"{path} is not an ASGI application: it is not callable")


def _has_layer_shape(target: object) -> bool:
    if not callable(getattr(target, "send", None)) or not callable(getattr(target, "receive", None)):
        return False
    # In this order: channels_redis.pubsub's raises RuntimeError for `extensions` outside a running loop.
    return hasattr(target, "new_channel") or hasattr(target, "extensions")


def _failed(module_name: str, error: BaseException) -> TargetError:
    return TargetError(f"importing {module_name!r} failed: {told(error)}")


def told(error: BaseException) -> str:
    """What `error` says in its last line, and where it was raised."""
    what = " ".join("".join(traceback.format_exception_only(error)[-1:]).split())
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen")
    ]
    place = (frames[-1].filename, frames[-1].lineno) if frames else ("", None)
    if isinstance(error, SyntaxError) and error.filename:
        place = (error.filename, error.lineno)
    return f"{what} ({place[0]}:{place[1]})" if place[0] else what
