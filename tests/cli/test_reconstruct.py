"""`gan-lab reconstruct`: the figure of a run with its protocol, and the refusals."""

import json

import pytest
import torch

import gan_lab
from gan_lab.cli import reconstruct
from gan_lab.cli.main import run_command
from gan_lab.errors import UserError
from gan_lab.metrics.reconstruction import reconstruction_error


def reconstruct_command(words):
    return run_command("reconstruct", reconstruct.Options, reconstruct.run, words)


@pytest.mark.slow
def test_the_command_appends_the_figure_with_its_protocol(tmp_path, tiny_data, capsys):
    nets = ("generator=dcgan", "discriminator=dcgan_plain")
    words = (
        *nets,
        "trainer.total_steps=1",
        "trainer.batch_size=4",
        "width=0.0625",
        "metrics=none",
        "trainer.device=cpu",
    )
    run = gan_lab.train(gan_lab.compose(f"data_dir={tiny_data}", f"hydra.run.dir={tmp_path / 'run'}", *words))
    command = [f"run={run}", "recon_images=5", "recon_steps=2", "device=cpu"]
    assert reconstruct_command(command) == 0
    printed = json.loads(capsys.readouterr().out)
    (row,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert row["reconstruction_error"] == printed["reconstruction_error"] and row["step"] == 1
    protocol = json.loads((run / f"protocol-{row['protocol']}.json").read_text())
    assert protocol == printed["protocol_entries"]
    assert (protocol["images"], protocol["steps"], protocol["restarts"]) == (5, 2, 1)
    assert (protocol["split"], protocol["ema"], protocol["dataset"]) == ("test", True, "shapes")
    assert protocol["optimizer"] == {"name": "RMSprop", "lr": 0.01, "alpha": 0.9, "eps": 1e-6}

    tree = gan_lab.compose(f"data_dir={tiny_data}", "trainer.device=cpu", "width=0.0625", "metrics=none")
    dataset = gan_lab.build(tree).dataset
    G = gan_lab.load_generator(run)
    by_hand, _ = reconstruction_error(G, dataset, device=torch.device("cpu"), images=5, steps=2)
    assert by_hand == pytest.approx(row["reconstruction_error"], rel=1e-6)
    everything, stated = reconstruction_error(G, dataset, device=torch.device("cpu"), images=99, steps=0)
    with torch.no_grad():
        image = (G(torch.zeros(1, G.z_dim)) + 1) / 2  # z = 0 gives one image: its error by hand
    errors = (image - dataset.images("test", range(32)).float() / 255).square().flatten(1).mean(1)
    assert everything == pytest.approx(errors.mean().item(), rel=1e-5) and stated["images"] == 32
    spread, _ = reconstruction_error(G, dataset, device=torch.device("cpu"), images=5, steps=0)
    assert spread == pytest.approx(errors[[0, 6, 12, 19, 25]].mean().item(), rel=1e-5)
    with pytest.raises(UserError, match="recon_steps=-1"):
        reconstruct_command([*command, "recon_steps=-1"])
    with pytest.raises(UserError, match="split=tset"):
        reconstruct_command([*command, "split=tset"])
    with pytest.raises(UserError, match="run= is missing"):
        reconstruct_command(["recon_steps=1"])
