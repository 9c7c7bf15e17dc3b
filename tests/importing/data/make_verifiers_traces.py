"""Made ``verifiers_traces/`` with ``vf-eval`` of verifiers 0.4.0 itself, find_key.py and a stand-in for the model.

Of the folder that it writes, ``traces.jsonl`` is kept, with ``~`` for the home folder.
"""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
asked = 0


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        global asked
        asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        delta, reason = {"content": "it is in the drawer" if asked % 4 else "in the box"}, "stop"
        if body["messages"][-1]["role"] == "user":
            function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"where": "drawer"}'}
            delta = {"tool_calls": [{"index": 0, "id": f"c{asked}", "type": "function", "function": function}]}
            reason = "tool_calls"
        about = {"id": f"r{asked}", "object": "chat.completion.chunk", "created": 0, "model": "stand-in"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for more in (
            {"choices": [{"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
            {"choices": [], "usage": usage},
        ):
            self.wfile.write(f"data: {json.dumps({**about, **more})}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
vf_eval = str(Path(sys.executable).with_name("vf-eval"))
command = [vf_eval, "find_key", "-n", "2", "-r", "2", "-c", "1", "--model", "stand-in", "--no-push", "--no-rich"]
command += ["--client.base-url", f"http://127.0.0.1:{server.server_port}/v1", "--client.api-key-var", "NO_KEY"]
command += ["--env.agent.harness.id", "null", "--env.agent.runtime.type", "subprocess"]
command += ["--output-dir", str(HERE), "--run.name", "verifiers_traces", "--clean"]
subprocess.run(command, env={**os.environ, "PYTHONPATH": str(HERE)}, check=True)
traces = HERE / "verifiers_traces/traces.jsonl"
traces.write_text(traces.read_text().replace(str(Path.home()), "~"))
