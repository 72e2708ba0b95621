"""The machine that the figures are from."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """cpu: the processor's name. cores: those this process may use. load: of the last minute."""

    cpu: str
    cores: int
    load: float
    system: str

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        return cls(
            cpu=_cpu_name(),
            # A container or taskset may allow fewer than the machine has.
            cores=len(os.sched_getaffinity(0)),
            load=round(os.getloadavg()[0], 2),
            system=f"{platform.system()} {platform.release()}",
        )

    @property
    def slug(self) -> str:
        """The processor's name, fit for a file's name."""
        return slug(self.cpu)


def slug(name: str) -> str:
    """A name, fit for a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    name = found.group(1) if found else platform.processor() or platform.machine()
    return re.sub(r"\((R|TM)\)|CPU|Processor", "", name).strip()
