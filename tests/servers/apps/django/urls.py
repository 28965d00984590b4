"""The app of Django. The file `behaviour` of its release says what is wrong with it (tests/servers/server.py)."""

import os
import time
from pathlib import Path

from django.http import HttpResponse, JsonResponse
from django.urls import path

behaviour = Path("behaviour").read_text().strip()
if behaviour == "crash":
    raise RuntimeError("this release crashes")


def identity(request):
    if behaviour == "errors":
        return HttpResponse(status=500)
    generation, instance = (int(os.environ[f"DEPLOYD_{name}"]) for name in ("GENERATION", "INSTANCE"))
    return JsonResponse({"generation": generation, "instance": instance, "pid": os.getpid()})


def slow(request):
    time.sleep(float(request.GET["seconds"]))
    return identity(request)


def upload(request):
    return JsonResponse({"received": len(request.body)})


def download(request):
    return HttpResponse(b"x" * 4_000_000, content_type="application/octet-stream")


urlpatterns = [
    path("", identity),
    path("_status", identity),
    path("slow", slow),
    path("upload", upload),
    path("download", download),
]
