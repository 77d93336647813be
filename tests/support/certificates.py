"""Certificates that sign themselves, made by openssl."""

import subprocess


def make_certificate(certificate, key, common_name, *extra):
    """An elliptic one for two days, without a passphrase."""
    kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split()
    names = ["-subj", f"/CN={common_name}", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *kind, *names, *extra], check=True, capture_output=True)
