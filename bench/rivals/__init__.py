"""What users would pick instead of batchmill, each as its own documentation leads to.

The scripts run in environments of their own, see ``environments``.
"""
