"""What rq loads first (-c): it imports the jobs only when there is one."""

import time
from pathlib import Path

BEHAVIOUR = Path("behaviour").read_text().strip()
if BEHAVIOUR == "crash":
    raise RuntimeError("this release is broken")
while BEHAVIOUR == "hang":
    time.sleep(60)
