"""What Isthmus is released as, for tests that run it as pods: the chart that Helm renders, and the image."""

import os
import shutil
import subprocess
import tempfile
import unittest

import yaml

import helm_program
from fleet_case import PROGRAM, ROOT
from node_pod import SECCOMP, unpack_image


class Release:
    """Helm, its chart and an image of the built program, unpacked."""

    @classmethod
    def of(cls, case):
        """For the life of a test class, which is skipped where what it takes is missing."""
        for program in ("crun", "buildah"):
            if not shutil.which(program):
                raise unittest.SkipTest(f"{program} is not installed")
        if not os.path.exists(SECCOMP):
            raise unittest.SkipTest("golang-github-containers-common is not installed")
        folder = tempfile.TemporaryDirectory(prefix="ist-release-", dir="/var/tmp")
        case.addClassCleanup(folder.cleanup)
        return cls(folder.name)

    def __init__(self, folder):
        self.folder = folder
        self.helm = helm_program.build(folder)
        self.image = os.path.join(folder, "root")
        os.makedirs(self.image)
        made = subprocess.run([os.path.join(ROOT, "packaging", "image", "build"), "--program", PROGRAM, folder],
                              capture_output=True, text=True, check=False)
        if made.returncode != 0 and "apt" in made.stderr:
            raise unittest.SkipTest(f"no Debian packages can be reached: {made.stderr.strip()[-200:]}")
        if made.returncode != 0:
            raise RuntimeError(made.stderr)
        self.archive, self.bill, self.digest = made.stdout.split()
        self.defaults = unpack_image(self.archive, self.image)

    def render(self, values):
        """The objects of the chart for these values."""
        path = os.path.join(self.folder, "values.yaml")
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(values, file)
        text = subprocess.run([self.helm, "template", "isthmus", os.path.join(ROOT, "packaging", "helm", "isthmus"),
                               "--namespace", "kube-system", "--values", path], capture_output=True, text=True,
                              check=True).stdout
        return [one for one in yaml.safe_load_all(text) if one]
