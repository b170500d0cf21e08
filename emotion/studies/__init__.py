"""Published reports as rows that run here: what each says, how far ours has come, and what of it reproduced."""
