"""Training: the teacher, its cached answers, the loss, and the trainer."""
