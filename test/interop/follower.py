"""Runs follow-hub, which watches an API server as a gateway does."""

import os
import subprocess
import threading

import api_extensions

BUILD = os.environ.get("ISTHMUS_BUILD", os.path.join(api_extensions.HERE, "..", "..", "build"))


class Follower:
    """A follow-hub process; `objects` is the current set of the objects that it has reported."""

    def __init__(self, kubeconfig, *words):
        self.objects, self.changes, self.synced = set(), [], False
        self.program = subprocess.Popen([os.path.join(BUILD, "test", "interop", "follow-hub"), kubeconfig, *words],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.program.stdout:
            word = line.split(maxsplit=1)
            if word[0] == "synced":
                self.synced = True
                continue
            if word[0] not in "+-":
                continue  # a log line
            self.changes.append(line.strip())
            (self.objects.add if word[0] == "+" else self.objects.discard)(word[1].strip())

    def kill(self):
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait()
            self.reader.join()
            self.program.stdin.close()
            self.program.stdout.close()

    def close(self):
        self.program.stdin.close()
        status = self.program.wait(timeout=20)
        self.reader.join(timeout=20)
        self.program.stdout.close()
        return status
