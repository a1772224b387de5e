"""launch.py serve: the container it runs, and its end, with a `docker` that does as it is told."""

import os
import signal
import subprocess
import sys
import time

import pytest

import launch
from launcher import ROOT
from support.launching import assert_one_sentence, fake_docker


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


def test_the_model_is_served_read_only_on_loopback(command, docker_log, model):
    log = docker_log(1)
    code, out, err = command("serve", model, "--port=9000", "--image=mine:1")
    assert (code, err) == (launch.FAILED, "launch.py: the server ended with exit code 1; see the messages above\n")
    words = log.read_text().splitlines()
    assert words[-2:] == ["mine:1", "serve"]
    assert "--publish=127.0.0.1:9000:8080" in words and "--read-only" in words and "--cap-drop=ALL" in words
    assert f"--mount=type=bind,source={model},target=/opt/ml/model,readonly" in words
    assert "curl localhost:9000/invocations" in out


@pytest.mark.parametrize(
    ("code", "sentence"),
    [(125, "if port 8080 is in use, give another --port"), (127, "has no command serve; rebuild it")],
)
def test_a_container_that_does_not_start_is_one_sentence(command, docker_log, model, code, sentence):
    docker_log(code)
    assert_one_sentence(command("serve", model), launch.WRONG_USE, sentence)


def test_mistakes_are_one_sentence(command, docker_log, model, tmp_path):
    docker_log(cases="*inspect*none*) exit 1 ;;")
    assert_one_sentence(command("serve", model, "--image=none"), launch.WRONG_USE, "is not on this machine")
    assert_one_sentence(command("serve", tmp_path), launch.WRONG_USE, f"the model is in {model}")
    (tmp_path / "model.tar.gz").touch()
    archive = command("serve", tmp_path / "model.tar.gz")
    assert_one_sentence(archive, launch.WRONG_USE, f"MODEL {tmp_path / 'model.tar.gz'} is an archive")
    assert_one_sentence(command("serve", model, "--port=70000"), launch.WRONG_USE, "'70000' is not a port")
    assert_one_sentence(command("serve"), launch.WRONG_USE, "the following arguments are required: MODEL")


def test_a_signal_while_the_container_starts_stops_it_too(command, model, tmp_path, monkeypatch):
    """It may come when docker runs already, and subprocess has not returned yet."""
    pid = tmp_path / "pid"
    fake_docker(tmp_path / "bin", f'run*) exec sleep 600 ;;\nkill*) kill -9 "$(cat {pid})" ;;')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    start = subprocess.Popen

    def popen(words, **options):
        process = start(words, **options)
        if "run" in words[:2]:
            pid.write_text(str(process.pid))
            os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    code, out, err = command("serve", model)
    assert (code, err) == (0, "") and out.endswith("Stopped\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("obeys", [True, False])
def test_a_signal_stops_the_container(model, tmp_path, number, obeys):
    """With SIGINT, and by force if that does not help; the command ends without an error."""
    pid, log = tmp_path / "pid", tmp_path / "log"
    end = f'kill -9 "$(cat {pid})"'
    cases = f"""
run*) echo $$ >{pid}; exec sleep 600 ;;
kill*) echo "$@" >>{log}; {end if obeys else ":"} ;;
rm*) echo "$@" >>{log}; {end} ;;"""
    fake_docker(tmp_path / "bin", cases)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    words = [sys.executable, str(ROOT / "launch.py"), "serve", str(model)]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("Stopped\n")
    commands = [line.split()[0] for line in log.read_text().splitlines()]
    assert set(commands[:-1]) <= {"kill"} and commands[-1] == ("kill" if obeys else "rm")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
