"""ALFWorld: household tasks in text, played by a fast engine or by the original one."""
