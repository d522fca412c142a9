"""Wait for the first boot and say how it went; then take away what was there for the first connection.

The deployment hands it to python3 on standard input, so that a change of it replaces no machine. Can be repeated.
Exits 1 if cloud-init failed, or if it met an error that is not on the list of those that are known to do no harm.
"""

import json
import re
import shutil
import subprocess
import sys

# Recoverable errors that do no harm: pattern, and why.
HARMLESS = (
    (r"Used fallback datasource", "the local image carries its seed beside the datasources it could have asked"),
    (
        r"network-config-v2 failed schema validation",
        "25.1's Scaleway datasource writes a route with on-link: true, which its own schema does not know; networkd does",
    ),
    (
        r"Error while trying to get (user|vendor)-data data: .*Cannot assign requested address",
        "the second stage asks from source port 1 again, which may still be in TIME_WAIT; it goes on with port 2",
    ),
)
DEADLINE_SECONDS = 1500
OUTPUT_LOG = "/var/log/cloud-init-output.log"


def status(*arguments):
    """Exit code and output of `cloud-init status`."""
    result = subprocess.run(
        ["cloud-init", "status", *arguments], check=False, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    return result.returncode, result.stdout


def harmful(report):
    """The recoverable errors of `cloud-init status --format json` that are not on the list, one line each."""
    return [
        f"{level}: {message}"
        for level, messages in report.get("recoverable_errors", {}).items()
        for message in messages
        if not any(re.search(pattern, message) for pattern, _ in HARMLESS)
    ]


def first_boot_message(log):
    """The first boot's own last word in cloud-init's output log, as a line of a list, or nothing."""
    lines = [line for line in log.splitlines() if line.startswith("first boot failed:")]
    return lines[-1:]


def verdict(code, report, log=""):
    """None if the first boot went well, otherwise what is wrong with it.

    code is the exit code of `cloud-init status --wait`: 0 done, 1 failed, 2 done with recoverable errors. log is
    cloud-init's output log, which says why the first boot failed.
    """
    if code == 0:
        return None
    if code == 2:
        errors = harmful(report)
        return "cloud-init met errors:\n  " + "\n  ".join(errors) if errors else None
    errors = [str(error) for error in report.get("errors", [])]
    return "cloud-init failed:\n  " + "\n  ".join(
        first_boot_message(log) or errors or [f"`cloud-init status` exited with {code}"]
    )


def output_log():
    """cloud-init's output log, or a note that there is none."""
    try:
        with open(OUTPUT_LOG, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return f"{OUTPUT_LOG} does not exist\n"


def end_bootstrap():
    """Stop the sshd of the first connection and remove its key. Can be repeated."""
    subprocess.run(["systemctl", "disable", "--now", "ssh-bootstrap.service"], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree("/etc/ssh/bootstrap", ignore_errors=True)


def main():
    """Wait, print, judge, tidy."""
    try:
        code, long_status = status("--wait", "--long")
    except subprocess.TimeoutExpired:
        code, long_status = 1, f"cloud-init was not done after {DEADLINE_SECONDS} s\n"
    print(long_status, end="", flush=True)
    report = json.loads(status("--format", "json")[1] or "{}")
    log = output_log()
    wrong = verdict(code, report, log)
    if wrong is not None:
        print("".join(log.splitlines(keepends=True)[-60:]), end="", flush=True)
        sys.exit(wrong)
    end_bootstrap()


if __name__ == "__main__":
    main()
