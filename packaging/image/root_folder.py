"""The root folder of the image: files of Debian packages, without what a program of its own does not need there.

Packages are unpacked, not installed: what their scripts would make of them, the bundle of certificates, is made
here."""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import time as clock

PACKAGING = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
# Beside what the program is linked to. base-files: the system's name, for scanners.
ALWAYS = ("base-files", "ca-certificates", "netbase")
# What others depend on for their installation, and what only people use.
LEFT_OUT = {"adduser", "debconf", "debianutils", "dpkg", "init-system-helpers", "iproute2", "mawk", "openssl", "passwd",
            "systemd", "ucf"}
KEPT = re.compile(r"usr/bin/isthmus|usr/lib/os-release|etc/(os-release|protocols|services|debian_version)|"
                  r"usr/share/doc/[^/]+/copyright|usr/share/common-licenses/.*|"
                  r"usr/share/ca-certificates/mozilla/.*\.crt|"
                  r"(usr/)?lib(64)?/(.*/)?[^/]+\.so(\.[0-9a-z.]+)?|usr/lib/ssl/openssl\.cnf|etc/ssl/openssl\.cnf")
# Libraries of libraries that are loaded by name only for what is not used: character sets, providers of old ciphers.
DROPPED = re.compile(r".*/(gconv|audit|ossl-modules|engines-3|security|perl5?|libmemusage\.so|libpcprofile\.so)(/.*)?")
MERGED = ("bin", "lib", "lib64", "sbin")
FILES = {
    "etc/passwd": "root:x:0:0:root:/:/usr/bin/false\nisthmus:x:65532:65532:isthmus:/:/usr/bin/false\n",
    "etc/group": "root:x:0:\nisthmus:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
FOLDERS = {"tmp": 0o1777, "run": 0o755, "run/isthmus": 0o755, "var/lib/isthmus": 0o755, "etc/isthmus": 0o755,
           "dev": 0o755, "proc": 0o755, "sys": 0o755, "host/proc/sys/net": 0o755}


def put(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def control(text):
    """A stanza as {field: value}."""
    return dict(re.findall(r"^([A-Za-z0-9-]+): ?(.*(?:\n[ \t].*)*)", text, re.MULTILINE))


def names(depends):
    """Names in a Depends field, of alternatives the first."""
    return [word.split("|")[0].split("(")[0].split(":")[0].strip() for word in depends.split(",") if word.strip()]


def provider(name):
    """The package that provides a virtual one, or `name` itself."""
    text = subprocess.run(["apt-cache", "showpkg", name], capture_output=True, text=True, check=False).stdout
    provided = text.partition("Reverse Provides:")[2].split()
    return provided[0] if provided else name


def candidates(wanted):
    """The stanzas of the versions that apt would install: {name: stanza}."""
    done = subprocess.run(["apt-cache", "show", "--no-all-versions", *sorted(wanted)], capture_output=True, text=True,
                          check=False)
    found = {stanza["Package"]: stanza for stanza in map(control, done.stdout.split("\n\n")) if "Package" in stanza}
    missing = sorted(wanted - set(found))
    if missing and (real := {provider(name) for name in missing}) != set(missing):
        return found | candidates(real)
    if missing:
        raise SystemExit(f"packaging/image/build: apt knows no package {', '.join(missing)}: try apt-get update")
    return found


def closure(wanted):
    """Those packages and what they depend on: {name: stanza}."""
    found, left = {}, set(wanted) - LEFT_OUT
    while left:
        level = candidates(left)
        found |= level
        left = {other for name, stanza in level.items() if name not in ALWAYS
                for other in names(stanza.get("Depends", "")) + names(stanza.get("Pre-Depends", ""))}
        left -= set(found) | LEFT_OUT
    return found


def run_packages():
    """The packages that packages.txt names to run the program."""
    with open(os.path.join(PACKAGING, "packages.txt"), encoding="utf-8") as file:
        section = file.read().split("[run]\n")[1].split("\n[")[0]
    return section.split()


def unpack(archive, folder):
    """The wanted files of a package into the folder."""
    scratch = folder + ".unpacked"
    subprocess.run(["dpkg-deb", "--extract", archive, scratch], check=True)
    for base, _, files in os.walk(scratch):
        for name in files:
            path = os.path.relpath(os.path.join(base, name), scratch)
            if not KEPT.fullmatch(path) or DROPPED.fullmatch(path):
                continue
            top, _, rest = path.partition("/")
            target = os.path.join(folder, f"usr/{top}/{rest}" if top in MERGED else path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.move(os.path.join(base, name), target)
    shutil.rmtree(scratch)


def local_package(archive):
    """The stanza of a package in a file."""
    text = subprocess.run(["dpkg-deb", "--field", archive], check=True, capture_output=True, text=True).stdout
    with open(archive, "rb") as file:
        return {**control(text), "SHA256": hashlib.sha256(file.read()).hexdigest(), "archive": archive}


def download(packages, into):
    os.makedirs(into, exist_ok=True)
    wanted = [f"{name}={stanza['Version']}" for name, stanza in sorted(packages.items())]
    subprocess.run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", *wanted],
                   cwd=into, check=True, stdout=subprocess.DEVNULL)
    for archive in sorted(glob.glob(os.path.join(into, "*.deb"))):
        found = local_package(archive)
        stanza = packages[found["Package"]]
        if found["SHA256"] != stanza["SHA256"]:
            raise SystemExit(f"packaging/image/build: {archive} is not what apt's lists say")
        stanza["archive"] = archive


def bundle(folder):
    """One file of all certificates, as update-ca-certificates makes it, where OpenSSL and gRPC look."""
    parts = sorted(glob.glob(os.path.join(folder, "usr/share/ca-certificates/mozilla/*.crt")))
    texts = [open(path, encoding="utf-8").read().rstrip("\n") + "\n" for path in parts]
    put(folder, "etc/ssl/certs/ca-certificates.crt", "".join(texts))
    shutil.rmtree(os.path.join(folder, "usr/share/ca-certificates"))
    os.makedirs(os.path.join(folder, "usr/lib/ssl"), exist_ok=True)
    os.symlink("/etc/ssl/certs/ca-certificates.crt", os.path.join(folder, "usr/lib/ssl/cert.pem"))
    os.symlink("/etc/ssl/certs", os.path.join(folder, "usr/lib/ssl/certs"))


def make(folder, work, deb, program):
    """Makes the folder; {name: stanza} of what is in it, `archive` its file."""
    own = local_package(deb) if deb else None
    wanted = names(own["Depends"]) if own else run_packages()
    packages = closure([*wanted, *ALWAYS])
    download(packages, os.path.join(work, "packages"))
    if own:
        packages["isthmus"] = own
    os.makedirs(os.path.join(folder, "usr"))
    for name in MERGED:
        os.makedirs(os.path.join(folder, "usr", name), exist_ok=True)
        os.symlink(f"usr/{name}", os.path.join(folder, name))
    for name, stanza in sorted(packages.items()):
        unpack(stanza["archive"], folder)
        fields = "".join(f"{field}: {text}\n" for field, text in stanza.items()
                         if field in ("Package", "Source", "Version", "Architecture", "Maintainer", "Depends"))
        put(folder, f"var/lib/dpkg/status.d/{name}", fields + "Status: install ok installed\n")
    if program:
        shutil.copy(program, os.path.join(folder, "usr/bin/isthmus"))
    bundle(folder)
    for name, text in FILES.items():
        put(folder, name, text)
    for name, mode in FOLDERS.items():
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        os.chmod(os.path.join(folder, name), mode)
    subprocess.run(["ldconfig", "-r", folder, "-X"], check=True)
    shutil.rmtree(os.path.join(folder, "var/cache/ldconfig"), ignore_errors=True)
    return packages


def set_times(folder, time):
    """Equal times, and modes that depend on no umask."""
    for base, folders, files in os.walk(folder, topdown=False):
        for name in folders + files:
            path = os.path.join(base, name)
            if not os.path.islink(path) and os.path.relpath(path, folder) not in FOLDERS:
                os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)
            os.utime(path, (time, time), follow_symlinks=False)
    os.utime(folder, (time, time))


def spdx_package(name, stanza):
    version = stanza["Version"].replace("+", "%2B").replace(":", "%3A")
    return {
        "SPDXID": f"SPDXRef-{re.sub('[^A-Za-z0-9.-]', '-', name)}", "name": name, "versionInfo": stanza["Version"],
        "supplier": f"Organization: {stanza.get('Maintainer', 'NOASSERTION').split(' <')[0]}",
        "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
        "checksums": [{"algorithm": "SHA256", "checksumValue": stanza["SHA256"]}],
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
            "referenceLocator": f"pkg:deb/debian/{name.replace('+', '%2B')}@{version}?arch={stanza['Architecture']}"}]}


def sbom(packages, version, time):
    """The bill of materials as SPDX 2.3."""
    listed = [spdx_package(name, stanza) for name, stanza in sorted(packages.items())]
    image = {"SPDXID": "SPDXRef-image", "name": "isthmus", "versionInfo": version, "downloadLocation": "NOASSERTION",
             "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION",
             "licenseDeclared": "Apache-2.0", "primaryPackagePurpose": "CONTAINER"}
    content = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
    edges = [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"),
             *(("SPDXRef-image", "CONTAINS", one["SPDXID"]) for one in listed)]
    return json.dumps({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"isthmus-{version}", "documentNamespace": f"https://isthmus.io/spdx/isthmus-{version}-{content}",
        "creationInfo": {"created": clock.strftime("%Y-%m-%dT%H:%M:%SZ", clock.gmtime(time)),
                         "creators": ["Tool: packaging/image/build"]},
        "packages": [image, *listed],
        "relationships": [{"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
                          for one, kind, other in edges]}, indent=1) + "\n"
