"""The browser, and pages of a server without a network."""

from __future__ import annotations

import pytest
from page.browser import ARGUMENTS, INSTALL, Editor, executable, serving
from page.mock_server import make_app


@pytest.fixture(scope="session")
def browser():
    """Chromium; tests that need it are skipped where there is none."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = executable(playwright)
        if path is None:
            pytest.skip(f"there is no browser; {INSTALL}")
        found = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def new_page(browser):
    """A function that opens a page; an error of a script fails the test."""
    contexts, errors = [], []

    def make(width=1280, height=800, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(f"{error} {error.stack}"))
        page.on("console", lambda message: refused(message.text))
        return page

    def refused(text):
        if "Content Security Policy" in text or "Content-Security-Policy" in text:
            errors.append(text)

    yield make
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.fixture
def app():
    """The server without a network."""
    return make_app()


@pytest.fixture
def address(app):
    """Its address."""
    with serving(app) as found:
        yield found


@pytest.fixture
def mock(app):
    """What the server holds."""
    return app.state.mock


@pytest.fixture
def editor(new_page, address):
    """The page of its session."""
    return Editor(new_page(), address)
