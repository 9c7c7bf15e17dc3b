"""llama.cpp's own server for one GGUF file, to be run by an interpreter that has ``xllamacpp``.

``python llama_server.py FILE.gguf [THREADS] [CONTEXT]`` prints the address once it answers, and then serves.
"""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Serve the file."""
    import xllamacpp  # type: ignore[import-not-found]

    file, threads, context = (*sys.argv[1:], "1", "8192")[:3] if len(sys.argv) < 4 else sys.argv[1:4]
    settings = xllamacpp.CommonParams()
    settings.model.path = file
    settings.n_ctx, settings.n_parallel = int(context), 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = int(threads)
    settings.port = 0
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
