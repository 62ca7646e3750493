"""``python -m culling_manager.fleet``: the command where its script is not on the PATH."""

from __future__ import annotations

import sys

from .command import main

sys.exit(main())
