"""Fetch pictures from hosts that were allowed, and from nowhere else.

A request could otherwise make the server ask machines that only the server can reach. So the host must be on the list,
all its addresses must be public ones, the connection goes to the very address that was checked, and a redirect is not
followed.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

import httpx

from recipes.serving.errors import RefusedError

SECONDS = 10.0
PORTS = {"https": 443, "http": 80}
TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
"""Addresses that a gateway turns into any IPv4 address (RFC 6052, RFC 8215)."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def addresses(host: str, port: int) -> list[str]:
    """The IP addresses of a host, as the system finds them.

    Raises:
        OSError: if there are none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet: not to this machine, a private network or a special purpose."""
    parsed = ip_address(address.partition("%")[0])
    inner = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    if isinstance(parsed, IPv6Address) and any(parsed in network for network in TRANSLATED):
        return False
    return parsed.is_global and not parsed.is_multicast and (inner is None or inner.is_global)


class Fetcher:
    """Fetches pictures by URL.

    Args:
        hosts: names of hosts, `HOST` or `HOST:PORT`; none: nothing is fetched.
        resolve: finds the addresses of a host.
        allowed: whether an address may be asked.
    """

    def __init__(
        self, hosts: Sequence[str] = (), *, resolve: Resolve = addresses, allowed: Callable[[str], bool] = is_public
    ) -> None:
        self.hosts, self.resolve, self.allowed = frozenset(host.lower() for host in hosts), resolve, allowed

    async def fetch(self, url: str, param: str, max_bytes: int, advice: str = "make it smaller") -> bytes:
        """The content of a URL.

        Args:
            url: http or https.
            param: the part of the request that has it, for messages.
            max_bytes: largest content.
            advice: what to do with a larger one.

        Raises:
            RefusedError: if it may not be fetched, cannot be, or is larger; the message does not say what answered.
        """
        try:
            async with asyncio.timeout(SECONDS):
                return await self._fetched(url, max_bytes, advice)
        except _UnusableError as error:
            raise RefusedError(400, f"{param}: {error}", param=param, code="invalid_image_url") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            message = f"{param}: the picture could not be fetched: give it as a data: URL"
            raise RefusedError(400, message, param=param, code="invalid_image_url") from error

    async def _fetched(self, url: str, max_bytes: int, advice: str) -> bytes:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
        if not self.hosts:
            raise _UnusableError("pictures are not fetched from anywhere: give it as a data: URL")
        if parts.scheme not in PORTS or parts.username is not None or parts.password is not None:
            raise _UnusableError("expected https://HOST/..., or a data: URL")
        named = host if parts.port is None else f"{host}:{parts.port}"
        if named not in self.hosts:
            raise _UnusableError("pictures are not fetched from this host: give it as a data: URL")
        found = await self.resolve(host, port)
        if not found or not all(self.allowed(address) for address in found):
            raise _UnusableError("this host has an address that is not public: give the picture as a data: URL")
        # Not the name again, which could have another address by now; the certificate is still that of the name.
        target = httpx.URL(url).copy_with(host=found[0])
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=SECONDS) as client:
            request = client.build_request(
                "GET",
                target,
                headers={"host": parts.netloc, "accept-encoding": "identity"},
                extensions={"sni_hostname": host},
            )
            response = await client.send(request, stream=True)
            try:
                if response.is_redirect:
                    raise _UnusableError("the host redirects, which is not followed: give the picture's own address")
                if response.status_code != 200:
                    raise _UnusableError(f"the host answered with status {response.status_code}")
                if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
                    # A few bytes could unfold to gigabytes before their number is known.
                    raise _UnusableError("the host compresses the picture's file, which was not asked for")
                content = bytearray()
                async for piece in response.aiter_raw():
                    content += piece
                    if len(content) > max_bytes:
                        raise _UnusableError(f"a picture of more than {max_bytes // 10**6} MB: {advice}")
                return bytes(content)
            finally:
                await response.aclose()


class _UnusableError(Exception):
    """Why a URL is not fetched, in words for the client."""
