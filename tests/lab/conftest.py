"""Pages with a live figure."""

import pytest


@pytest.fixture
def watched(browser):
    """Open pages that may neither complain nor ask another host."""
    opened, complaints = [], []

    def visit(address, **context):
        page = browser.new_page(**context)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request", lambda r: r.url.startswith(("file:", "data:")) or complaints.append(r.url)
        )
        page.goto(address)
        opened.append(page)
        return page

    yield visit
    for page in opened:
        page.close()
    assert complaints == []


@pytest.fixture
def page(watched, address):
    """The page at the `address` of a module."""
    return watched(address)
