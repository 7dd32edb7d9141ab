"""Where results go: one file per kind of sink."""

from edgepose.pipeline.sinks.opening import SinkContext, open_sink
from edgepose.pipeline.sinks.thread import SinkThread

__all__ = ["SinkContext", "SinkThread", "open_sink"]
