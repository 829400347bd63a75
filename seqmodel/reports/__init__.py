"""What is told of runs after the fact: their logs read back, and pictures of them."""
