"""The documents: links lead somewhere, weights have a card, pages made from the sources are complete. `make docs` builds the site."""

import importlib
import re
import subprocess
import sys
from types import ModuleType

import pytest
from paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "weights" / "README.md"])
PAGES = [page for page in PAGES if "reference" not in page.parts and "_build" not in page.parts]
README_LINES, FILM_MB = 150, 3.0


@pytest.fixture
def site_pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that makes pages from the sources."""
    pytest.importorskip("sphinx", reason="the pages are made by Sphinx: pip install -r requirements/docs.txt")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    return importlib.import_module("site_pages")


def slug(heading: str) -> str:
    """GitHub's and MyST's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"(?s)```.*?```|`[^`]*`", "", page.read_text())
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue  # out into the world: `make docs-links`
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        made = (ROOT / "docs" / "reference") in file.parents  # not in a checkout: docs/reference.md says how to make it
        headings = re.findall(r"(?m)^#+ (.*)$", file.read_text()) if anchor and file.suffix == ".md" and file.is_file() else None
        if made or not file.exists() or (headings is not None and anchor not in map(slug, headings)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/glossary.md", "docs/add_a_backend.md", "README.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(page):
    named = re.findall(r"`((?:jepa_ros|experiments|scripts|config|launch|msg|srv|weights|test|docs)/[\w/.]+)`", (ROOT / page).read_text())
    assert [name for name in named if not (ROOT / name).exists() and "/_build/" not in name] == []


def test_commands_name_files_that_exist():
    """In what developers and CI run: a moved test would otherwise fail only at the next commit of somebody else."""
    for file in ("Makefile", ".pre-commit-config.yaml"):
        named = re.findall(r"(?<![\w/])((?:test|scripts|requirements|config)/[\w/]+\.(?:py|sh|txt|yaml))", (ROOT / file).read_text())
        assert [name for name in named if not (ROOT / name).exists()] == [], file


def test_the_front_page_is_short_and_moves_lightly():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= README_LINES
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme):
        assert (ROOT / picture).stat().st_size < FILM_MB * 1e6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_that_is_shown_is_complete(page):
    """Pasted into a file as it stands, it has every import that it needs."""
    for block in re.findall(r"(?ms)^```python\n(.*?)^```", page.read_text()):
        ruff = [sys.executable, "-m", "ruff", "check", "--quiet", "--no-cache", "--isolated", "--select", "E9,F821", "-"]
        checked = subprocess.run(ruff, input=block, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_weights_file_has_a_card(site_pages):
    cards = (ROOT / "docs" / "model_cards.md").read_text()
    for path in (ROOT / "weights").rglob("*.safetensors"):
        carded = any(f"## {name}" in cards for name in (path.name, f"{path.parent.name}/"))
        assert carded, f"{path.name}: data, use, limits and licence in docs/model_cards.md"
        assert re.match(r"\d+\.\d MB, [\d,]+ numbers in \d+ tensors", site_pages.weight_facts(path))


def test_the_parameter_page_names_every_parameter(site_pages):
    pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
    from jepa_ros.ros.parameters import walk_fields
    from jepa_ros.ros.world_model.config import WorldModelConfig

    page = site_pages.parameters_page(ROOT)
    sections = dict(re.findall(r"(?ms)^## (\w+)$(.*?)(?=^## |\Z)", page))
    assert {"world_model", "planner", "simulator", "bag_player"} <= set(sections)
    for name, (_, field) in walk_fields(WorldModelConfig):
        row = next(line for line in sections["world_model"].splitlines() if line.startswith(f"| `{name}` |"))
        assert field.metadata["description"].split("*")[0].split("|")[0].split("<")[0] in row
    assert '| `model` | `"scene_jepa"` |' in sections["world_model"]


def test_the_interface_page_names_every_field(site_pages):
    page = site_pages.interfaces_page(ROOT)
    for path in [*(ROOT / "msg").glob("*.msg"), *(ROOT / "srv").glob("*.srv"), *(ROOT / "action").glob("*.action")]:
        section = re.search(rf"(?ms)^## {path.stem}$(.*?)(?=^## |\Z)", page).group(1)
        for line in path.read_text().splitlines():
            declaration = line.split("#")[0].split()
            if len(declaration) > 1:
                assert f"| `{declaration[0]}` | `{declaration[1]}` |" in section
    assert "stamp of the newest sensor sample used" in page


def test_no_public_name_is_undocumented(site_pages):
    assert list(site_pages.undocumented(ROOT)) == []
