"""A page as a browser takes it apart."""

from __future__ import annotations

from html.parser import HTMLParser

#: What report.html lets the browser do: show its own styles and pictures. It loads nothing and runs nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Page(HTMLParser):
    """The elements of a page with their attributes, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def require_self_contained(self) -> None:
        """No script, no handler, nothing loaded from anywhere, and a policy that says so to the browser."""
        assert {tag for tag, _ in self.elements}.isdisjoint({"script", "iframe", "object", "link", "base", "form"})
        for _, attributes in self.elements:
            assert not [name for name in attributes if name.startswith("on") or name == "href"]
            assert (attributes.get("src") or "data:image/svg+xml;base64,").startswith("data:image/svg+xml;base64,")
        policies = [a["content"] for tag, a in self.elements if tag == "meta" and "http-equiv" in a]
        assert policies == [POLICY]
