"""What moves batches: the dispatcher, the worker, planning, delivery, sweeping."""
