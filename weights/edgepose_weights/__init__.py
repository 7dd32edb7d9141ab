"""Weight files; `edgepose.weights` finds them."""
