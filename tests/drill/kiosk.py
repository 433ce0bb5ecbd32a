"""A kiosk of one function that is throttled, for tests of what stands below it."""

from __future__ import annotations

THROTTLED = """\
title: Kiosk throttled
description: It is.
method:
  - type: action
    name: throttle
    provider:
      type: python
      module: tocsin.faults
      func: lambda_reserved_concurrency
      arguments: {function: kiosk, reserved: 0}
rollbacks:
  - {type: action, name: undo, provider: {type: python, module: tocsin.faults, func: undo}}
extensions:
"""
"""An experiment, up to its extensions."""
