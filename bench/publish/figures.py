"""What is measured of one publish."""

from dataclasses import dataclass, field


@dataclass
class Figures:
    """One publish: seconds from its start, seconds of processor time, and the peak of its memory, both as the largest
    process and as the sum of the processes at one moment (0 where that was not looked at), in MiB."""

    installable: float = 0
    listed: float = 0
    cpu: float = 0
    largest_process_mib: float = 0
    all_processes_mib: float = 0
    stages: dict[str, float] = field(default_factory=dict)
