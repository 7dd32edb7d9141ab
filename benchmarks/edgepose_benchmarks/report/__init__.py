"""Reports: views of results. One file per form; what their tables hold stands in ``columns``."""

__all__: list[str] = []
