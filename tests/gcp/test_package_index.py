"""The index as pip reads it."""

from __future__ import annotations

from airflow_gar_provider.gcp.package_index import IndexFile, read_index_page

URL = "https://europe-west1-python.pkg.dev/p/r/simple/acme/"
PAGE = """<!DOCTYPE html><html><head><title>Links for acme</title></head><body>
<a href="/p/r/acme/abc/acme-1.0-py3-none-any.whl#sha256=abc" data-requires-python="&gt;=3.9">acme-1.0</a><br/>
<A HREF='../../acme/acme-1.0%2Blocal.1.tar.gz' data-yanked>x</A>
<a href="https://example.com/acme-2.0.zip#md5=1" data-yanked="it &amp; fails">y</a>
<a name="no link">z</a>
</body></html>"""


def test_links_are_read_as_pep_503_and_592_write_them() -> None:
    """Relative links, escapes, hashes of another kind, yanked with and without a reason."""
    assert read_index_page(PAGE, URL) == (
        IndexFile(
            file="acme-1.0-py3-none-any.whl",
            sha256="abc",
            requires_python=">=3.9",
            url="https://europe-west1-python.pkg.dev/p/r/acme/abc/acme-1.0-py3-none-any.whl",
            yanked=None,
        ),
        IndexFile(
            file="acme-1.0+local.1.tar.gz",
            sha256=None,
            requires_python=None,
            url="https://europe-west1-python.pkg.dev/p/r/acme/acme-1.0%2Blocal.1.tar.gz",
            yanked="",
        ),
        IndexFile(
            file="acme-2.0.zip",
            sha256=None,
            requires_python=None,
            url="https://example.com/acme-2.0.zip",
            yanked="it & fails",
        ),
    )


def test_a_base_moves_the_links_that_follow() -> None:
    """Old indexes have one."""
    page = '<base href="https://files.example.com/d/"><a href="acme-1.0.tar.gz">a</a>'
    assert [file.url for file in read_index_page(page, URL)] == ["https://files.example.com/d/acme-1.0.tar.gz"]
