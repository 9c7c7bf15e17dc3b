"""The foundation under every room, which knows none of them: errors, files, options, safe text, the terminal."""
