"""Runs the test programs that meson declares: GoogleTest programs case by case, others by their exit status."""

import json
import os
import subprocess
import tempfile
import time

PROGRAM_TIMEOUT = 1200  # of the slowest: the data plane under ThreadSanitizer
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
    # gRPC's name resolver keeps an answer that is under way when the process ends.
    "LSAN_OPTIONS": "print_suppressions=0:suppressions=" + os.path.join(os.path.dirname(__file__), "leaks.supp"),
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
EXIT_SKIPPED = 77


def kind(test):
    """The suite a test belongs to: "netns" where it makes namespaces, "unit" otherwise."""
    return "netns" if any(suite.endswith("netns") for suite in test["suite"]) else "unit"


def area(test):
    """The name of a test without its suite: "conntrack" of "unit-conntrack"."""
    return test["name"].removeprefix(f"{kind(test)}-")


def run_program(report, prefix, test, wanted):
    """Runs one program. `wanted(name)` says which tests were asked for by name."""
    name = f"{prefix}/{area(test)}"
    env = {**(test.get("env") or {}), **os.environ, **SANITIZER_ENV}
    corpus = test["name"].endswith("-corpus")  # a fuzzer's, which may use what the tests share
    if not corpus and _is_gtest(test["cmd"][0]):
        _run_gtest(report, name, test["cmd"], env, wanted)
    elif wanted(name):
        _run_plain(report, name, test["cmd"], env)


def _is_gtest(program):
    with open(program, "rb") as file:
        return b"This program contains tests written using Google Test" in file.read()


def _execute(cmd, env):
    try:
        done = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, check=False,
                              timeout=PROGRAM_TIMEOUT)
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as error:
        return -1, (error.stdout or b"").decode(errors="replace") + f"\nno end after {PROGRAM_TIMEOUT} s"


def _run_plain(report, name, cmd, env):
    begun = time.monotonic()
    status, text = _execute(cmd, env)
    if status == 0:
        report.ok(name, time.monotonic() - begun)
    elif status == EXIT_SKIPPED:
        report.skip(name, text)
    else:
        report.fail(name, f"{text}\nexit {status}")


def _run_gtest(report, name, cmd, env, wanted):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "result.json")
        chosen = [] if wanted(name) else _cases_wanted(name, cmd, env, wanted)
        if chosen is None:
            return
        select = [f"--gtest_filter={':'.join(chosen)}"] if chosen else []
        status, text = _execute([*cmd, "--gtest_brief=1", f"--gtest_output=json:{out}", *select], env)
        failures = _report_cases(report, name, out)
        if status == EXIT_SKIPPED and failures == 0:
            report.skip(name, text)
        elif failures is None:
            report.fail(name, f"{text}\nexit {status}, no results")
        elif status != 0 and failures == 0:
            report.fail(f"{name} (after its cases)", f"{text}\nexit {status}")
        elif failures:
            report.show(text)


def _cases_wanted(name, cmd, env, wanted):
    """Cases of the program that were asked for by name; None if there are none."""
    _, text = _execute([*cmd, "--gtest_list_tests"], env)
    chosen, suite = [], ""
    for line in text.splitlines():
        word = line.split("#")[0].rstrip()
        if word and not line.startswith(" "):
            suite = word
        elif word and wanted(f"{name}/{suite}{word.strip()}"):
            chosen.append(suite + word.strip())
    return chosen or None


def _report_cases(report, name, path):
    """Reports every case of a result file; returns the number that failed, None if there is no file."""
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, json.JSONDecodeError):
        return None
    failures = 0
    for suite in result["testsuites"]:
        for case in suite["testsuite"]:
            if case.get("status") == "NOTRUN":
                continue
            full = f"{name}/{suite['name']}.{case['name']}"
            if case.get("failures"):
                failures += 1
                report.fail(full, "\n".join(entry["failure"] for entry in case["failures"]))
            elif case.get("result") == "SKIPPED":
                report.skip(full, "\n".join(entry.get("message", "") for entry in case.get("skipped", [])))
            else:
                report.ok(full, float(case.get("time", "0s").rstrip("s")))
    return failures
