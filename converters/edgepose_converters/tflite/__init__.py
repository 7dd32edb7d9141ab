"""TFLite files, written operator by operator: ``network`` emits a ViTPose, ``integer`` quantizes it, ``graph`` makes the file."""

__all__: list[str] = []
