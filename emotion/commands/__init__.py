"""What the commands of `emotion …` do, one module a command, imported when it is called."""
