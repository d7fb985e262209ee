"""Packages of the operating system: what is missing is named, and installed only where that is ours to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit_hub.host.packages import FOR_BENCH, Package, ensure_packages
from toolkit_hub.host.steps import SetupError


@pytest.fixture
def said() -> list[str]:
    return []


def package(mark: Path) -> Package:
    return Package("frobnicator", "frobnicates", mark.exists)


def fake_apt(folder: Path, body: str) -> None:
    program = folder / "apt-get"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def test_nothing_is_run_when_all_is_there(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "mark").touch()
    assert ensure_packages([package(tmp_path / "mark")], said.append) == []
    assert said == []


def test_without_apt_the_package_and_its_purpose_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError) as caught:
        ensure_packages([package(tmp_path / "mark")], said.append)
    assert "frobnicator: frobnicates" in caught.value.what
    assert "package manager" in caught.value.hint
    assert said == []


def test_without_root_the_command_to_type_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    fake_apt(tmp_path, "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError) as caught:
        ensure_packages([package(tmp_path / "mark")], said.append)
    assert "sudo apt-get install frobnicator" in caught.value.hint
    assert said == []


@pytest.mark.skipif(os.geteuid() != 0, reason="apt is used by root only")
def test_apt_installs_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    fake_apt(tmp_path, f'echo "$@ as $DEBIAN_FRONTEND"; case "$*" in *install*) : > {tmp_path}/mark;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert ensure_packages([package(tmp_path / "mark")], said.append) == ["frobnicator"]
    assert any("update" in line and "as noninteractive" in line for line in said)
    assert any("install -y --no-install-recommends frobnicator" in line for line in said)


@pytest.mark.skipif(os.geteuid() != 0, reason="apt is used by root only")
@pytest.mark.parametrize(("body", "words"), [("exit 100", "ended with code 100"), ("exit 0", "is not there")])
def test_apt_that_brings_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], body: str, words: str
) -> None:
    fake_apt(tmp_path, body)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SetupError, match=words):
        ensure_packages([package(tmp_path / "mark")], said.append)


@pytest.mark.parametrize(
    ("name", "programs"),
    [("wrk", ["wrk"]), ("openssh-server", ["sshd", "ssh", "ssh-keygen"])],
)
def test_packages_of_the_bench_are_known_by_all_their_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, programs: list[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("toolkit_hub.host.packages.SYSTEM_PATH", "")
    package = next(package for package in FOR_BENCH if package.name == name)
    for program in programs:
        assert not package.present()
        (tmp_path / program).touch(0o755)
    assert package.present()
