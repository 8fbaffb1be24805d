"""`gan-lab explore`: what it serves and says."""

from pathlib import Path
from types import SimpleNamespace

from gan_lab.cli.main import main


def test_it_serves_until_ctrl_c_and_says_where(monkeypatch, capsys):
    asked, opened = [], []

    def stop():
        raise KeyboardInterrupt

    def serve(*words):
        asked.append(words)
        return SimpleNamespace(port=4321, serve_forever=stop)

    monkeypatch.setattr("gan_lab.use.explore.server.serve", serve)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("gan_lab.cli.dashboard.has_screen", lambda: True)
    assert main(["explore", "a", "b", "port=0", "device=cpu"]) == 0
    assert capsys.readouterr().out == "http://127.0.0.1:4321/  (Ctrl-C ends it)\n\n"
    assert main(["explore", "open=false"]) == 0
    assert asked == [((Path("a"), Path("b")), 0, "cpu", ()), ((Path("runs"),), 8765, "auto", ())]
    assert opened == ["http://127.0.0.1:4321/"]


def test_no_runs_are_told(tmp_path, capsys):
    assert main(["explore", str(tmp_path)]) == 2
    assert "no runs found in " in capsys.readouterr().err
