"""setup.cfg, constraints.txt and the version agree with each other."""

import configparser
import re

import warmflow

from ._tree import ROOT

UNPINNED = {"cuda12", "cuda13"}  # 2 GB each; tested where there is a device


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> set[str]:
    """Name every library that setup.cfg asks for, extras included."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    blocks = [
        config["options"]["install_requires"],
        *(extras[x] for x in extras if x not in UNPINNED),
    ]
    lines = (line for block in blocks for line in block.split("\n") if line.strip())
    names = {normalise(re.split(r"[\[<>=!~ ]", line.strip())[0]) for line in lines}
    return names - {"warmflow"}


def pins() -> dict[str, str]:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {normalise(name): version for name, _, version in (x.partition("==") for x in lines)}


def test_every_requirement_is_pinned() -> None:
    assert "numpy" in requirements()
    assert "torch" in requirements()
    assert requirements() - set(pins()) == set()


def test_pins_are_public_versions() -> None:
    wrong = {name: v for name, v in pins().items() if not re.fullmatch(r"[0-9][0-9a-z.]*", v)}
    assert wrong == {}


def test_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {warmflow.__version__}\n" in citation
    assert warmflow.__version__ in changelog
