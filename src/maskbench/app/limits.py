"""What every answer of the server keeps to: bodies of a bounded size, nothing loaded from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

#: Bytes that a form may have around its file.
ENVELOPE = 64 * 1024
#: A body that is too large is read, and forgotten, up to this many times the limit: a browser that is cut off while
#: it sends shows no answer.
_DRAINED = 8

#: The page's own scripts are inline; nothing may come from or go to another host.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class BodyLimit:
    """Answers 413 to requests whose body is too large, before anything of it is kept.

    Args:
        app: what answers the others.
        max_bytes: of a body.
        message: one line that says what is allowed.
    """

    def __init__(self, app: Application, *, max_bytes: int, message: str) -> None:
        self.app, self.max_bytes, self.message = app, max_bytes, message

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _announced(scope) > self.max_bytes:
            await self._refuse(receive, send, 0)
            return
        taken, refused = 0, False

        async def counted() -> Message:
            nonlocal taken, refused
            if refused:
                return {"type": "http.disconnect"}
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_bytes:
                refused = True
                await self._refuse(receive, send, taken)
                return {"type": "http.disconnect"}
            return message

        async def unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self.app(scope, counted, unless_refused)
        except Exception:
            if not refused:  # otherwise: the application was cut off, and the client has its answer
                raise

    async def _refuse(self, receive: Receive, send: Send, taken: int) -> None:
        while taken <= _DRAINED * self.max_bytes:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client has gone
            taken += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        body = json.dumps({"detail": self.message}, ensure_ascii=False).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": [*headers, (b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})


class SafeHeaders:
    """Adds to every answer what keeps a browser on this host."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message.get("headers", [])}
                message["headers"] = [
                    *message.get("headers", []), *(header for header in _HEADERS if header[0] not in own),
                ]  # fmt: skip
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


def _announced(scope: MutableMapping[str, Any]) -> int:
    """The body's size by its header; 0 where it says nothing."""
    text = dict(scope.get("headers", [])).get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0
