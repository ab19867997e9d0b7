"""What the commands do: each job is one command's work, without its printing."""
