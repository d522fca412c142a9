"""Tests of what runs on a machine at its first boot: the parts that decide, and the data volume on real files."""

import importlib.machinery
import importlib.util
import ipaddress
import json
import os
import pathlib
import subprocess

import pytest

FILES = pathlib.Path(__file__).parent / "files"


def load(path):
    """A program without a .py at its end, as a module."""
    loader = importlib.machinery.SourceFileLoader(path.replace("/", "_").replace("-", "_"), str(FILES / path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


default_route = load("machine/default-route")
ready = load("../ready.py")
data_volume = load("volume/data-volume")


ADDRESSES = json.loads(
    """[{"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1"}]},
        {"ifname": "ens2", "addr_info": [{"family": "inet6", "local": "fe80::1"}]},
        {"ifname": "ens6", "addr_info": [{"family": "inet", "local": "10.17.0.10"}]}]"""
)
NETWORK = ipaddress.ip_network("10.17.0.0/24")


class TestDefaultRoute:
    """Which `ip` commands bring the routes into order."""

    def test_the_private_device_is_known_by_its_address(self):
        assert default_route.private_device(ADDRESSES, NETWORK) == "ens6"
        assert default_route.private_device(ADDRESSES[:2], NETWORK) is None

    def test_front_is_the_way_out(self):
        assert default_route.changes([], "ens6", "10.17.0.2") == [
            ["ip", "-4", "route", "replace", "default", "via", "10.17.0.2", "dev", "ens6", "metric", "10"]
        ]

    def test_one_that_dhcp_offered_does_not_count(self):
        offered = {"dst": "default", "gateway": "10.17.0.1", "dev": "ens6", "metric": 1024}
        assert len(default_route.changes([offered], "ens6", "10.17.0.2")) == 1

    def test_nothing_to_do_is_nothing_done(self):
        there = {"dst": "default", "gateway": "10.17.0.2", "dev": "ens6", "metric": 10}
        assert default_route.changes([there], "ens6", "10.17.0.2") == []

    def test_front_keeps_its_public_one_only(self):
        public = {"dst": "default", "gateway": "198.51.100.1", "dev": "ens2", "metric": 1024}
        offered = {"dst": "default", "gateway": "10.17.0.1", "dev": "ens6", "metric": 1024}
        assert default_route.changes([public, offered], "ens6", None) == [
            ["ip", "-4", "route", "del", "default", "dev", "ens6", "metric", "1024"]
        ]
        assert default_route.changes([public], "ens6", None) == []


class TestReady:
    """What a first boot's outcome means for the deployment."""

    def test_done(self):
        assert ready.verdict(0, {}) is None

    def test_failed_in_the_first_boot_s_own_words(self):
        log = "noise\nfirst boot failed: no DNS in time: x\nnoise\n"
        assert ready.verdict(1, {"errors": ["scripts-user"]}, log) == (
            "cloud-init failed:\n  first boot failed: no DNS in time: x"
        )

    def test_failed_before_it(self):
        assert ready.verdict(1, {"errors": ["bad yaml"]}) == "cloud-init failed:\n  bad yaml"
        assert ready.verdict(1, {}) == "cloud-init failed:\n  `cloud-init status` exited with 1"

    def test_an_error_that_is_not_on_the_list(self):
        report = {"recoverable_errors": {"WARNING": ["Used fallback datasource", "could not do it"]}}
        assert ready.verdict(2, report) == "cloud-init met errors:\n  WARNING: could not do it"

    @pytest.mark.parametrize(
        "message",
        [
            "Used fallback datasource",
            "network-config-v2 failed schema validation! You may run 'sudo cloud-init schema --system'",
            "Error while trying to get vendor-data data: HTTPConnectionPool: [Errno 99] Cannot assign requested address",
        ],
    )
    def test_only_errors_that_are_on_the_list(self, message):
        assert ready.verdict(2, {"recoverable_errors": {"WARNING": [message]}}) is None

    def test_user_data_that_could_not_be_had(self):
        message = "Error while trying to get user-data data: HTTPConnectionPool: [Errno 111] Connection refused"
        assert ready.verdict(2, {"recoverable_errors": {"WARNING": [message]}}) is not None


class TestDataVolume:
    """What happens to a volume, by what `blkid -p` really says of one."""

    @pytest.fixture
    def volume(self, tmp_path):
        path = tmp_path / "volume"
        with open(path, "wb") as file:
            file.truncate(16 * 1024 * 1024)
        return path

    def decision(self, volume, may_format):
        probe = subprocess.run(
            ["blkid", "-p", "-o", "export", volume], check=False, capture_output=True, text=True, env=sbin_path()
        )
        return data_volume.decide(probe.returncode, data_volume.parse_export(probe.stdout), may_format)

    def test_an_empty_one_is_formatted_at_the_first_boot_only(self, volume):
        assert self.decision(volume, True) == "format"
        with pytest.raises(ValueError, match="it is empty, and only a first boot may format it"):
            self.decision(volume, False)

    def test_ours_is_mounted_and_never_formatted(self, volume):
        subprocess.run(["mkfs.ext4", "-q", "-L", data_volume.LABEL, volume], check=True, env=sbin_path())
        assert self.decision(volume, True) == "mount"
        assert self.decision(volume, False) == "mount"

    def test_somebody_else_s_is_left_alone(self, volume):
        subprocess.run(["mkfs.ext4", "-q", "-L", "photos", volume], check=True, env=sbin_path())
        with pytest.raises(ValueError, match="it holds ext4 labelled 'photos'"):
            self.decision(volume, True)

    def test_a_partition_table_is_left_alone(self, volume):
        table = bytearray(512)
        table[446:462] = bytes([0, 0, 2, 0, 0x83, 0, 4, 0, 1, 0, 0, 0, 16, 0, 0, 0])
        table[510:512] = b"\x55\xaa"
        with open(volume, "r+b") as file:
            file.write(table)
        with pytest.raises(ValueError, match="it holds dos"):
            self.decision(volume, True)

    def test_when_blkid_can_t_tell(self):
        with pytest.raises(ValueError, match="exit code 8"):
            data_volume.decide(8, {}, True)

    def test_the_link_is_replaced(self, tmp_path, monkeypatch):
        monkeypatch.setattr(data_volume, "LINK", str(tmp_path / "run" / "data-volume"))
        data_volume.link("/dev/first")
        data_volume.link("/dev/second")
        assert os.readlink(tmp_path / "run" / "data-volume") == "/dev/second"


def sbin_path():
    """blkid and mkfs are where only root's PATH looks."""
    return {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
