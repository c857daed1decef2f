"""The pages of the site that lie outside docs/, and links between them and those inside, for mkdocs (`make site`).

Pages link to each other as files of the repository, where they are read as well. Here such a link becomes one between
pages; one to a file that is no page of the site becomes plain text, and one to a file that is not there stays as it is,
for `mkdocs build --strict` to fail on.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "models/README.md": "models.md",
}
"""Files of the repository, and the pages that they are on the site."""

_FILES = {page: file for file, page in OUTSIDE.items()}
_LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<target>[^)#:\s]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages outside of docs/."""
    from mkdocs.structure.files import File

    for file, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Links between files, as links between pages."""
    return relinked(markdown, page.file.src_uri)


def relinked(markdown: str, page: str) -> str:
    """The text of a page of the site, whose links are those of its file in the repository."""
    file = _FILES.get(page, f"docs/{page}")

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), match["target"]))
        inside = OUTSIDE.get(target, target.removeprefix("docs/") if target.startswith("docs/") else None)
        if inside is not None:
            to = posixpath.relpath(inside, posixpath.dirname(page) or ".")
            return f"[{match['text']}]({to}{match['anchor'] or ''})"
        return match["text"] if (ROOT / target).exists() else match[0]

    return _LINK.sub(link, markdown)
