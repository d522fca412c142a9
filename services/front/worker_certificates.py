"""Tells how long the certificates of remote builders and of the port they dial in to are still good.

Arguments: inventory.json, and the folder that nginx serves the result from. Fails if one has fewer days left than
WARNING_DAYS: any deployment in a certificate's last year renews it, so there was none for very long.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from site_configuration import Inventory, parse_inventory

WARNING_DAYS = 60


def report(inventory: Inventory, now: datetime) -> dict:
    """What is served: every certificate with its end, the one that ends first being first."""
    certificates = sorted([inventory.worker_proxy, *inventory.workers.values()], key=lambda each: each.expires)
    return {
        "checked": now.isoformat(timespec="seconds"),
        "warningDays": WARNING_DAYS,
        "certificates": [
            {
                "name": certificate.name,
                "expires": certificate.expires.isoformat(timespec="seconds"),
                "daysLeft": (certificate.expires - now).days,
            }
            for certificate in certificates
        ],
    }


def main() -> None:
    """Write the report, then fail if it is bad."""
    inventory_file, folder = Path(sys.argv[1]), Path(sys.argv[2])
    document = report(parse_inventory(inventory_file.read_text()), datetime.now(UTC))
    new = folder / ".worker-certificates.json.new"
    new.write_text(json.dumps(document, indent=1) + "\n")
    new.rename(folder / "worker-certificates.json")
    short = [
        f"{each['name']} has {each['daysLeft']} days left, until {each['expires']}"
        for each in document["certificates"]
        if each["daysLeft"] < WARNING_DAYS
    ]
    if short:
        sys.exit(
            f"certificates end in less than {WARNING_DAYS} days: {'; '.join(short)}. Run pulumi up, which renews them"
        )


if __name__ == "__main__":
    main()
