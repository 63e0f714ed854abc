"""Adapters: tasklock's locks in the words of task queues. Each needs the extra of its name."""
