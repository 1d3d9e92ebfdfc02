"""Structured logs: key-value lines on a terminal, JSON elsewhere; both through stdlib logging.

No line may hold a voter's hash, citizen id or choice. Lines name topic, partition, offset and queue
instead.
"""

from __future__ import annotations

import logging
import logging.config
import sys
import time
from typing import Any

import structlog

from streams.runtime.tracebacks import format_exception, write_exception


def logging_config(level: str, log_format: str) -> dict[str, Any]:
    """A `logging.config.dictConfig` dictionary that sends everything through structlog to stderr.

    Args:
        level: lowest severity that is logged.
        log_format: `console`, `json` or `auto` (console when stderr is a terminal).
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    # The formatters of structlog and of the standard library show local variables or values that
    # may be of a vote.
    renderers: list[Any] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=write_exception
            )
        ]
        if console
        else [
            structlog.processors.ExceptionRenderer(format_exception),
            structlog.processors.JSONRenderer(),
        ]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _shared_processors(),
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *renderers,
                ],
            }
        },
        "filters": {"repeats": {"()": RepeatFilter}},
        "handlers": {
            "libraries": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "structured",
                "filters": ["repeats"],
            },
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "structured",
            },
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            # Both log every connection and every coordinator heartbeat.
            "pika": {"level": "ERROR", "handlers": ["libraries"], "propagate": False},
            "aiokafka": {"level": "WARNING", "handlers": ["libraries"], "propagate": False},
            # `streams.runtime.outages` logs each failed try.
            "stamina": {"level": "ERROR"},
            # At INFO they log each service that starts or stops within the worker.
            "faust": {"level": "WARNING"},
            "mode": {"level": "WARNING"},
            # A commit that waits out an outage overlaps with its timer.
            "mode.timers": {"level": "ERROR"},
        },
    }


class RepeatFilter(logging.Filter):
    """Rate limit: passes the same message of a logger once per interval and counts the rest.

    Client libraries log every try during an outage, thousands a minute.
    """

    def __init__(self, interval_s: float = 10.0) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._passed: dict[tuple[str, int, object], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes; adds the number of suppressed records to it."""
        name = (record.name, record.levelno, record.msg)
        now_s = time.monotonic()
        passed_s, suppressed = self._passed.get(name, (-self._interval_s, 0))
        if now_s - passed_s < self._interval_s:
            self._passed[name] = (passed_s, suppressed + 1)
            return False
        if len(self._passed) > 1000:
            self._passed.clear()
        self._passed[name] = (now_s, 0)
        if suppressed:
            record.msg = f"{record.msg} [{suppressed} more like this]"
        return True


def configure_logging(level: str, log_format: str) -> None:
    """Set up logging of a process; Faust's worker gets the same through its app's settings."""
    logging.config.dictConfig(logging_config(level, log_format))
    configure_structlog()


def configure_structlog() -> None:
    """Route structlog's loggers through the standard library's handlers."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _shared_processors() -> list[Any]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.UnicodeDecoder(),
    ]
