"""Where the sandbox's servers come from."""

from __future__ import annotations

from typing import Literal

PartsChoice = Literal["embedded", "containers"]
"""`embedded`: programs from wheels. `containers`: programs from images."""
