"""Pictures by URL: only from hosts that were allowed, at public addresses, without redirects, up to a size."""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recipes.serving import pictures
from recipes.serving.errors import RefusedError
from recipes.serving.fetching import Fetcher, is_public
from recipes.serving.pictures import all_picture_bytes
from recipes.serving.prompts import PictureUrl

ASKED_AS = []


class Host(BaseHTTPRequestHandler):
    """Serves /picture, redirects /moved to it, serves /packed compressed, and remembers by which name it was asked."""

    def do_GET(self):
        ASKED_AS.append(self.headers["host"])
        self.send_response({"/picture": 200, "/packed": 200, "/moved": 302}.get(self.path, 404))
        if self.path == "/packed":
            self.send_header("content-encoding", "gzip, gzip")
        if self.path == "/moved":
            self.send_header("location", "/picture")
        self.end_headers()
        if self.path == "/picture":
            self.wfile.write(b"x" * 1000)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def port():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def fetcher(hosts, *, found=("127.0.0.1",), allowed=lambda address: True):
    async def resolve(host, port):
        return found

    return Fetcher(hosts, resolve=resolve, allowed=allowed)


def fetched(url, hosts, *, max_bytes=1000, **options):
    return asyncio.run(fetcher(hosts, **options).fetch(url, "url", max_bytes))


def test_from_an_allowed_host(port):
    ASKED_AS.clear()
    host = f"Pictures.example.com:{port}"
    assert fetched(f"http://{host}/picture", [host]) == b"x" * 1000
    # The connection went to the address that was checked, with the name as it was given.
    assert [host] == ASKED_AS


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/picture", {"hosts": []}, "not fetched from anywhere"),
        ("/picture", {"hosts": ["other.example.com"]}, "not fetched from this host"),
        ("/picture", {"allowed": is_public}, "an address that is not public"),
        ("/picture", {"allowed": is_public, "found": ("93.184.215.14", "10.0.0.1")}, "an address that is not public"),
        ("/picture", {"found": ()}, "an address that is not public"),
        ("/moved", {}, "the host redirects, which is not followed"),
        ("/none", {}, "the host answered with status 404"),
        ("/packed", {}, "the host compresses the picture's file"),
        ("/picture", {"max_bytes": 999}, "a picture of more than 0 MB"),
    ],
)
def test_what_is_not_fetched(port, path, options, message):
    host = f"pictures.example.com:{port}"
    with pytest.raises(RefusedError, match=message) as refused:
        fetched(f"http://{host}{path}", **({"hosts": [host]} | options))
    assert refused.value.status == 400
    assert refused.value.param == "url"


def test_all_pictures_of_a_request_have_one_limit(port, monkeypatch):
    """One that does not fit any more is not read to its end; what the request has itself does not count."""
    monkeypatch.setattr(pictures, "MAX_FETCHED", 2_500)
    host = f"pictures.example.com:{port}"
    fetch = PictureUrl(f"http://{host}/picture", "one")
    own = PictureUrl("data:image/png;base64," + "AAAA" * 1000, "own")
    two = asyncio.run(all_picture_bytes([fetch, own, fetch], fetcher([host])))
    assert [(len(data), param) for data, param in two] == [(1000, "one"), (3000, "own"), (1000, "one")]
    with pytest.raises(RefusedError, match="0 MB are fetched for a request at most, give fewer or smaller") as refused:
        asyncio.run(all_picture_bytes([fetch, own, fetch, PictureUrl(fetch.url, "third")], fetcher([host])))
    assert (refused.value.status, refused.value.param) == (400, "third")


def test_seconds_of_all_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_SECONDS", 0.1)
    hosts, asked = Fetcher(["pictures.example.com"]), []

    async def slow(url, *_):
        asked.append(url)
        await asyncio.sleep(0.06)
        return b"x"

    monkeypatch.setattr(hosts, "fetch", slow)
    with pytest.raises(RefusedError, match=r"took more than 0.1 s: give fewer") as refused:
        asyncio.run(all_picture_bytes([PictureUrl("http://pictures.example.com/a", "a")] * 20, hosts))
    assert refused.value.status == 400
    assert len(asked) < 20


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://user:word@a.example.com/",
        "ftp://a.example.com/x",
        "http://[::1/",
        "http://a.example.com:99999/",
        "//a.example.com/x",
        "a.png",
        "http://a.example.com\\@b.example.com/",
        "",
    ],
)
def test_odd_addresses(url):
    with pytest.raises(RefusedError) as refused:
        fetched(url, ["a.example.com"], allowed=is_public)
    assert refused.value.status == 400
    assert "127.0.0.1" not in refused.value.message


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::", "64:ff9b:1::1", "64:ff9b::7f00:1"),
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


def test_addresses_that_are_public():
    assert is_public("93.184.215.14")
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")
