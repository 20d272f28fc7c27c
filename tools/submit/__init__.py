"""Diagnoses a student's xv6 tree: copies, builds, runs probes in fresh guests, reports findings with evidence.

Relies on tools/guest for what lies in a guest's memory, on QEMU for running it and on bubblewrap for
building it. The arrows between its modules point from `check` down to `machine` and `sandbox`.
"""
