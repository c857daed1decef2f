"""The documentation as a site: every page is in its nav, and every link leads somewhere there as well."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backend.site_pages import OUTSIDE, relinked

ROOT = Path(__file__).parents[2]
NAV = re.findall(r"^ +- ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_nav_has_every_page_once():
    docs = {file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")}
    assert len(NAV) == len(set(NAV))
    assert set(NAV) == docs | set(OUTSIDE.values())


@pytest.mark.parametrize(
    ("page", "link", "becomes"),
    [
        ("index.md", "[a](docs/tune.md#figures)", "[a](tune.md#figures)"),
        ("index.md", "![a](docs/images/report.png)", "![a](images/report.png)"),
        ("index.md", "[a](CONTRIBUTING.md)", "[a](contributing.md)"),
        ("index.md", "see [LICENSE](LICENSE).", "see LICENSE."),
        ("models.md", "[a](../docs/costs.md)", "[a](costs.md)"),
        ("models.md", "[a](train_digits.py)", "a"),
        ("design.md", "[a](../CONTRIBUTING.md#rules)", "[a](contributing.md#rules)"),
        ("design.md", "[a](tune.md) [b](cli.md)", "[a](tune.md) [b](cli.md)"),
        ("design.md", "[a](#here) [b](https://example.org/x.md)", "[a](#here) [b](https://example.org/x.md)"),
        ("design.md", "[a](../missing.md)", "[a](../missing.md)"),
        ("tutorials/add_a_form.md", "[a](../../CONTRIBUTING.md#recipes)", "[a](../contributing.md#recipes)"),
        ("tutorials/add_a_form.md", "[a](../cli.md) [b](convert_in_ci.md)", "[a](../cli.md) [b](convert_in_ci.md)"),
    ],
)
def test_links_between_files_become_links_between_pages(page, link, becomes):
    assert relinked(link, page) == becomes


@pytest.fixture
def checkout(tmp_path):
    pytest.importorskip("material", reason="the site is built by mkdocs-material: pip install 'tse-onnx[docs]'")
    for name in ("docs", "backend", "models"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.onnx", "__pycache__"))
    for name in ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "examples").mkdir()
    return tmp_path


def built(checkout):
    words = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(words, cwd=checkout, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_is_built(checkout):
    done = built(checkout)
    assert done.returncode == 0, done.stderr
    for page in NAV:
        text = (checkout / "build" / "site" / page).with_suffix(".html").read_text(encoding="utf-8")
        assert not re.findall(
            r"<(?:script|img)[^>]* src=\"https?:|<link[^>]* rel=\"stylesheet\"[^>]* href=\"https?:", text
        )


@pytest.mark.slow
def test_a_link_that_leads_nowhere_fails(checkout):
    targets = ("missing.md", "../no_file.md", "tune.md#no-heading", "images/no_picture.png")
    with (checkout / "docs" / "data.md").open("a", encoding="utf-8") as page:
        page.writelines(f"\n[a]({target})\n" for target in targets)
    done = built(checkout)
    assert done.returncode == 1
    assert [target for target in targets if f"'{target}'" not in done.stderr] == []
