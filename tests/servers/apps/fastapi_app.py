"""The app of ASGI servers. The file `behaviour` of its release says what is wrong with it (tests/servers/server.py)."""

import asyncio
import os
import time
from pathlib import Path

behaviour = Path("behaviour").read_text().strip()
if behaviour == "crash":
    raise RuntimeError("this release crashes")
if behaviour == "late":
    time.sleep(1)
    import no_such_module  # noqa: F401
if behaviour == "hang":
    time.sleep(3600)

from fastapi import FastAPI, Request, Response, WebSocket  # noqa: E402

app = FastAPI()
generation = int(os.environ["DEPLOYD_GENERATION"])
instance = int(os.environ["DEPLOYD_INSTANCE"])


@app.middleware("http")
async def fail(request: Request, call_next):
    if behaviour == "errors":
        return Response(status_code=500)
    return await call_next(request)


@app.get("/")
@app.get("/_status")
async def identity():
    return {"generation": generation, "instance": instance, "pid": os.getpid()}


@app.get("/slow")
async def slow(seconds: float):
    await asyncio.sleep(seconds)
    return await identity()


@app.post("/upload")
async def upload(request: Request):
    return {"received": len(await request.body())}


@app.get("/download")
async def download():
    return Response(b"x" * 4_000_000, media_type="application/octet-stream")


@app.websocket("/events")
async def events(socket: WebSocket):
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())
