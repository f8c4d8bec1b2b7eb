"""Tests of daphne.application.target: what `module:attribute` loads, and what is said when it cannot."""

import textwrap

import pytest

from daphne.application.target import check_target, is_channel_layer, load_target
from daphne.errors import TargetError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes a module of a project and gives its name, which no other test has."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text, name="asgi"):
        package = f"project_{tmp_path.name.replace('-', '_')}"
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / f"{name}.py").write_text(textwrap.dedent(text))
        return f"{package}.{name}"

    return write


def test_an_attribute_of_an_attribute(project):
    module = project("class outer:\n    class inner:\n        thing = object()\n")
    assert load_target(f"{module}:outer.inner.thing") is load_target(f"{module}:outer").inner.thing


@pytest.mark.parametrize("path", ["project", "", ":", "a:", ":b", "a:b..c", "a:.b", ".a:b", "a:b."])
def test_a_path_that_is_none(path):
    with pytest.raises(TargetError, match="is not of the form module:attribute, such as"):
        load_target(path)


@pytest.mark.parametrize("name", ["no_such_package_at_all", "no_such_package_at_all.asgi"])
def test_no_such_module(name):
    with pytest.raises(TargetError, match="there is no module 'no_such_package_at_all'"):
        load_target(f"{name}:application")


def test_no_such_module_in_a_package(project):
    package = project("").rpartition(".")[0]
    with pytest.raises(
        TargetError, match=rf"there is no module '{package}\.wsgi' \(for '{package}\.wsgi:app'\)"
    ):
        load_target(f"{package}.wsgi:app")


def test_a_module_that_is_no_package(project):
    module = project("")
    with pytest.raises(TargetError, match=f"there is no module '{module}.deeper'"):
        load_target(f"{module}.deeper:app")


def test_no_such_attribute(project):
    module = project("class outer: pass")
    with pytest.raises(TargetError, match=f"'{module}.outer' has no attribute 'app'"):
        load_target(f"{module}:outer.app")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nimport no_such_dependency\n", "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("x = 1\nfrom os import no_such_name\n", "ImportError: cannot import name 'no_such_name'"),
        ("x = 1\nx.y\n", "AttributeError: 'int' object has no attribute 'y'"),
        ("x = 1\nraise RuntimeError('two\\nlines')\n", "RuntimeError: two lines"),
        ("import sys\nsys.exit(7)\n", "SystemExit: 7"),
        ("x = 1\ndef (:\n", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_fails_by_itself_says_where(project, text, says):
    module = project(text)
    with pytest.raises(TargetError) as caught:
        load_target(f"{module}:application")
    message = str(caught.value)
    assert message.startswith(f"importing '{module}' failed: {says}")
    assert message.endswith("asgi.py:2)")
    assert "\n" not in message


def test_a_failure_deeper_down_says_where(project):
    project("\n\nraise KeyError('SECRET_KEY')", name="settings")
    module = project("from . import settings")
    with pytest.raises(TargetError, match=r"failed: KeyError: 'SECRET_KEY' \(.*settings\.py:3\)"):
        load_target(f"{module}:application")


class ClassicLayer:
    extensions = ("groups",)

    def send(self, channel, message):
        pass

    def receive(self, channels, block=False):
        pass


class NewChannelLayer:
    """Without extensions, but with new_channel."""

    def __init__(self):
        self.send = self.receive = self.new_channel = lambda *args: None


class ForwardingLayer:
    """Like the wrapper of Channels 1, which hands every attribute on."""

    def __getattr__(self, name):
        return getattr(ClassicLayer(), name)


class AsyncLayer:
    extensions = ["groups"]

    async def send(self, channel, message):
        pass

    async def receive(self, channel):
        pass


async def application(scope, receive, send):
    pass


class Application:
    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass


@pytest.mark.parametrize("layer", [ClassicLayer(), NewChannelLayer(), ForwardingLayer(), AsyncLayer()])
def test_channel_layers(layer):
    assert is_channel_layer(layer)
    check_target(layer)


def test_layers_of_other_projects():
    channels = pytest.importorskip("channels.layers")
    assert is_channel_layer(channels.InMemoryChannelLayer())


def test_a_layer_that_answers_only_inside_a_running_loop():
    """What it is there and then is asked outside; `layers.adapters` refuses it by name afterwards."""
    pubsub = pytest.importorskip("channels_redis.pubsub")
    assert is_channel_layer(pubsub.RedisPubSubChannelLayer())


@pytest.mark.parametrize("target", [application, Application, Application(None), print])
def test_applications(target):
    assert not is_channel_layer(target)
    check_target(target)


@pytest.mark.parametrize("target", ["text", {}, None, 5, object()])
def test_neither(target):
    assert not is_channel_layer(target)
    with pytest.raises(
        TargetError, match=f"neither a channel layer .* nor an ASGI .*{type(target).__name__}"
    ):
        check_target(target)


def test_the_class_of_a_layer():
    assert not is_channel_layer(ClassicLayer)
    with pytest.raises(TargetError, match="ClassicLayer is the class of a channel layer"):
        check_target(ClassicLayer)
