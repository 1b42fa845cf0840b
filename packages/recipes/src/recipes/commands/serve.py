"""Answer over HTTP, with one or several saved models."""

import argparse
import os
import socket
import sys

from foveal.core import Size
from recipes.answering.model import opened
from recipes.command_line.console import calm, interrupts_end, short_errors
from recipes.reading.extras import extra

PICTURE = Size(672, 672)
"""Size of the pictures of a full batch for which a GPU must have room."""
KEY = "FOVEAL_API_KEY"
LOCAL = ("127.0.0.1", "localhost", "::1", "[::1]")
"""Addresses of this machine alone, and how browsers write them."""


def main(options: argparse.Namespace) -> None:
    """Load the models, then answer until SIGTERM or Ctrl-C.

    Args:
        options: as `serve_options` returns them.

    Raises:
        SystemExit: with 1 for unusable input, with 130 on an interrupt before the server listens.
    """
    calm()
    with interrupts_end(), short_errors():
        _serve(options)


def _serve(options: argparse.Namespace) -> None:
    for module in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
        extra(module, "serve", "the server")
    from recipes.serving.fetching import Fetcher
    from recipes.serving.server import Server
    from recipes.serving.service import Service

    # Before the weights are read: a port that is taken is told at once.
    listening, models = _bound(options.host, options.port), {}
    for name, checkpoint in options.checkpoints.items():
        wanted = argparse.Namespace(**vars(options) | {"checkpoint": checkpoint})
        models[name] = opened(wanted, [PICTURE], "", batch_size=options.max_batch)
    key = os.environ.get(KEY) or None
    service = Service(
        models,
        max_new_tokens=options.max_new_tokens,
        max_batch=options.max_batch,
        max_requests=options.max_requests,
        cache_bytes=options.picture_cache * 10**6,
        fetcher=Fetcher(options.allow_url),
        key=key,
        hosts=LOCAL if options.host in LOCAL else None,
    )
    service.start()
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stderr.write(f"serving {', '.join(models)} at http://{shown}:{port}/v1; Ctrl-C ends\n")
    if key is None and options.host not in LOCAL:
        sys.stderr.write(f"anybody who reaches this address may ask: set {KEY} in the environment to a key\n")
    Server(service.guarded, service.state).run(sockets=[listening])
    service.stop()


def _bound(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises:
        ValueError: if it is taken, or not one of this machine.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        raise ValueError(
            f"cannot listen at {host}, port {port} ({error.strerror}): give another --host or --port"
        ) from error
    return bound
