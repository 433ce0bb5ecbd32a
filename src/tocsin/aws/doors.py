"""What an emulator of AWS on this machine is asked beside the AWS API: at a door of its own, which its token opens."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

from tocsin.model.doors import TOKEN_HEADER


def ask_door(endpoint_url: str, token: str | None, name: str, request: Mapping[str, Any], within_s: float) -> Any:
    """The JSON that it answers.

    Raises:
        OSError: nobody answered within so many wall seconds; or, as `urllib.error.HTTPError`, the door refused.
        ValueError: the answer is no JSON.
    """
    asked = urllib.request.Request(  # noqa: S310 - the endpoint of the target
        f"{endpoint_url}/_tocsin/{name}",
        json.dumps(dict(request)).encode(),
        {TOKEN_HEADER: token} if token else {},
        method="POST",
    )
    with urllib.request.urlopen(asked, timeout=within_s) as answer:  # noqa: S310
        return json.load(answer)
