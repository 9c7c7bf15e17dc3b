"""Scripts run by AppWorld's own interpreter, never imported by the main process."""
