"""Fuzzing: files of every kind that edgepose reads, changed in their structure, sealed again where there is a seal, and opened.

``make fuzz MINUTES=10`` runs it: ``corpus`` makes small valid files, ``mutation`` changes them, ``subjects`` knows how each kind is sealed
and opened, ``worker`` opens them in a process with limits, and ``campaign`` drives workers and keeps what went wrong.
"""
