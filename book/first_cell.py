#| hide
# Where this runs in Colab or Binder, install the library first.
import os
import sys

if "google.colab" in sys.modules or "BINDER_SERVICE_HOST" in os.environ:
    import subprocess

    library = "adam_nbdev[torch,symbolic,experiments]"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", library], check=True)
