"""The verbs as plain functions, and `Model`: what Python users and the command line call."""
