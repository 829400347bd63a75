"""Input text: files, folders, pipes and archives, cut into lines and sequences in bounded memory."""
