"""The live page and ``POST /pose``: FastAPI on loopback, with limits on everything that comes in."""
