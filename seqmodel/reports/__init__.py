"""Reports on finished work: logs read back, figures of runs, pages of scored text, speeds."""
