# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Event source mappings of AWS Lambda in production time: queues and streams that are polled for functions.

Of queues, what becomes of a batch is here: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from tocsin.errors import InvalidInput
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.awslambda.batches_at_once import BatchesAtOnce, most_batches
from tocsin.sandbox.services.awslambda.held_batch import HeldBatch
from tocsin.sandbox.services.awslambda.partial_batch import REPORTS, failed_messages
from tocsin.sandbox.services.iam.roles import Allowances
from tocsin.sandbox.services.sqs import POLL_S
from tocsin.sandbox.world import World

_BACKOFF_S = 1
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
"""Between two attempts of a throttled batch; it doubles. AWS says that it "gradually backs off", and no figure."""
_POLLING = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")

_NO_QUEUE = (
    "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
    "SQS Error Message: The specified queue does not exist."
)

_logger = logging.getLogger("tocsin.sandbox")


class EventSources:
    """The event source mappings of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "core.concurrency": {"esm_wake": ""},
        "core.lambda_runtime": {"execution_credentials": "config"},
        "services.cloudformation.provisioners": {"_RESOURCE_HANDLERS": ""},
        "services.lambda_svc": {
            "_sqs_esm_concurrency": "esm, func_rec, config, queue",
            "_run_sqs_batch": "esm, func_rec, event, batch, queue_url, queue_name",
            "_execute_function": "func, event",
            "_get_func_record_for_qualifier": "name, qualifier",
            "_resolve_request_scoped_name_and_qualifier": "name_or_arn",
            "_invalid_parameter_value": "message",
            "_create_esm": "data",
            "_update_esm": "esm_id, data",
            "_esms": "",
            "_esm_backoff_until": "",
            "_poll_loop": "",
            "_poll_sqs": "",
            "_poll_kinesis": "",
            "_poll_dynamodb_streams": "",
            "_ESM_BACKOFF_SECONDS": "",
        },
        "services.sqs": {
            "_queues": "",
            "_queues_lock": "",
            "_queue_by_arn": "arn",
            "_delete_messages_for_esm": "queue_url, receipt_handles",
        },
    }

    def adapt(self, world: World) -> None:
        """Poll as often, and wait as long, as the time scale asks for."""
        self._clock = world.clock
        self._allowances = Allowances(world.ministack)
        self._ministack = world.ministack
        self._credentials = world.ministack.module("core.lambda_runtime").execution_credentials
        self._wake = world.ministack.module("core.concurrency").esm_wake
        self._sqs = world.ministack.module("services.sqs")
        self._closing = threading.Event()
        self._batches = BatchesAtOnce()
        self._lambda = service = world.ministack.module("services.lambda_svc")
        service._ESM_BACKOFF_SECONDS = self._clock.wall(_BACKOFF_S)
        service._poll_loop = self._poll_event_sources
        service._sqs_esm_concurrency = self._esm_limit
        service._run_sqs_batch = self._run_sqs_batch
        self._create = world.ministack.replace(service, "_create_esm", self._create_mapping)
        self._update = world.ministack.replace(service, "_update_esm", self._update_mapping)
        templates = world.ministack.module("services.cloudformation.provisioners")._RESOURCE_HANDLERS
        handlers = templates["AWS::Lambda::EventSourceMapping"]
        self._create_of_template = handlers["create"]
        handlers["create"] = self._create_by_template

    async def close(self) -> None:
        """Try no throttled batch again."""
        self._closing.set()

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

    # ------------------------------------------------------------------------------------------ how much at a time

    def _esm_limit(self, esm: Any, func: Any, config: Any, queue: Any = None) -> int:
        """How many batches at once.

        None where the function's role may not read the queue: AWS polls in that role.
        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
        Mappings do not know about reserved concurrency: they invoke, are throttled, and the messages wait.
        https://repost.aws/knowledge-center/lambda-sqs-scaling
        """
        del func
        return self._batches.of(esm["UUID"], most_batches(esm, queue or {})) if self._may_poll(esm, config) else 0

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

    # ------------------------------------------------------------------------------------------ one batch

    def _run_sqs_batch(
        self, esm: Any, func: Any, event: Any, batch: list[dict[str, Any]], queue_url: str, name: str
    ) -> None:
        """Run one batch, and delete what was done. The rest is visible again when its visibility time-out is over."""
        del func, name  # the function is looked up at each attempt
        queue = self._sqs._queues.get(queue_url) or {"attributes": {}}
        handles = {record["messageId"]: record["receiptHandle"] for record in event["Records"]}
        unwanted = {message["receipt_handle"] for message in batch if message["id"] not in handles}
        if unwanted:  # whatever becomes of the others, those that `FilterCriteria` left out are done
            self._sqs._delete_messages_for_esm(queue_url, unwanted)
        visibility_s = float(queue["attributes"].get("VisibilityTimeout", "30"))
        held = HeldBatch(batch, handles, visibility_s, self._sqs._queues_lock)
        try:
            result = self._invoke(esm, event, held)
            self._settle(esm, result, handles, queue_url)
        finally:
            held.hide(self._clock.wall(max(0.0, held.left_s)))
        scale = self._batches.throttled if result is None else self._batches.ran
        scale(esm["UUID"], most_batches(esm, queue))

    def _settle(self, esm: Any, result: Mapping[str, Any] | None, handles: Mapping[str, str], queue_url: str) -> None:
        """Delete the messages that were processed; `handles` are the receipt handles of all by their ids."""
        if result is None or result.get("error"):
            esm["LastProcessingResult"] = "FAILED"
            self._lambda._esm_backoff_until[esm["UUID"]] = time.time() + self._clock.wall(_BACKOFF_S)
            return
        self._lambda._esm_backoff_until.pop(esm["UUID"], None)
        reports = REPORTS in (esm.get("FunctionResponseTypes") or ())
        failed = failed_messages(result.get("body"), handles) if reports else frozenset()
        done = {handle for message, handle in handles.items() if message not in failed}
        self._sqs._delete_messages_for_esm(queue_url, done)
        esm["LastProcessingResult"] = _in_words(len(done), len(failed))

    def _invoke(self, esm: Mapping[str, Any], event: Any, held: HeldBatch) -> Mapping[str, Any] | None:
        """The result of the function; None when it was throttled until the messages had to be let go.

        "Lambda continues to retry the message until the message's timestamp exceeds your queue's visibility timeout, at
        which point Lambda drops the message": it is visible again, and was received once more.
        """
        wait_s = _FIRST_WAIT_S
        while True:
            function, _ = self._lambda._get_func_record_for_qualifier(esm["FunctionName"], esm.get("Qualifier"))
            if function is None:
                return None
            held.hide(held.left_s)
            began = time.monotonic()
            result: Mapping[str, Any] = self._lambda._execute_function(function, event)
            held.left_s -= time.monotonic() - began
            if not result.get("throttle"):
                return result
            if wait_s >= held.left_s or not self._is_read(esm) or self._closing.wait(self._clock.wall(wait_s)):
                return None
            held.left_s -= wait_s
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _is_read(self, esm: Mapping[str, Any]) -> bool:
        """Whether the mapping is there, and enabled."""
        return bool(self._lambda._esms.get(esm["UUID"]) is esm and esm.get("Enabled", True))

    # ------------------------------------------------------------------------------------------ mappings

    def _create_mapping(self, data: dict[str, Any]) -> Any:
        refused = self._refused(data.get("FunctionName", ""), data.get("EventSourceArn", ""))
        return self._lambda._invalid_parameter_value(refused) if refused else self._create(data)

    def _update_mapping(self, esm_id: str, data: dict[str, Any]) -> Any:
        esm = self._lambda._esms.get(esm_id) or {}
        refused = self._too_slow(data.get("FunctionName") or esm.get("FunctionArn", ""), esm.get("EventSourceArn", ""))
        return self._lambda._invalid_parameter_value(refused) if refused else self._update(esm_id, data)

    def _create_by_template(self, logical_id: str, props: Mapping[str, Any], stack_name: str) -> Any:
        """A mapping of CloudFormation.

        Raises:
            InvalidInput: it is refused; the resource fails with these words.
        """
        refused = self._refused(str(props.get("FunctionName", "")), str(props.get("EventSourceArn", "")))
        if refused:
            raise InvalidInput(refused)
        return self._create_of_template(logical_id, props, stack_name)

    def _refused(self, function: str, source: str) -> str | None:
        """Why Lambda would not begin to read a queue for a function; None when it would, and of other sources."""
        if ":sqs:" in source and self._sqs._queue_by_arn(source) is None:
            return _NO_QUEUE
        return self._too_slow(function, source)

    def _too_slow(self, function: str, source: str) -> str | None:
        """Why the queue would show messages again that the function still works on; None when it would not.

        "Lambda validates this requirement when you create or update an event source mapping".
        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-queueconfig
        """
        name, qualifier = self._lambda._resolve_request_scoped_name_and_qualifier(function)
        config = self._lambda._get_func_record_for_qualifier(name, qualifier)[1] if name else None
        queue = self._sqs._queue_by_arn(source)
        if config is None or queue is None:
            return None
        visibility_s, timeout_s = int(queue["attributes"].get("VisibilityTimeout", "30")), int(config.get("Timeout", 3))
        if timeout_s <= visibility_s:
            return None
        return f"Queue visibility timeout: {visibility_s} seconds is less than Function timeout: {timeout_s} seconds"


def _in_words(done: int, failed: int) -> str:
    return f"OK - {done} records" + (f", {failed} partial failures" if failed else "")
