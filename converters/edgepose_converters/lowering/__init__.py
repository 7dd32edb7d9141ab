"""How each format holds a quantized model: integer weights, and the quantizers in front of them, put into the float graph of a target."""

__all__: list[str] = []
