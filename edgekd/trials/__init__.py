"""Short distillations of the leading students: how long each, who goes on, and who has which in hand."""
