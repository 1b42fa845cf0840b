"""What a browser would find in a page."""

import base64
import hashlib
import io
import json
from html.parser import HTMLParser

from PIL import Image


class PageReader(HTMLParser):
    """Reads a page.

    Attributes:
        blocks: contents of scripts and the style, by id, or by the element's name if there is none.
        words: all other texts.
        starts: names and attributes of all elements, in order.
    """

    def __init__(self, path):
        super().__init__()
        self.blocks, self.words, self.starts, self._open = {}, [], [], None
        self.source = path.read_bytes()
        self.feed(self.source.decode())
        self.close()

    def handle_starttag(self, tag, attrs):
        self.starts.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id", tag) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open is None:
            self.words.append(data)
        else:
            self.blocks[self._open] = self.blocks.get(self._open, "") + data

    @property
    def items(self):
        return json.loads(self.blocks["items"])

    @property
    def pictures(self):
        found = [text for name, text in self.blocks.items() if name.startswith("picture-")]
        return [Image.open(io.BytesIO(base64.b64decode(text, validate=True))) for text in found]

    @property
    def policy(self):
        return next(
            given["content"] for tag, given in self.starts if given.get("http-equiv") == "Content-Security-Policy"
        )

    def allows(self, name):
        """Whether the policy lets the style or the script of the page run."""
        found = base64.b64encode(hashlib.sha256(self.blocks[name].encode()).digest()).decode()
        return f"{name}-src 'sha256-{found}'" in self.policy
