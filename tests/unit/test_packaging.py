"""What a newcomer reads and types: README.md, ARCHITECTURE.md, tools/ and setup.cfg are held to the tree."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from controller import cli
from controller.errors import pointer
from controller.policy.advice import advise
from controller.policy.check import check
from controller.policy.load import load
from controller.policy.parse import parse_document

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
SCRIPTS = ("tools/setup", "tools/demo", "tools/test", "tools/kernel-labs", ".ci/run")


def setup_cfg() -> ConfigParser:
    parser = ConfigParser(inline_comment_prefixes=(" #",))
    parser.read(ROOT / "setup.cfg")
    return parser


def names(requirements: str) -> set[str]:
    """The names in a list of requirements, as they compare (PEP 503)."""
    lines = (re.split(r"[=<>\s#]", line.strip())[0] for line in requirements.splitlines())
    return {re.sub(r"[-_.]+", "-", name).lower() for name in lines if name}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def typed() -> list[list[str]]:
    """The commands of README, in words, each up to the first pipe."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines += re.findall(r"^    (\S.*)$", README.split("\n## ")[0], re.MULTILINE)
    words = (shlex.split(line, comments=True) for line in lines)
    return [line[: line.index("|")] if "|" in line else line for line in words if line]


def test_readme_begins_with_its_two_commands() -> None:
    assert typed()[-2:] == [["tools/demo"], ["tools/test"]]
    assert README.index("tools/test") < README.index("\n## ")


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / script], check=True)


@pytest.mark.parametrize(("script", "word"), [("tools/demo", "--quick"), ("tools/test", "all"), ("tools/setup", "x")])
def test_a_word_that_a_script_does_not_know_is_refused_with_its_usage(script: str, word: str) -> None:
    done = subprocess.run([ROOT / script, word], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"usage: {script}" in done.stdout


def test_every_command_of_readme_is_there() -> None:
    for words in typed():
        if "/" in words[0] and not words[0].startswith(".venv/"):
            assert (ROOT / words[0]).exists(), words
        for word in words[1:]:
            if word.startswith(("apps/", "topologies/")):
                assert (ROOT / word).exists(), words


@pytest.mark.parametrize(
    "words", [words[1:] for words in typed() if words[0] == ".venv/bin/tripoint"], ids=lambda words: " ".join(words)
)
def test_tripoint_knows_the_words_in_readme(words: list[str]) -> None:
    assert callable(cli._parser().parse_args(words).command)


def test_policy_in_readme_is_a_policy() -> None:
    policies = [load(parse_document(text.encode(), "application/yaml")) for text in blocks("yaml")]
    assert [(check(each), advise(each)) for each in policies] == [((), ())] * len(policies)
    policy, routed, spread = policies
    asked = [words[-1] for words in typed() if "--origin" in words]
    there = {pointer("endpoints", name) for name in policy.endpoints}
    there |= {pointer(key, name) for key in ("rules", "rewrites") for name in getattr(routed, key)}
    assert set(asked) <= there
    assert all(host.ovsdb is not None for host in spread.hosts.values())
    assert [endpoint.name for endpoint in policy.endpoints.values() if endpoint.shared] == ["nas"]


def test_variables_in_readme_are_read_somewhere() -> None:
    variables = re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE)
    sources = [*(ROOT / "apps").glob("*.py"), *(ROOT / "controller").glob("*.py"), ROOT / "tools" / "setup"]
    text = "".join(path.read_text() for path in sources)
    assert len(variables) == 5
    assert [name for name in variables if name not in text] == []


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "topologies/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_architecture_names_every_part_and_no_other() -> None:
    table = ARCHITECTURE.split("| part |", 1)[1].split("\n\n", 1)[0]
    named = {
        part for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for part in re.findall(r"`(\w+)`", cell)
    }
    parts = {
        path.stem for path in (ROOT / "controller").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert named == parts - {"__init__"}


def test_files_that_architecture_names_are_there() -> None:
    for name in re.findall(r"`((?:controller|tests|apps|topologies|docs)/[\w./]*)`", ARCHITECTURE):
        assert (ROOT / name).exists(), name


def test_every_package_is_installed() -> None:
    listed = setup_cfg()["options"]["packages"].split()
    there = {
        p.parent.relative_to(ROOT) for top in ("controller", "topologies") for p in (ROOT / top).rglob("__init__.py")
    }
    assert sorted(listed) == sorted(".".join(path.parts) for path in there)


def test_every_requirement_has_the_version_it_was_tested_with() -> None:
    options = setup_cfg()
    wanted = names(options["options"]["install_requires"]) | names(options["options.extras_require"]["test"])
    assert wanted - names((ROOT / "requirements" / "versions.txt").read_text()) == set()


def test_what_ryu_is_built_with_is_not_what_is_installed() -> None:
    """Python 3.12 and later have no distutils but that of setuptools, which Ryu imports."""
    (version,) = re.findall(r"^setuptools==(\d+)", (ROOT / "requirements" / "versions.txt").read_text(), re.MULTILINE)
    assert int(version) >= 68
    assert "setuptools<68" in (ROOT / "requirements" / "ryu-build.txt").read_text().splitlines()


def test_every_directory_of_tests_is_among_those_that_the_test_command_runs() -> None:
    there = {path.relative_to(ROOT).parts[1] for path in (ROOT / "tests").rglob("test_*.py")}
    run = set(re.findall(r"tests/(\w+)", (ROOT / "tools" / "test").read_text()))
    assert there == run


def test_programs_that_labs_are_tested_with_are_installed() -> None:
    from tests.lab.stand import PROGRAMS

    text = (ROOT / "tools" / "setup").read_text()
    for program, package in PROGRAMS.items():
        assert f"command -v {program} >/dev/null || echo {package}\n" in text
