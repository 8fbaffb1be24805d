"""The site builds without a warning, from links that lead somewhere, and loads nothing from elsewhere."""

import html.parser
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "docs" / "_ext"))
from offline_math import convert  # noqa: E402
from plain_docstrings import to_rst  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]


class Links(html.parser.HTMLParser):
    """Collects a page's anchors, the addresses it links to, and those that it loads."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])
        elif tag == "link" and "stylesheet" in (given.get("rel") or "") or tag in ("script", "img", "source", "iframe"):
            self.loaded.add(given.get("src") or given.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {path.relative_to(out).as_posix(): Links(path.read_text()) for path in out.rglob("*.html")}, out


@pytest.mark.slow
def test_no_link_is_broken_and_nothing_is_loaded_from_elsewhere(site):
    pages, out = site
    assert len(pages) > 20
    for name, page in pages.items():
        for address in page.loaded - {""}:
            assert not urllib.parse.urlsplit(address).netloc, (name, address)
        for address in page.links:
            parts = urllib.parse.urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (out / name).parent / urllib.parse.unquote(parts.path) if parts.path else out / name
            assert target.exists(), (name, address)
            linked = pages.get(target.resolve().relative_to(out.resolve()).as_posix())
            if parts.fragment and linked and name not in ("search.html", "genindex.html"):
                assert urllib.parse.unquote(parts.fragment) in linked.anchors, (name, address)


@pytest.mark.slow
def test_formulas_code_and_docstrings_are_on_their_pages(site):
    _, out = site
    spectral = (out / "papers" / "spectral_norm.html").read_text()
    assert spectral.count("<math") > 10 and "<msub>" in spectral and "MathJax" not in spectral
    assert "svdvals" in spectral and "power_step" in spectral
    api = (out / "reference" / "api.html").read_text()
    assert 'id="gan_lab.norms.SpectralNorm"' in api and "sigma_1" in api
    assert "searchindex.js" in (out / "search.html").read_text() and (out / "searchindex.js").stat().st_size > 10_000


def test_a_formula_becomes_mathml():
    made = convert(r"\frac{W}{\sigma_1}")
    assert made.startswith("<math") and "<mfrac>" in made and "&#x003C3;" in made.replace("σ", "&#x003C3;")


def test_a_docstring_becomes_restructured_text():
    doc = """
Return `x_` or *y*, as a_ is.

    W / s

- one
  more
Args:
    n: how many,
        at most.
Returns:
    `out`.
"""
    made = "\n".join(to_rst(doc.strip().splitlines()))
    expected = """
Return ``x_`` or \\*y\\*, as a\\_ is.

::

    W / s

- one
  more

**Args**

- ``n``: how many,
  at most.

**Returns**

``out``.
"""
    assert re.sub(r"\n{3,}", "\n\n", made) == expected.strip()
