"""The guides and the API reference: built without a warning, with all that is public, linked to what there is."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from airflow_gar_provider import errors, operators, rollout, sensors
from airflow_gar_provider.provider_info import get_provider_info

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(file for file in DOCS.rglob("*.md") if not {"_build", "_pages"} & set(file.parts))


def error_classes() -> dict[str, type[Exception]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.GarProviderError)
    }


def leaves() -> set[str]:
    return {name for name, value in error_classes().items() if not value.__subclasses__()}


@dataclass
class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    file: Path
    links: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "img":
            self.pictures.append(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages. Where Sphinx is not installed (it is for the newest Airflow only), there are none."""
    pytest.importorskip("sphinx", reason="the guides are built beside the newest Airflow only", exc_type=ImportError)
    folder = tmp_path_factory.mktemp("docs")
    options = ["--nitpicky", "--fail-on-warning", "--keep-going", "--quiet", "--doctree-dir", str(folder / "doctrees")]
    command = [sys.executable, "-m", "sphinx", "--builder", "html", *options, str(DOCS), str(folder / "html")]
    built = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert not re.findall(r".*(?:WARNING|ERROR).*", built.stderr), built.stderr
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html")}


@pytest.mark.slow
def test_every_public_name_has_an_entry(pages: dict[Path, Page]) -> None:
    """Operators, sensors, triggers, hooks, errors, and what `rollout` exports."""
    info = get_provider_info()
    triggers = {
        f"{name}.{value.__name__}"
        for group in (*info["triggers"], *info["hooks"])
        for name in group["python-modules"]
        for value in vars(import_module(name)).values()
        if inspect.isclass(value)
        and value.__module__ == name
        and re.fullmatch(r"[A-Z]\w+(Trigger|Hook)", value.__name__)
    }
    assert len(triggers) > 5
    wanted = {f"{module.__name__}.{name}" for module in (operators, sensors, rollout) for name in module.__all__}
    wanted |= triggers | {f"airflow_gar_provider.errors.{name}" for name in error_classes()}
    there = {anchor for page in pages.values() for anchor in page.anchors}
    assert wanted - there == set()


@pytest.mark.slow
def test_every_link_and_every_picture_leads_somewhere(pages: dict[Path, Page]) -> None:
    """To a page, a part of a page, or a file; and nothing is fetched from elsewhere to show a page."""
    wrong = []
    for file, page in pages.items():
        for link in [*page.links, *page.pictures]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file.resolve()
            known = pages.get(target)
            if not target.exists() or (parts.fragment and known and unquote(parts.fragment) not in known.anchors):
                wrong.append(f"{file.name}: {link}")
        wrong += [f"{file.name}: {picture}" for picture in page.pictures if urlsplit(picture).netloc]
    assert wrong == []


@pytest.mark.slow
def test_markdown_is_not_left_over_in_docstrings(site: Path) -> None:
    """What is code in a docstring is shown as code, and fields are a table and not text."""
    for name in ("operators", "sensors", "rollout", "errors"):
        text = (site / "reference" / f"{name}.html").read_text(encoding="utf-8")
        article = text[text.index("<article") : text.index("</article>")]
        shown = re.sub(r"<[^>]+>", "", article)
        assert "`" not in shown
        assert not re.search(r":(param|return|raises)\b", shown)
        assert not set(re.findall(r"Raises (\w+Error)", article)) & set(error_classes())  # without a link


def test_every_guide_is_reached_from_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    names = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES} - {"index", "pictures/README"}
    tree = set(re.findall(r"^([\w/-]+)$", index, re.MULTILINE))
    assert {name for name in tree if not name.startswith("_pages/")} == names
    assert {link.removesuffix(".md") for link in re.findall(r"\]\(([\w/-]+\.md)\)", index)} == names


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "SECURITY.md"], ids=lambda page: page.name)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    """As GitHub reads them: files that exist, and headings that the files have."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if heading:
            slugs = {slug(line) for line in re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)}
            assert heading in slugs, link


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_error_has_its_section() -> None:
    """Every class that can be raised is explained in docs/operations.md, and nothing else is."""
    text = (DOCS / "operations.md").read_text(encoding="utf-8").partition("\n## Errors\n")[2]
    sections = set(re.findall(r"^#### (\w+)$", text, re.MULTILINE))
    assert leaves() - sections == set()
    assert sections - set(error_classes()) == set()
    for name in sections:
        body = text.partition(f"#### {name}\n")[2].partition("\n#")[0]
        assert re.search(r"Another\s+try:\s", body), name


def test_every_cause_of_a_failed_build_has_its_row() -> None:
    from airflow_gar_provider.core.cause import Cause

    text = (DOCS / "operations.md").read_text(encoding="utf-8").partition("| `cause` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) == {cause.value for cause in Cause}


def test_the_tree_at_the_top_of_errors_is_the_tree() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or "")) | {"GarProviderError"}
    assert drawn == set(error_classes())


def test_the_state_and_the_ledger_are_told_as_they_are() -> None:
    """Every object below a fleet's state has its row, and every field of the ledger."""
    from airflow_gar_provider.steps import fleet_state, roll_out

    text = (DOCS / "operations.md").read_text(encoding="utf-8").partition("\n## The state of a rollout\n")[2]
    objects, _, ledger = text.partition("\n### The ledger\n")
    assert kinds(re.findall(r"^\| `([\w/.,]+)`", objects, re.MULTILINE)) == kinds(
        re.findall(r"^ {4}([A-Z\w/.,]+) {2,}", fleet_state.__doc__ or "", re.MULTILINE)
    )
    fields = re.findall(r"^ {8}\"(\w+)\":", inspect.getsource(roll_out.ledger_entry), re.MULTILINE)
    rows = ledger.partition("\n```")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.+?) \|", rows, re.MULTILINE)))) == set(fields)


def kinds(names: list[str]) -> set[str]:
    """What tells an object from others: its first folder, and of a run's the second one."""
    return {"/".join(name.split("/")[: 2 if name.startswith("RUN") else 1]) for name in names}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.name
)
def test_python_in_guides_is_python(page: Path) -> None:
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)):
        compile(block, f"{page.name}, block {number}", "exec")
