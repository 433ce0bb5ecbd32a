# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Event source mappings of AWS Lambda in production time: queues and streams that are polled for functions."""

from __future__ import annotations

import logging
import time
from typing import Any, ClassVar

from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.iam.roles import Allowances
from tocsin.sandbox.services.sqs import POLL_S
from tocsin.sandbox.world import World

_BACKOFF_S = 1
_POLLING = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")

_logger = logging.getLogger("tocsin.sandbox")


class EventSources:
    """The event source mappings of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "core.concurrency": {"esm_wake": ""},
        "core.lambda_runtime": {"execution_credentials": "config"},
        "services.lambda_svc": {
            "_sqs_esm_concurrency": "esm, func_rec, config, queue",
            "_run_sqs_batch": "esm, func_rec, event, batch, queue_url, queue_name",
            "_poll_loop": "",
            "_poll_sqs": "",
            "_poll_kinesis": "",
            "_poll_dynamodb_streams": "",
            "_ESM_BACKOFF_SECONDS": "",
        },
        "services.sqs": {"_queues": ""},
    }

    def adapt(self, world: World) -> None:
        """Poll as often, and wait as long, as the time scale asks for."""
        self._clock = world.clock
        self._allowances = Allowances(world.ministack)
        self._ministack = world.ministack
        self._credentials = world.ministack.module("core.lambda_runtime").execution_credentials
        self._wake = world.ministack.module("core.concurrency").esm_wake
        self._queues = world.ministack.module("services.sqs")._queues
        self._lambda = service = world.ministack.module("services.lambda_svc")
        service._ESM_BACKOFF_SECONDS = self._clock.wall(_BACKOFF_S)
        service._poll_loop = self._poll_event_sources
        self._esm_concurrency = world.ministack.replace(service, "_sqs_esm_concurrency", self._esm_limit)
        self._run_batch = world.ministack.replace(service, "_run_sqs_batch", self._run_sqs_batch)

    def _poll_event_sources(self) -> None:
        """The event source pollers, often enough that a scaled visibility timeout is seen when it ends."""
        service, wake = self._lambda, self._wake
        while True:
            wake.clear()
            worked = False
            for poll in (service._poll_sqs, service._poll_kinesis, service._poll_dynamodb_streams):
                try:
                    worked = bool(poll()) or worked
                except Exception:  # one source that cannot be polled must not stop the others
                    _logger.exception("event source poller")
            if not worked:
                time.sleep(POLL_S / 4)
                wake.wait(POLL_S)

    def _esm_limit(self, esm: Any, func: Any, config: Any, queue: Any = None) -> int:
        """How many batches at once.

        None where the function's role may not read the queue: AWS polls in that role.
        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
        Pollers do not know about reserved concurrency: they invoke, are throttled, and the message waits.
        """
        if not self._may_poll(esm, config):
            return 0
        limit: int = self._esm_concurrency(esm, func, config, queue)
        if limit > 0:
            return limit
        return int((esm.get("ScalingConfig") or {}).get("MaximumConcurrency") or 1)

    def _may_poll(self, esm: Any, config: Any) -> bool:
        key, scope = self._credentials(config)["AWS_ACCESS_KEY_ID"], self._ministack.current_scope()
        for action in _POLLING:
            if self._allowances.refusal(key, scope, action, esm["EventSourceArn"]) is not None:
                operation = action.removeprefix("sqs:")
                esm["LastProcessingResult"] = (
                    f"PROBLEM: The provided execution role does not have permissions to call {operation} on SQS"
                )
                return False
        return True

    def _run_sqs_batch(
        self, esm: Any, func: Any, event: Any, batch: list[dict[str, Any]], queue_url: str, name: str
    ) -> None:
        """Run one batch; a function's running time counts unscaled against the visibility timeout.

        Otherwise a function that works for a second would outlive a scaled visibility timeout of a minute, and its
        messages would be delivered twice, which does not happen on AWS.
        """
        started = time.time()
        queue = self._queues.get(queue_url)
        visibility_s = float(queue["attributes"].get("VisibilityTimeout", "30")) if queue else 30.0
        for message in batch:
            message["visible_at"] = started + visibility_s
        self._run_batch(esm, func, event, batch, queue_url, name)
        elapsed_s = time.time() - started
        for message in batch:
            message["visible_at"] = time.time() + self._clock.wall(max(0.0, visibility_s - elapsed_s))
