"""Which operators of ``edgepose_converters.walk`` one of a converted graph is: by its torch module and what came before it there."""

from collections import Counter

__all__ = ["OperatorNames"]

_LAYERS = ("patch_embed", "norm", "norm1", "norm2", "qkv", "proj", "fc1", "fc2", "deconv1", "deconv2", "final")


class OperatorNames:
    """Names the operators of one graph, asked for in the order in which they run.

    Reshapes and transpositions go with what comes after them, but for those of the patches, so that values that are kept in float32 on both
    sides aren't rounded in between.

    Args:
        simple: whether the network has the simple head.
    """

    def __init__(self, *, simple: bool) -> None:
        self._simple = simple
        self._seen: Counter[tuple[str, str]] = Counter()

    def name(self, module: str, kind: str) -> frozenset[str]:
        """Return the operator's name; several where it is all of them, none where it only moves values of the stream.

        Args:
            module: path of the torch module that it comes from.
            kind: its type: ``add``, ``matmul``, ``softmax``, ``attention`` (all of it), ``relu`` or another.
        """
        parent, _, leaf = module.rpartition(".")
        if leaf in _LAYERS:
            return frozenset([module])
        count = self._seen[module, kind]
        self._seen[module, kind] += 1
        if leaf == "attn":
            return self._attention(module, kind)
        if leaf == "mlp":
            return frozenset([f"{module}.gelu"])
        if module == "head":
            return frozenset(["head.resize" if self._simple else f"head.deconv{count + 1}"])
        if module == "backbone":
            if kind == "add":
                return frozenset(["backbone.pos_embed"])
            return frozenset() if self._seen[module, "add"] else frozenset(["backbone.patch_embed"])
        if parent == "backbone.blocks" and kind == "add":
            return frozenset([f"{module}.{'mlp' if count else 'attn'}.residual"])
        return frozenset()

    def _attention(self, module: str, kind: str) -> frozenset[str]:
        parts = [f"{module}.{part}" for part in ("scores", "softmax", "mixed")]
        if kind == "attention":
            return frozenset(parts)
        if kind == "softmax":
            return frozenset(parts[1:2])
        # The product that was just counted is still one of the scores.
        return frozenset(parts[:1] if self._seen[module, "matmul"] - (kind == "matmul") == 0 else parts[2:])
