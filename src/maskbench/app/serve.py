"""Page and API behind one port, until Ctrl-C; nothing that was handed in outlives the server."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from maskbench.app.http import make_api
from maskbench.app.service import Service
from maskbench.config import ConfigError

#: Seconds that open connections are given when the server ends.
_FAREWELL = 2


def make_app(service: Service, examples: Sequence[Path], *, min_score: float) -> FastAPI:
    """API and page of a service; inside `upload_folder`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import gradio as gr

    from maskbench.app.page import CSS, make_page

    page = make_page(service, examples, min_score=min_score)
    system = ["system-ui", "sans-serif"]  # a theme's own would be loaded from another host
    app: FastAPI = gr.mount_gradio_app(
        make_api(service, min_score=min_score), page, path="/", footer_links=[], run_history=False, ssr_mode=False,
        enable_monitoring=False, pwa=False, mcp_server=False, show_error=False, max_file_size=service.max_bytes,
        theme=gr.themes.Default(font=system, font_mono=["ui-monospace", "monospace"]), css=CSS,
    )  # fmt: skip
    # Of a mounted page gradio believes that it has not begun, and lets every file of the machine be named as an input.
    page.has_launched = True
    return app


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0: any that is free.

    Raises:
        ConfigError: the port is taken or not allowed, or the host is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"--host {host}: not an address of this machine") from error
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen()
    except OSError as error:
        bound.close()
        reasons = {
            errno.EACCES: f"--port {port}: not allowed; choose one above 1023",
            errno.EADDRINUSE: f"--port {port}: taken by another program; choose another, e.g. --port {port + 1}",
        }
        other = f"--host {host}: cannot be listened at ({error.strerror})"
        raise ConfigError(reasons.get(error.errno or 0, other)) from error
    return bound


def is_local(host: str) -> bool:
    """Whether only this machine can reach a server at `host`.

    Example:
        >>> is_local("127.0.0.1"), is_local("localhost"), is_local("::1"), is_local("0.0.0.0")
        (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_server(app: FastAPI) -> uvicorn.Server:
    """What answers for an app; it says only what went wrong."""
    return uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=_FAREWELL))


def serve(app: FastAPI, bound: socket.socket, say: Callable[[str], None]) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)  # an ordinary end, so that uploads are deleted
    host, port = bound.getsockname()[:2]
    say(f"maskbench app: http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)")
    with suppress(KeyboardInterrupt):  # how it is ended
        make_server(app).run(sockets=[bound])


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
