"""Where frames come from: one file per kind of source."""

from edgepose.pipeline.sources.opening import SourceOptions, open_source

__all__ = ["SourceOptions", "open_source"]
