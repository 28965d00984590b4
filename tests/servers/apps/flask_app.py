"""The app of WSGI servers. The file `behaviour` of its release says what is wrong with it (tests/servers/server.py)."""

import os
import time
from pathlib import Path

release = Path(__file__).parent
time.sleep(float(os.environ.get("BOOT", "0")))
behaviour = (release / "behaviour").read_text().strip()
if behaviour == "crash":
    raise RuntimeError("this release crashes")
if behaviour == "late":
    time.sleep(1)
    import no_such_module  # noqa: F401
if behaviour == "hang":
    time.sleep(3600)

from flask import Flask, Response, abort, jsonify, request  # noqa: E402

app = Flask(__name__)
generation = int(os.environ["DEPLOYD_GENERATION"])
instance = int(os.environ["DEPLOYD_INSTANCE"])
version = release.resolve().name


@app.before_request
def fail():
    if behaviour == "errors":
        abort(500)


@app.get("/")
@app.get("/_status")
def identity():
    return jsonify(generation=generation, version=version, instance=instance, pid=os.getpid())


@app.get("/slow")
def slow():
    time.sleep(float(request.args["seconds"]))
    return identity()


@app.post("/upload")
def upload():
    return jsonify(received=len(request.get_data()))


@app.get("/download")
def download():
    return Response(b"x" * 4_000_000, mimetype="application/octet-stream")
