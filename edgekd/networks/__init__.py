"""Networks that are no transformers, as plain data: what each is, not its weights. No torch here."""
