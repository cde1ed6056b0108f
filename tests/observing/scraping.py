"""Pages of /metrics, as Prometheus gets them."""

from __future__ import annotations

import re
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from harness.program import Program
from harness.services import free_port
from harness.system import SystemUnderTest


class Scrape:
    """One page of metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the samples with these labels; None without one."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None


async def scraped(url: str) -> Scrape:
    async with httpx.AsyncClient(trust_env=False) as http:
        return Scrape((await http.get(f"{url}/metrics")).raise_for_status().text)


async def watched_worker(system: SystemUnderTest, **settings: Any) -> tuple[Program, str]:
    """A worker, and where its metrics are."""
    worker = await system.worker(worker_metrics_port=str(free_port()), **settings)
    await worker.says("metrics on http://")
    found = re.search(r"metrics on (\S+)/metrics", worker.log)
    assert found is not None
    return worker, found[1]
