"""The WSGI application of the Django project: what `manage.py check` does not import."""

import os
import time
from pathlib import Path

from django.core.wsgi import get_wsgi_application

behaviour = Path("behaviour").read_text().strip()
if behaviour == "late":
    time.sleep(1)
    import no_such_module  # noqa: F401
if behaviour == "hang":
    time.sleep(3600)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_wsgi_application()
