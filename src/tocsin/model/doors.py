"""How what no AWS API offers is asked of an emulator on this machine."""

from __future__ import annotations

TOKEN_HEADER = "x-tocsin-token"  # noqa: S105 - the name of a header
"""In which its token is sent, to itself and to its stand-ins of third parties."""
