"""A gateway of the fleet that runs as isthmus.service in a booted Debian."""

from fleet.gateway import GatewayProcess
from fleet.shell import run, wait_until

ACTIVE = "systemctl is-active isthmus.service"


class PackagedGateway(GatewayProcess):
    """Configured by the package's file, with the socket and the folders of the package."""

    def __init__(self, debian, gateway, netns, program, folder, hub, settings=None):
        self.debian = debian
        super().__init__(gateway, netns, program, folder, hub, settings)
        self.daemon = self  # what a fleet asks of its gateways' processes
        with open(self.config, encoding="utf-8") as file:
            lines = [line for line in file if not line.startswith(("hub:", "dns:", "admin:", "state:", "handover:"))]
        lines += ["hub: {file: {path: /var/lib/isthmus/hub}}\n",
                  f"admin: {{socket: /run/isthmus/{self.name}.sock, group: isthmus-admin}}\n",
                  "handover: {wait: 30s}\n"]
        debian.write("/etc/isthmus/gateway.yaml", "".join(lines))

    def start(self, wait=True):
        self.debian.run("systemctl start isthmus.service")
        if wait:
            self.wait_ready()

    def query(self, command, *options, check=True):
        self.socket = self.debian.seen(f"/run/isthmus/{self.name}.sock")
        return super().query(command, *options, check=check)

    @property
    def alive(self):
        return (self.debian.daemon is not None and self.debian.daemon.alive and
                self.debian.run(ACTIVE, check=False).stdout.strip() == "active")

    def stop(self, timeout=0):  # pylint: disable=unused-argument
        """Ends with the machine it runs on."""
        self.debian.remove()
        return 0

    @property
    def pid(self):
        """As the machine's other processes see it."""
        return int(self.query("status")["pid"])

    def main_pid(self):
        return int(self.debian.run("systemctl show -P MainPID isthmus.service").stdout)

    def log_tail(self, lines=15):
        return self.debian.journal(lines)

    def wait_serving(self, what, but_not=None, timeout=90):
        """Waits for a gateway that serves; another process than `but_not`."""
        def serving():
            status = self.query("status", check=False)
            return status and status["state"] == "serving" and status["pid"] != but_not and status["pid"]
        return wait_until(serving, timeout, what=f"{what}:\n{self.debian.journal()}")

    @staticmethod
    def outside(pid, leader):
        """The process outside that is `pid` in the container of `leader`."""
        for candidate in run(["pgrep", "--ns", str(leader), "--nslist", "pid"]).stdout.split():
            with open(f"/proc/{candidate}/status", encoding="ascii", errors="replace") as file:
                numbers = next((line.split()[1:] for line in file if line.startswith("NSpid:")), [])
            if numbers and int(numbers[-1]) == pid:
                return int(candidate)
        raise ProcessLookupError(pid)
