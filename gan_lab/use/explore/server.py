"""The explorer's web server: its page, and the images and numbers that the page asks for."""

import math
import os
import socket
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gan_lab.config.ranges import SEED, TRUNCATION, Range
from gan_lab.errors import GanLabError, UserError, useful_line
from gan_lab.use.explore.library import Library, View

HOST = "127.0.0.1"
STATIC = Path(__file__).parent / "static"
POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'self'"
_CLASS = Range(lambda c: 0 <= c < 2**31, "a whole number from 0")
_SHARE = Range(lambda t: 0 <= t <= 1, "from 0 to 1")
_STEP = Range(lambda d: abs(d) <= 1000, "numbers from -1000 to 1000")


def make_app(library: Library) -> Any:
    """Return the Flask application. It answers only requests for this machine, by name or address.

    A parameter that cannot be used is answered with status 400 and {"error": one sentence}.
    """
    from flask import Flask, Response, abort, jsonify, request, send_file

    app = Flask("gan_lab.explore", static_folder=STATIC)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # curves in the order of the rows

    @app.before_request
    def only_from_here() -> None:
        without_port = request.host.rpartition(":")[0].strip("[]")
        if not {request.host, without_port} & {HOST, "localhost"}:
            abort(403)  # a page elsewhere whose name was made to point here

    @app.after_request
    def headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.errorhandler(GanLabError)
    def told(error: GanLabError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400

    @app.errorhandler(500)
    def failed(error: Any) -> tuple[Response, int]:
        cause = getattr(error, "original_exception", None) or error
        return jsonify(error=f"this failed: {useful_line(cause)}"), 500

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("explore.html")

    @app.get("/runs")
    def runs() -> Response:
        return jsonify([library.describe(name) for name in library.runs()])

    @app.get("/generator")
    def generator() -> Response:
        return jsonify(library.properties(*_which(request.args)))

    @app.get("/image")
    def image() -> Response:
        return Response(library.image(*_which(request.args), view_of(request.args)), mimetype="image/png")

    @app.get("/progress")
    def progress() -> Response:
        return jsonify(library.progress(request.args.get("run", "")))

    @app.get("/grid")
    def grid() -> Response:
        found = library.grid(request.args.get("run", ""))
        if found is None:
            raise UserError(f"run={request.args.get('run', '')} has no sample grid yet")
        return send_file(found[1].resolve(), mimetype="image/png")

    return app


def _which(arguments: Any) -> tuple[str, str]:
    return arguments.get("run", ""), arguments.get("checkpoint") or "latest"


def view_of(arguments: Any) -> View:
    """Read a view from the parameters of a request. UserError for one of them that cannot be used."""
    return View(
        towards=_number(arguments, "to", None, SEED, int),
        y=_number(arguments, "class", None, _CLASS, int),
        seed=_number(arguments, "seed", 0, SEED, int),
        t=_number(arguments, "t", 0.0, _SHARE, float),
        truncation=_number(arguments, "truncation", 1.0, TRUNCATION, float),
        steps=tuple(_number({"d": part}, "d", 0.0, _STEP, float) for part in arguments.get("d", "").split(",") if part),
    )


def _number(arguments: Any, key: str, default: Any, allowed: Range, kind: Callable[[str], Any]) -> Any:
    given = arguments.get(key, "")
    if given == "":
        return default
    try:
        value = kind(given)
        if math.isfinite(value) and allowed.holds(value):
            return value
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{key}={given}: must be {allowed.text}")


def serve(runs: Sequence[Path], port: int = 8765, device: str = "auto", extensions: Sequence[str] = ()) -> Any:
    """Return a server for the explorer of these runs, on this machine only: `serve_forever()`, `shutdown()`, `port`.

    UserError if Flask is missing, there are no runs, or the port is not free (0: any that is).
    """
    if find_spec("flask") is None:
        raise UserError("the explorer needs Flask: pip install flask")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    library = Library(runs, device, extensions)
    try:
        listener = socket.create_server((HOST, port), backlog=64)
    except OSError as error:
        raise UserError(
            f"port {port} cannot be used ({os.strerror(error.errno or 0)}); choose port={port + 1}"
        ) from error
    server = make_server(
        HOST, listener.getsockname()[1], make_app(library), threaded=True, request_handler=Quiet, fd=listener.fileno()
    )
    server.listener = listener  # type: ignore[attr-defined]  # closed when nothing holds it
    return server
