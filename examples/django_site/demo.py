"""Run the project as a newcomer would: database, an admin called demo, and a server.

make django-demo                    # http://127.0.0.1:8000/
make django-demo ARGS=8080          # another port
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django
from django.core.management import call_command


def main(address: str) -> None:
    """Prepare, say where to look, and serve."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    django.setup()
    from django.contrib.auth.models import User

    call_command("migrate", verbosity=0)
    if not User.objects.filter(username="demo").exists():
        User.objects.create_superuser("demo", password="demo")  # an example's
    place = f"http://{address if ':' in address else f'127.0.0.1:{address}'}/"
    print(
        f"\n  {place}        a site that counts\n  {place}admin/  its maps: log in as demo, demo\n"
    )
    call_command("runserver", address, "--noreload")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "8000")
