"""The benchmarking harness behind ``edgepose benchmark`` and ``edgepose report``, and the measurements of ``benchmarks/README.md``.

``case`` says what is measured, ``targets`` where, ``worker`` is the process that measures, ``loadgen`` how calls follow each other,
``result`` what comes of it; ``statistics`` and ``summary`` make figures of that, and ``report`` shows them.
``python -m edgepose_benchmarks`` runs every measurement of the README.
"""

from edgepose.telemetry import switch_off

__all__: list[str] = []

# Rivals and runtimes are imported here in many places, by themselves as their users would.
switch_off()
