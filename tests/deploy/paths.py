"""Where the files under test lie."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BUILD = pathlib.Path(os.environ.get("LONGWAVE_BUILD_DIR", ROOT / "build/cpu-release"))
