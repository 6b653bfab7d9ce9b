"""What the tests of pages look at."""

from html.parser import HTMLParser

VOID = {"meta", "img", "input", "!doctype"}


class Page(HTMLParser):
    """Collects texts, links, ids and tags of a page, and fails on tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.ids, self.texts, self._open = [], [], [], [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids.append(attributes.get("id"))
        self.links += [attributes[key] for key in ("href", "src") if key in attributes]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("script", "style"):
            self.texts.append(data.strip())

    @property
    def needs_other_files(self):
        """Links that neither stay in the page nor hold their data."""
        return [link for link in self.links if not link.startswith(("#", "data:image/"))]
