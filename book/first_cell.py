#| hide
# Where this runs in Colab or Binder, install the library first.
import os
import sys

if "google.colab" in sys.modules or "BINDER_SERVICE_HOST" in os.environ:
    import subprocess

    source = "git+https://github.com/adam-nbdev/adam_nbdev"
    library = f"adam_nbdev[all] @ {source}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", library], check=True)
