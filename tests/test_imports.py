"""Every module can be imported where the modules of Unix are missing, as on Windows."""

import pkgutil
import subprocess
import sys

import deeplab_gygo

UNIX_ONLY = ("resource", "fcntl", "termios", "pwd", "grp")

_IMPORT_ALL = """
import importlib, signal, sys

# Keras and the other dependencies are loaded before, for they are not tested here.
import keras, numpy, cv2, av, PIL, yaml, tqdm, tabulate, jsonargparse

for name in {blocked}:
    sys.modules[name] = None
for name in ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM"):
    if hasattr(signal, name):
        delattr(signal, name)
failed = []
for name in {modules}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").split(".")[0] in {blocked} or "None in sys.modules" in str(error):
            failed.append(f"{{name}}: {{error}}")
assert not failed, failed
"""


def test_no_module_needs_the_modules_of_unix():
    modules = [
        module.name
        for module in pkgutil.walk_packages(deeplab_gygo.__path__, "deeplab_gygo.")
        if not module.name.endswith("__main__")
    ]
    assert len(modules) > 100
    code = _IMPORT_ALL.format(blocked=UNIX_ONLY, modules=modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
