"""What the distribution is, contains and needs.

mypyc makes C of the modules of `COMPILED` where there is a C compiler; where there is none they stay Python,
the same code and slower. `DAPHNE_COMPILE=0` leaves them as they are; so does an editable installation, unless
`DAPHNE_COMPILE=1` is set.
"""

import os
import re
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "daphne" / "__init__.py").read_text("utf-8"))[1]

COMPILED = [
    *[
        f"daphne/streams/{name}.py"
        for name in (
            "answers",
            "deadlines",
            "forwarded",
            "head",
            "http",
            "response",
            "scope",
            "signal",
            "websocket",
            "writes",
        )
    ],
    *[
        f"daphne/protocols/{name}.py"
        for name in (
            "admission",
            "masking",
            "negotiation",
            "outflow",
            "site",
            "standard",
            "turns",
            "websocket",
            "websocket_reader",
        )
    ],
    "daphne/reactor/addresses.py",
    "daphne/reactor/records.py",
    "daphne/reactor/transports.py",
    "daphne/reactor/tls_transport.py",
    *[
        f"daphne/protocols/http1{name}.py"
        for name in ("", "_body", "_head", "_life", "_response", "_upgrade")
    ],
    *[
        f"daphne/protocols/http2{name}.py"
        for name in (
            "",
            "_exchange",
            "_frames",
            "_head",
            "_hpack",
            "_huffman",
            "_life",
            "_limits",
            "_output",
            "_reader",
        )
    ],
    *[
        f"daphne/layers/{name}.py"
        for name in (
            "bridge_connection",
            "bridge_exchange",
            "copying",
            "inbox",
            "kept_frames",
            "local_frames",
            "local_gate",
            "local_server",
            "mailboxes",
            "messages",
            "messages_packed",
            "messages_websocket",
            "names",
            "offers",
            "packing",
            "prompt",
            "store",
            "unanswered",
            "window",
        )
    ],
]
"""What every request passes, but for what must stay plain Python: coroutines (docs/architecture.rst says
why), and subclasses of Twisted's and Autobahn's classes."""

CALLS = ["-fvisibility=hidden", "-fno-semantic-interposition", "-fno-plt"]
"""Nobody replaces functions of the compiled modules: calls among them, and to Python, need no detour."""

TESTS = [
    "aiohttp>=3.9",
    "channels>=4.1",
    "channels_redis>=4.2",
    "circus>=0.18",
    "coverage>=7.10",
    "Django>=4.2",
    "h2>=4.1",
    "httptools>=0.6.4",
    "httpx[http2]>=0.27",
    "hypothesis>=6.90",
    "psutil>=5.9",
    "pytest>=8",
    "pytest-cov>=5",
    "pytest-xdist>=3.5",
    "redis[hiredis]>=5.0.1",
    "starlette>=0.37",
    "websockets>=13",
]

# What tests/frameworks runs on the server, besides what is in the list above.
FRAMEWORKS = ["fastapi>=0.110", "litestar>=2.8", "Quart>=0.20"]

# The peers that benchmarks/ measures against, pinned; it makes environments for older versions of daphne.
BENCHMARKS = [
    "uvicorn==0.54.0",
    "httptools==0.9.0",
    "websockets==17.4",
    "uvloop==0.23.0",
    "granian==2.8.7",
    "hypercorn==0.18.0",
    "gunicorn==27.0.1",
    "gunicorn_h1c==0.6.9",
    "starlette==1.10.0",
    "Django==5.2.19",
    "redis[hiredis]>=5.0.1",
]


def compiled_modules() -> list[Extension]:
    """The extensions to build; none where this run builds nothing, or where they cannot be had."""
    wanted = os.environ.get("DAPHNE_COMPILE", "0" if "editable_wheel" in sys.argv else "1")
    builds = {"bdist_wheel", "editable_wheel", "build", "build_ext"} & set(sys.argv)
    if wanted == "0" or not builds or sys.implementation.name != "cpython":
        return []
    try:
        from mypyc.build import mypycify

        # Not the settings of pyproject.toml: what they check for needs all that the package depends on.
        options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
        options.append(f"--cache-dir={os.devnull}")
        extensions = mypycify([*options, *COMPILED], opt_level="2", debug_level="0", group_name="daphne")
    except (Exception, SystemExit) as problem:
        say_uncompiled(problem)
        return []
    if os.name == "posix":
        for extension in extensions:
            extension.extra_compile_args += CALLS
    return extensions


class BuildAllOrNone(build_ext):
    """Builds every extension or, if one fails, leaves every module as it is: they work only together."""

    def run(self) -> None:
        """Build."""
        try:
            super().run()
        except (BaseError, CCompilerError, OSError) as problem:
            say_uncompiled(problem)
            for path in self.get_outputs():
                Path(path).unlink(missing_ok=True)
            self.extensions = []


def say_uncompiled(problem: BaseException) -> None:
    """Say on the build's output why modules stay plain Python."""
    print(f"daphne is installed without compiled modules, which is slower: {problem}", file=sys.stderr)


setup(
    name="daphne",
    version=VERSION,
    description="HTTP/1.1, HTTP/2 and WebSocket server for ASGI applications and channel layers",
    long_description=(HERE / "README.rst").read_text("utf-8"),
    long_description_content_type="text/x-rst",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["daphne", "daphne.*"]) + ["twisted.plugins"],
    package_data={"daphne": ["py.typed"], "daphne.demo": ["static/*"]},
    zip_safe=False,
    ext_modules=compiled_modules(),
    cmdclass={"build_ext": BuildAllOrNone},
    install_requires=[
        "twisted[tls,http2]>=24.3",
        "autobahn>=23.6.2",
        "pyopenssl>=24.0",
        "service_identity>=23.1",
        "h2>=4.1",  # for its HPACK; its own machine is the referee in the tests (docs/http2.rst says why)
        "hpack>=4.0",
        "asgiref>=3.7",
        "msgpack>=1.0.5",
        "mypy_extensions>=1.0",  # says to mypyc which classes may have uncompiled subclasses
        "uvloop>=0.19; sys_platform != 'win32' and implementation_name == 'cpython'",
    ],
    extras_require={
        "redis": ["redis[hiredis]>=5.0.1"],
        "tests": TESTS + FRAMEWORKS,
        "frameworks": FRAMEWORKS,
        "lint": ["mypy>=1.11", "ruff>=0.6"],
        "benchmarks": BENCHMARKS,
        "fuzz": ["atheris>=2.3"],
    },
    entry_points={
        "console_scripts": [
            "daphne = daphne.cli:CommandLineInterface.entrypoint",
            "daphne-worker = daphne.worker.cli:entrypoint",
        ],
        # Under this name `-p daphne.pytest_plugin` finds it loaded already.
        "pytest11": ["daphne.pytest_plugin = daphne.pytest_plugin"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Web Environment",
        "Framework :: Django",
        "Framework :: Twisted",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP :: HTTP Servers",
    ],
)
