"""From any source to stable poses: sources, detection, engine, tracking, smoothing, sinks.

```
source ─→ detection (every n frames) ─→ crop ─→ model ─→ decode ─→ tracking ─→ smoothing ─→ sinks
```

Importing this package loads nothing: each module is imported when it is used.
"""
