"""The explorer's web server: its page, and the images and numbers that the page asks for."""

import math
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gan_lab.config.ranges import SEED, TRUNCATION
from gan_lab.errors import GanLabError, UserError, useful_line
from gan_lab.use.explore.library import Library, View

HOST = "127.0.0.1"
STATIC = Path(__file__).parent / "static"
POLICY = "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'self'"


def make_app(library: Library) -> Any:
    """Return the Flask application. It answers only requests for this machine, by name or address.

    A parameter that cannot be used is answered with status 400 and {"error": one sentence}.
    """
    from flask import Flask, Response, abort, jsonify, request, send_file, send_from_directory

    app = Flask("gan_lab.explore", static_folder=None)
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
        return send_from_directory(STATIC, "explore.html")

    @app.get("/static/<name>")
    def static_file(name: str) -> Response:
        return send_from_directory(STATIC, name)

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
    towards = _number(arguments, "to", None, SEED.holds, SEED.text, int)
    y = _number(arguments, "class", None, lambda c: 0 <= c < 2**31, "a whole number from 0", int)
    steps = [part for part in arguments.get("d", "").split(",") if part]
    return View(
        seed=_number(arguments, "seed", 0, SEED.holds, SEED.text, int),
        towards=towards,
        t=_number(arguments, "t", 0.0, lambda t: 0 <= t <= 1, "from 0 to 1", float),
        y=y,
        truncation=_number(arguments, "truncation", 1.0, TRUNCATION.holds, TRUNCATION.text, float),
        steps=tuple(
            _number({"d": part}, "d", 0.0, lambda d: abs(d) <= 1000, "numbers from -1000 to 1000", float)
            for part in steps
        ),
    )


def _number(arguments: Any, key: str, default: Any, holds: Any, text: str, kind: Any) -> Any:
    given = arguments.get(key, "")
    if given == "":
        return default
    try:
        value = kind(given)
        if math.isfinite(value) and holds(value):
            return value
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{key}={given}: must be {text}")


def serve(runs: Sequence[Path], port: int = 8765, device: str = "auto", extensions: Sequence[str] = ()) -> Any:
    """Return a server for the explorer of these runs, on this machine only: `serve_forever()`, `shutdown()`, `port`.

    UserError if Flask is missing, there are no runs, or the port is not free (0: any that is).
    """
    if find_spec("flask") is None:
        raise UserError("the explorer needs Flask: pip install 'gan_lab[explore]'")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    library = Library(runs, device, extensions)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise UserError(f"port {port} cannot be used ({error.strerror}); choose port={port + 1}") from error
    server = make_server(
        HOST, listener.getsockname()[1], make_app(library), threaded=True, request_handler=Quiet, fd=listener.fileno()
    )
    server.listener = listener  # type: ignore[attr-defined]  # closed when nothing holds it
    return server
