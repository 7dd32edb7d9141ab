"""Measurements of edgepose; ``python -m edgepose_benchmarks`` runs them all and prints Markdown tables."""
