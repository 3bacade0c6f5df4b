"""Build files of images, carried out in a directory that is then an image's root: for machines without an engine. I/O.

Not a container engine: it knows the instructions that the build files here use and refuses every other one, has no
layers and no cache, and starts from what debootstrap makes in place of a published base image.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig import package_sources

BASES = {"debian:12-slim": "bookworm"}
"""Base image -> the Debian suite it is made of."""
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHOWN_AT = "run/machine"
_KNOWN = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}


class BuildError(Exception):
    """A build file cannot be carried out; the text names the file, the line and the reason."""


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction. line: where it begins in the file."""

    line: int
    word: str
    rest: str


@dataclass
class Image:
    """What a build leaves: the root directory, and how a container of it starts. user: "" is root."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": SEARCH})
    directory: str = "/"
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def parse(text: str, name: str = "Dockerfile") -> list[Step]:
    """The instructions of a build file, continued lines joined. Raises BuildError."""
    steps: list[Step] = []
    parts: list[str] = []
    begun = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and not parts):
            continue
        begun = begun or number
        parts.append(line.rstrip().removesuffix("\\"))
        if line.rstrip().endswith("\\"):
            continue
        word, _, rest = " ".join(part.strip() for part in parts).partition(" ")
        if word.upper() not in _KNOWN:
            raise BuildError(f"{name}:{begun}: {word} is not among {', '.join(sorted(_KNOWN))}")
        if word.upper() == "FROM" and rest.strip() not in BASES:
            raise BuildError(f"{name}:{begun}: {rest} is not among {', '.join(BASES)}")
        steps.append(Step(begun, word.upper(), rest.strip()))
        begun, parts = 0, []
    if parts:
        raise BuildError(f"{name}:{begun}: the last line is continued")
    if not steps or steps[0].word != "FROM" or sum(step.word == "FROM" for step in steps) != 1:
        raise BuildError(f"{name}: it has one FROM, and begins with it")
    return steps


def bootstrap(suite: str, root: Path) -> None:
    """A minimal Debian, with the package sources of this machine that are Debian's. Raises BuildError."""
    words = ["debootstrap", "--variant=minbase", suite, str(root), *filter(None, [package_sources.mirror()])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(words)}: {(done.stdout + done.stderr)[-800:]}")
    sources = package_sources.apt_sources(suite)
    if sources:
        (root / "etc/apt/sources.list").unlink()
    for path, text in sources.items():
        (root / path.relative_to("/")).write_text(text)
    # As in the published image: packages start no service (invoke-rc.d(8)).
    rule = root / "usr/sbin/policy-rc.d"
    rule.write_text("#!/bin/sh\nexit 101\n")
    rule.chmod(0o755)


def build(file: Path, context: Path, base: Path, root: Path) -> Image:
    """Carries out a build file in `root`, which begins as a copy of `base`. Raises BuildError."""
    steps = parse(file.read_text(), file.name)
    subprocess.run(["cp", "-a", "--reflink=auto", f"{base}/.", str(root)], check=True)
    ignore = file.with_name(file.name + ".dockerignore")
    patterns = [line for line in ignore.read_text().split() if line] if ignore.exists() else []
    image = Image(root)
    for step in steps:
        try:
            _carry_out(step, image, context, patterns)
        except (BuildError, OSError, ValueError, subprocess.CalledProcessError) as error:
            raise BuildError(f"{file.name}:{step.line}: {step.word}: {error}") from error
    return image


def _carry_out(step: Step, image: Image, context: Path, ignored: list[str]) -> None:
    match step.word:
        case "RUN":
            run(image, step.rest)
        case "COPY":
            *sources, target = shlex.split(step.rest)
            copy(image, [context / source for source in sources], target, (context, ignored))
        case "ENV":
            image.env |= dict(word.split("=", 1) for word in shlex.split(step.rest))
        case "WORKDIR":
            image.directory = os.path.join(image.directory, step.rest)
            inside(image, image.directory).mkdir(parents=True, exist_ok=True)
        case "USER":
            image.user = step.rest
        case "ENTRYPOINT":
            image.entrypoint = json.loads(step.rest)
        case "CMD":
            image.command = json.loads(step.rest)


def inside(image: Image, path: str) -> Path:
    """Where an absolute path, or one relative to the working directory, lies on this machine."""
    return image.root / os.path.normpath(os.path.join(image.directory, path)).lstrip("/")


def copy(image: Image, sources: list[Path], target: str, ignore: tuple[Path, list[str]]) -> None:
    """Files to a file or into a directory; of a directory what is in it, as COPY has it. Raises BuildError."""
    context, patterns = ignore

    def passed_over(directory: str, names: list[str]) -> list[str]:
        relative = [(name, os.path.relpath(os.path.join(directory, name), context)) for name in names]
        return [
            name
            for name, path in relative
            if any(fnmatch.fnmatch(name if p.startswith("**/") else path, p.removeprefix("**/")) for p in patterns)
        ]

    where = inside(image, target)
    for source in sources:
        if not source.resolve().is_relative_to(context.resolve()) or not source.exists():
            raise BuildError(f"{source} is not there, or outside the build's context")
        if source.is_dir():
            shutil.copytree(source, where, ignore=passed_over, dirs_exist_ok=True)
        else:
            into = where / source.name if target.endswith("/") or len(sources) > 1 or where.is_dir() else where
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, into)


def run(image: Image, command: str) -> None:
    """A command of the shell, in namespaces of its own: no process and no mount of it stays. Raises BuildError."""
    if image.user:
        raise BuildError(f"RUN as {image.user} is not provided for")
    (image.root / "etc/resolv.conf").touch()
    (image.root / _SHOWN_AT).mkdir(exist_ok=True)
    variables, paths = package_sources.pip_settings(f"/{_SHOWN_AT}")
    where = f"{image.root}/{_SHOWN_AT}"
    lines = [f"mount -t proc proc {image.root}/proc", f"mount -t tmpfs tmpfs {where}"]
    for path in paths:
        lines += [f"mkdir -p {where}{path if path.is_dir() else path.parent}"]
        lines += [] if path.is_dir() else [f"touch {where}{path}"]
    for path, place in [
        (Path("/etc/resolv.conf"), image.root / "etc/resolv.conf"),
        *((p, f"{where}{p}") for p in paths),
    ]:
        lines += [f"mount --bind {path} {place}", f"mount -o remount,bind,ro {place}"]
    script = "\n".join(["set -e", *lines, 'exec chroot "$1" sh -c "$2"'])
    words = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork"]
    words += ["--kill-child", "sh", "-c", script, "sh", str(image.root)]
    words += [f"cd {shlex.quote(image.directory)} && {command}"]
    env = {**image.env, **variables, "HOME": "/root"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    (image.root / _SHOWN_AT).rmdir()
    if done.returncode:
        raise BuildError(f"exit code {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
